/** `-m tos` (xt_dscp.c): bits of the type of service, or of the traffic class. */
import { tosOf } from "../header.ts";
import { type Options, opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type TosMatch = { readonly kind: "tos"; readonly value: number; readonly mask: number; readonly not: boolean };

/** Names of RFC 1349, in iptables' words; they leave the two bits of ECN alone. */
const NAMES: Readonly<Record<string, number>> = {
  "minimize-delay": 0x10,
  "maximize-throughput": 0x08,
  "maximize-reliability": 0x04,
  "minimize-cost": 0x02,
  "normal-service": 0x00,
};
const NAMED_MASK = 0x3f;

/** A name, VALUE or VALUE/MASK. */
export function parseTos(o: Options, option: string): { value: number; mask: number } {
  const text = o.need(option);
  const name = text.toLowerCase();
  if (Object.hasOwn(NAMES, name)) return { value: NAMES[name] ?? 0, mask: NAMED_MASK };
  const [value = "", mask = "0xff"] = text.split("/");
  return { value: o.parse(option, value, 0, 0xff), mask: o.parse(option, mask, 0, 0xff) };
}

export function printTos(option: string, value: number, mask: number, not = false): string {
  const hex = (n: number): string => `0x${n.toString(16).padStart(2, "0")}`;
  return opt(not, option, `${hex(value)}/${hex(mask)}`);
}

export const tosMatch: MatchModule<TosMatch> = {
  name: "tos",
  options: { "--tos": { args: 1, not: true } },
  parse: (o) => ({ kind: "tos", ...parseTos(o, "--tos"), not: o.not("--tos") }),
  print: (m) => printTos("--tos", m.value, m.mask, m.not),
  test: (m, p) => ((tosOf(p) & m.mask) === m.value) !== m.not,
};
