/** `-m length` (xt_length.c): octets of IP. */
import { opt, portRange } from "../options.ts";
import type { MatchModule } from "./module.ts";
import type { PortRange } from "./ports.ts";

export type LengthMatch = { readonly kind: "length"; readonly range: PortRange; readonly not: boolean };

export const lengthMatch: MatchModule<LengthMatch> = {
  name: "length",
  options: { "--length": { args: 1, not: true } },
  parse(o) {
    o.need("--length");
    return { kind: "length", range: o.ports("--length") ?? { min: 0, max: 0xffff }, not: o.not("--length") };
  },
  print: (m) => opt(m.not, "--length", portRange(m.range)),
  test(m, p) {
    const len = p.end - p.network;
    return (len >= m.range.min && len <= m.range.max) !== m.not;
  },
};
