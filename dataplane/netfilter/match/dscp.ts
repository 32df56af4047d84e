/** `-m dscp` (xt_dscp.c): the upper six bits of the type of service. */
import { tosOf } from "../header.ts";
import { type Options, opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type DscpMatch = { readonly kind: "dscp"; readonly value: number; readonly not: boolean };

/** CS0 to CS7, AF11 to AF43, BE and EF (RFC 2474, 2597, 3246). */
export function dscpClass(o: Options, option: string, text: string): number {
  const name = text.toUpperCase();
  const cs = /^CS([0-7])$/.exec(name);
  if (cs !== null) return Number(cs[1]) << 3;
  const af = /^AF([1-4])([1-3])$/.exec(name);
  if (af !== null) return (Number(af[1]) << 3) | (Number(af[2]) << 1);
  if (name === "BE") return 0;
  return name === "EF" ? 0x2e : o.fail(`option ${option}: "${text}" is not a class`);
}

export const dscpMatch: MatchModule<DscpMatch> = {
  name: "dscp",
  options: { "--dscp": { args: 1, not: true }, "--dscp-class": { args: 1, not: true } },
  parse(o) {
    const option = o.one(["--dscp", "--dscp-class"]);
    const value = option === "--dscp" ? o.parse(option, o.need(option), 0, 63) : dscpClass(o, option, o.need(option));
    return { kind: "dscp", value, not: o.not(option) };
  },
  print: (m) => opt(m.not, "--dscp", `0x${m.value.toString(16).padStart(2, "0")}`),
  test: (m, p) => (tosOf(p) >>> 2 === m.value) !== m.not,
};
