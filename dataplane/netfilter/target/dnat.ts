/** DNAT (xt_nat.c): another destination. */
import { NF_ACCEPT, NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING } from "../hooks.ts";
import type { NatRange } from "../nat.ts";
import { MANIP_DST } from "../nat-mangle.ts";
import { CONTINUE, type TargetModule } from "./module.ts";
import { parseTo, printFlags, printTo } from "./nat-range.ts";

export type DnatTarget = { readonly kind: "DNAT"; readonly range: NatRange };

export const dnatTarget: TargetModule<DnatTarget> = {
  name: "DNAT",
  options: { "--to-destination": { args: 1 }, "--random": { args: 0 }, "--persistent": { args: 0 } },
  tracks: true,
  tables: ["nat"],
  hooks: (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_OUT),
  parse(o) {
    const to = parseTo(o, "--to-destination", true);
    const range = { ...to, random: o.has("--random"), fully: false, persistent: o.has("--persistent") };
    return { kind: "DNAT", range };
  },
  print: (t) => ` --to-destination ${printTo(t.range)}${printFlags(t.range)}`,
  run(t, p) {
    if (p.conn === null) return CONTINUE;
    p.nat.setup(p.conn, t.range, MANIP_DST);
    return NF_ACCEPT;
  },
};
