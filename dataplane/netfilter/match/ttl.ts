/** `-m ttl` (xt_hl.c). */
import { ttl } from "../../wire/ipv4.ts";
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type TtlMatch = {
  readonly kind: "ttl";
  readonly verb: "--ttl-eq" | "--ttl-lt" | "--ttl-gt";
  readonly value: number;
  readonly not: boolean;
};

export const ttlMatch: MatchModule<TtlMatch> = {
  name: "ttl",
  options: {
    "--ttl-eq": { args: 1, not: true },
    "--ttl": { args: 1, not: true, as: "--ttl-eq" },
    "--ttl-lt": { args: 1 },
    "--ttl-gt": { args: 1 },
  },
  parse(o) {
    const verb = o.one(["--ttl-eq", "--ttl-lt", "--ttl-gt"]) as TtlMatch["verb"];
    return { kind: "ttl", verb, value: o.parse(verb, o.need(verb), 0, 255), not: o.not(verb) };
  },
  print: (m) => opt(m.not, m.verb, m.value),
  test(m, p) {
    const n = ttl(p.b, p.network);
    if (m.verb === "--ttl-lt") return n < m.value;
    if (m.verb === "--ttl-gt") return n > m.value;
    return (n === m.value) !== m.not;
  },
};
