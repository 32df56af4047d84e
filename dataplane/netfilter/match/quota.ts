/** `-m quota` (xt_quota.c): matches until so many octets have passed; the packet that does not fit any more uses up the rest. */
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type QuotaMatch = { readonly kind: "quota"; readonly octets: number; readonly not: boolean };

export const quotaMatch: MatchModule<QuotaMatch> = {
  name: "quota",
  options: { "--quota": { args: 1, not: true } },
  parse(o) {
    const octets = o.parse("--quota", o.need("--quota"), 0, Number.MAX_SAFE_INTEGER);
    return { kind: "quota", octets, not: o.not("--quota") };
  },
  print: (m) => opt(m.not, "--quota", m.octets),
  test(m, p) {
    let left = p.state.own.get(m);
    if (left === undefined) {
      left = [m.octets];
      p.state.own.set(m, left);
    }
    const length = p.end - p.network;
    const fits = (left[0] ?? 0) >= length;
    left[0] = fits ? (left[0] ?? 0) - length : 0;
    return fits !== m.not;
  },
};
