/** `-m statistic` (xt_statistic.c): by chance, or every n-th packet. */
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type StatisticMatch =
  | { readonly kind: "statistic"; readonly mode: "random"; readonly probability: number; readonly not: boolean }
  | {
      readonly kind: "statistic";
      readonly mode: "nth";
      readonly every: number;
      readonly packet: number;
      readonly not: boolean;
    };

/** The kernel keeps a probability as a number of 2^-31. */
const UNIT = 0x8000_0000;

export const statisticMatch: MatchModule<StatisticMatch> = {
  name: "statistic",
  options: {
    "--mode": { args: 1 },
    "--probability": { args: 1, not: true },
    "--every": { args: 1, not: true },
    "--packet": { args: 1 },
  },
  parse(o) {
    const mode = o.need("--mode");
    if (mode === "random") {
      if (o.has("--every") || o.has("--packet")) o.fail("--every and --packet need --mode nth");
      const text = o.need("--probability");
      const p = Number(text);
      if (text.trim() === "" || !(p >= 0 && p <= 1))
        o.fail(`option --probability: "${text}" is not a number from 0 to 1`);
      return { kind: "statistic", mode, probability: Math.round(p * UNIT) / UNIT, not: o.not("--probability") };
    }
    if (mode !== "nth") return o.fail(`option --mode: "${mode}" is neither random nor nth`);
    if (o.has("--probability")) o.fail("--probability needs --mode random");
    const every = o.parse("--every", o.need("--every"), 1, 0xffffffff);
    const packet = o.parse("--packet", o.need("--packet"), 0, every - 1);
    return { kind: "statistic", mode, every, packet, not: o.not("--every") };
  },
  print(m) {
    if (m.mode === "random") return ` --mode random${opt(m.not, "--probability", m.probability.toFixed(11))}`;
    return ` --mode nth${opt(m.not, "--every", m.every)} --packet ${m.packet}`;
  },
  test(m, p) {
    if (m.mode === "random") return p.ns.world.chance(m.probability) !== m.not;
    let count = p.state.own.get(m);
    if (count === undefined) {
      count = [m.every - 1 - m.packet];
      p.state.own.set(m, count);
    }
    const n = (count[0] ?? 0) + 1;
    count[0] = n >= m.every ? 0 : n;
    return n >= m.every !== m.not;
  },
};
