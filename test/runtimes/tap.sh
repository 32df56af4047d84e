# TAP for the recipes beside this file, which read it in: `report`, `try` and `refuse` count what they say. Needs $work.
n=0
failed=0

report() { # status, title
  n=$((n + 1))
  if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/  # /' "$work/log"; failed=1; fi
}
try() { # title, command...
  title=$1; shift
  "$@" >"$work/log" 2>&1
  report $? "$title"
}
refuse() { title=$1; shift; ! "$@" >"$work/log" 2>&1; report $? "$title"; }
