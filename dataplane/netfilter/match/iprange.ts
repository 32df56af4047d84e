/** `-m iprange` (xt_iprange.c): addresses from one to another. */
import { compareIp, formatIp, isKey6, parseIp } from "../../wire/ip-key.ts";
import { type Options, opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

/** Addresses as in NfPacket. */
type Range = { readonly min: number; readonly max: number; readonly not: boolean };
export type IprangeMatch = { readonly kind: "iprange"; readonly src: Range | null; readonly dst: Range | null };

function parseRange(o: Options, name: string): Range | null {
  const text = o.text(name);
  if (text === undefined) return null;
  const [from = "", to = from, ...more] = text.split("-");
  const [min, max] = [parseIp(from), parseIp(to)];
  if (min === undefined || max === undefined || isKey6(min) !== o.six || isKey6(max) !== o.six || more.length > 0)
    return o.fail(`option ${name}: "${text}" is not a range of addresses`);
  if (compareIp(min, max) > 0) return o.fail(`option ${name}: "${text}" ends before it begins`);
  return { min: min | 0, max: max | 0, not: o.not(name) };
}

function printRange(name: string, r: Range | null): string {
  return r === null ? "" : opt(r.not, name, `${formatIp(r.min)}-${formatIp(r.max)}`);
}

function holds(r: Range, address: number): boolean {
  return compareIp(address, r.min) >= 0 && compareIp(address, r.max) <= 0;
}

export const iprangeMatch: MatchModule<IprangeMatch> = {
  name: "iprange",
  options: { "--src-range": { args: 1, not: true }, "--dst-range": { args: 1, not: true } },
  parse(o) {
    const [src, dst] = [parseRange(o, "--src-range"), parseRange(o, "--dst-range")];
    if (src === null && dst === null) o.fail("--src-range or --dst-range is required");
    return { kind: "iprange", src, dst };
  },
  print: (m) => printRange("--src-range", m.src) + printRange("--dst-range", m.dst),
  test(m, p) {
    if (m.src !== null && holds(m.src, p.src) === m.src.not) return false;
    return m.dst === null || holds(m.dst, p.dst) !== m.dst.not;
  },
};
