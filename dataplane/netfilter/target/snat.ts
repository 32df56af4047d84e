/** SNAT (xt_nat.c): another source. */
import { NF_ACCEPT, NF_INET_LOCAL_IN, NF_INET_POST_ROUTING } from "../hooks.ts";
import type { NatRange } from "../nat.ts";
import { MANIP_SRC } from "../nat-mangle.ts";
import { CONTINUE, type TargetModule } from "./module.ts";
import { parseTo, printFlags, printTo } from "./nat-range.ts";

export type SnatTarget = { readonly kind: "SNAT"; readonly range: NatRange };

export const snatTarget: TargetModule<SnatTarget> = {
  name: "SNAT",
  options: {
    "--to-source": { args: 1 },
    "--random": { args: 0 },
    "--random-fully": { args: 0 },
    "--persistent": { args: 0 },
  },
  tracks: true,
  tables: ["nat"],
  hooks: (1 << NF_INET_POST_ROUTING) | (1 << NF_INET_LOCAL_IN),
  parse(o) {
    const to = parseTo(o, "--to-source", false);
    const flags = { random: o.has("--random"), fully: o.has("--random-fully"), persistent: o.has("--persistent") };
    return { kind: "SNAT", range: { ...to, ...flags } };
  },
  print: (t) => ` --to-source ${printTo(t.range)}${printFlags(t.range)}`,
  run(t, p) {
    if (p.conn === null) return CONTINUE;
    p.nat.setup(p.conn, t.range, MANIP_SRC);
    return NF_ACCEPT;
  },
};
