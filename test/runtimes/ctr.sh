#!/bin/sh
# containerd's `ctr run --cni` on the plugins of a directory: containers that ping each other, a published port, a static
# address, a second network that comes and goes, five at once, and nothing left. As root, in namespaces of its own:
#
#   unshare -n -m --propagation private test/runtimes/ctr.sh DIR-OF-PLUGINS
#
# Prints TAP. Needs containerd 1.6, runc, busybox (static), iptables, iproute2. The image is made here, offline. ctr knows
# neither ports nor addresses: they stand in the list (runtimeConfig), of which it takes the first of its directory.
set -u
plugins=$1
work=$(mktemp -d)
daemon=
group=podwire-ctr-$$

. "$(dirname "$0")/tap.sh"
ended() { while kill -0 "$1" 2>/dev/null; do sleep 0.1; done; }
cleanup() {
  for task in $(ctr task ls -q 2>/dev/null); do ctr task kill -s 9 "$task"; done >/dev/null 2>&1
  wait $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null
  [ -n "$daemon" ] && kill "$daemon" && ended "$daemon"
  umount -R "$work" 2>/dev/null
  find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} \; 2>/dev/null
  cd /; rm -rf "$work"
}
trap cleanup EXIT

# nothing of the machine's own state is seen or touched
for dir in /run /var/lib/cni /etc/cni /opt; do mkdir -p $dir; mount -t tmpfs tmpfs $dir || exit 2; done
# runc would look into both versions of cgroups
umount /sys/fs/cgroup/unified 2>/dev/null
mkdir -p /run/lock /run/netns /opt/cni /etc/cni/net.d
ln -s "$plugins" /opt/cni/bin
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward

mkdir -p "$work/root/bin" "$work/root/tmp" "$work/tar"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for tool in sh sleep ping ip nc httpd wget cat echo grep; do ln -s busybox "$work/root/bin/$tool"; done
tar -C "$work/root" -cf "$work/tar/layer.tar" .
cd "$work/tar" || exit 2
cat >config.json <<END_CONFIG
{ "architecture": "$(dpkg --print-architecture 2>/dev/null || echo amd64)", "os": "linux",
  "config": { "Env": ["PATH=/bin"] },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sha256sum <layer.tar | cut -d' ' -f1)"] } }
END_CONFIG
echo '[{ "Config": "config.json", "RepoTags": ["localhost/box:latest"], "Layers": ["layer.tar"] }]' >manifest.json
tar -cf "$work/box.tar" manifest.json config.json layer.tar
cat >"$work/config.toml" <<END_CONFIG
version = 2
root = "$work/root.d"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/containerd.sock"
END_CONFIG
containerd --config "$work/config.toml" >"$work/containerd.log" 2>&1 &
daemon=$!
export CONTAINERD_ADDRESS="$work/containerd.sock"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ctr version >/dev/null 2>&1 && break; sleep 0.5; done
ctr image import --snapshotter native "$work/box.tar" >"$work/log" 2>&1 || { cat "$work/log" "$work/containerd.log"; exit 2; }

list() { # ipam more, plugins more
  cat >/etc/cni/net.d/10-one.conflist <<END_LIST
{ "cniVersion": "1.0.0", "name": "one", "plugins": [
  { "type": "bridge", "bridge": "one0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.7.0/24" }]] }$1 }$2,
  { "type": "firewall" },
  { "type": "tuning", "sysctl": { "net.ipv4.conf.IFNAME.arp_ignore": "1" } } ] }
END_LIST
}
# starts a container and waits until its network is there; ctr stays, to delete the network when the container ends
run() { # name, command...
  name=$1; shift
  ctr run --rm --cni --snapshotter native --cgroup "$group/$name" localhost/box:latest "$name" "$@" >"$work/$name.out" 2>&1 </dev/null &
  echo $! >"$work/$name.pid"
  for _ in $(seq 100); do
    ctr task ls 2>/dev/null | grep -q "^$name .*RUNNING" && return 0
    kill -0 "$(cat "$work/$name.pid")" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/$name.out"
  return 1
}
stop() { ctr task kill -s 9 "$1"; wait "$(cat "$work/$1.pid")"; rm "$work/$1.pid"; }
inside() { name=$1; shift; ctr task exec --exec-id "x$n" "$name" "$@" </dev/null; }
address() { inside "$1" ip -4 -o addr show dev "${2:-eth0}" | sed -n 's/.* inet \([0-9.]*\).*/\1/p'; }
fetch() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && grep hello <&3' "$1" "$2"; }
serve='echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp'

list "" ""
try "start a container" run a sh -c "$serve"
try "start another" run b sleep 600
a=$(address a); b=$(address b)
try "they have an address each" test -n "$a" -a -n "$b" -a "$a" != "$b"
try "they ping each other" inside a ping -c 1 -W 2 "$b"
try "and back" inside b ping -c 1 -W 2 "$a"
try "the host reaches a server in a container" fetch "$a" 80

list ', "runtimeConfig": { "ips": ["10.88.7.77"] }' ', { "type": "portmap", "runtimeConfig": { "portMappings": [{ "hostPort": 18080, "containerPort": 80, "protocol": "tcp" }] } }'
try "start one with a static address and a published port" run c sh -c "$serve"
try "the address asked for is there" test "$(address c)" = 10.88.7.77
try "the published port answers at the host's loopback" fetch 127.0.0.1 18080
try "the published port answers a container at the host's address" inside a sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 10.88.7.1 18080 | grep hello"
refuse "an address that is taken is refused" run d sleep 600
try "by the plugin" grep -q "10.88.7.77.*in use\|10.88.7.77.*taken" "$work/d.out"
# ctr forgets what it had made before its network failed
{ ctr task kill -s 9 d; sleep 0.5; ctr task rm d; ctr container rm d; } >"$work/log" 2>&1

list "" ""
cat >"$work/two.json" <<END_CONF
{ "cniVersion": "1.0.0", "name": "two", "type": "bridge", "bridge": "two0", "isGateway": true,
  "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.8.0/24" }]] } }
END_CONF
plugin() { # command, container
  env CNI_COMMAND="$1" CNI_CONTAINERID="two-$2" CNI_IFNAME=eth1 CNI_PATH="$plugins" \
    CNI_NETNS="/proc/$(ctr task ls | sed -n "s/^$2  *\([0-9]*\).*/\1/p")/ns/net" "$plugins/bridge" <"$work/two.json"
}
try "connect it to a second network" plugin ADD a
try "connect another to it" plugin ADD b
try "they reach each other on it" inside a ping -c 1 -W 2 -I eth1 "$(address b eth1)"
both() { plugin "$1" a && plugin "$1" b; }
try "disconnect both" both DEL
refuse "the interface is gone" inside a ip addr show dev eth1

for i in 1 2 3 4 5; do run "many$i" sleep 600 >"$work/log$i" 2>&1 & echo $! >>"$work/starts"; done
for pid in $(cat "$work/starts"); do wait "$pid"; done
for i in 1 2 3 4 5; do address "many$i"; done | sort -u >"$work/addresses"
try "five started at once have five addresses" test "$(wc -l <"$work/addresses")" = 5

stop b >"$work/log" 2>&1
try "a container that ended gives its address back" sh -c "! test -e /var/lib/cni/networks/one/$b"
stop c >"$work/log" 2>&1
stop a >"$work/log" 2>&1
for i in 1 2 3 4 5; do ctr task kill -s 9 "many$i"; done >"$work/log" 2>&1
for _ in $(seq 100); do [ -z "$(ctr container ls -q)" ] && break; sleep 0.1; done
for _ in $(seq 50); do ip -o link | grep -qi veth || break; sleep 0.1; done
ctr container ls -q >"$work/containers"
refuse "no container is left" grep . "$work/containers"
try "no lease is left" sh -c '! find /var/lib/cni/networks -type f | grep -E "/[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$"'
try "no veth is left" sh -c '! ip -o link | grep -i veth'
try "no rule of a container is left" sh -c '! iptables-save | grep -E "CNI-[0-9a-f]{20}|CNI-DN-|10\.88\.[78]\.[0-9]+/32"'
echo "1..$n"
exit $failed
