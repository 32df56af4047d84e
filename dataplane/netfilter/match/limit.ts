/** `-m limit` (xt_limit.c): a bucket of tokens for the rule, in each namespace. */
import type { MatchModule } from "./module.ts";
import { fullBucket, parseRate, printRate, RATE_SCALE, take } from "./rate.ts";

export type LimitMatch = {
  readonly kind: "limit";
  /** Ten-thousandths of a second a packet (XT_LIMIT_SCALE). */
  readonly period: number;
  readonly burst: number;
};

const DEFAULT_BURST = 5;

export const limitMatch: MatchModule<LimitMatch> = {
  name: "limit",
  options: { "--limit": { args: 1 }, "--limit-burst": { args: 1 } },
  parse(o) {
    const burst = o.number("--limit-burst", 1, 10_000) ?? DEFAULT_BURST;
    return { kind: "limit", period: parseRate(o, "--limit", o.text("--limit") ?? "3/hour").period, burst };
  },
  print: (m) => ` --limit ${printRate(m.period)}${m.burst === DEFAULT_BURST ? "" : ` --limit-burst ${m.burst}`}`,
  test(m, p) {
    const now = p.ns.world.loop.time * (RATE_SCALE / 1000);
    let own = p.state.own.get(m);
    if (own === undefined) {
      own = fullBucket(m.period, m.burst, now);
      p.state.own.set(m, own);
    }
    return take(own, m.period, m.burst, now);
  },
};
