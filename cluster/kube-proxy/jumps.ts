/** Jumps from the kernel's chains of iptables into those of kube-proxy. */

/** They are put in front, so the last one of a chain ends up first. */
export type Jump = { readonly table: "filter" | "nat"; readonly from: string; readonly rule: string };

/** Those that a ruleset, as iptables-save prints it, does not have. */
export function missingJumps(saved: string, jumps: readonly Jump[]): readonly Jump[] {
  return jumps.filter((jump) => !hasJump(saved, jump));
}

/** iptables-save may print a jump's matches in another order. */
function hasJump(saved: string, jump: Jump): boolean {
  const start = saved.indexOf(`*${jump.table}\n`);
  if (start < 0) return false;
  const end = saved.indexOf("COMMIT", start);
  const target = / -j (\S+)$/.exec(` ${jump.rule}`)?.[1] ?? "";
  return saved
    .slice(start, end < 0 ? undefined : end)
    .split("\n")
    .some((line) => line.startsWith(`-A ${jump.from} `) && line.endsWith(`-j ${target}`));
}
