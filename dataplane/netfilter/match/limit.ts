/** `-m limit` (xt_limit.c): a bucket of tokens for the rule, in each namespace. */
import type { Options } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type LimitMatch = {
  readonly kind: "limit";
  /** Ten-thousandths of a second a packet (XT_LIMIT_SCALE). */
  readonly period: number;
  readonly burst: number;
};

const SCALE = 10_000;
const DEFAULT_BURST = 5;
const UNITS: readonly (readonly [string, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["min", 60],
  ["sec", 1],
];

function parseRate(o: Options, text: string): number {
  const [count = "", unit = "second"] = text.split("/");
  const n = o.parse("--limit", count, 1, 0xffffffff);
  const seconds = UNITS.find(([name]) => unit !== "" && (name.startsWith(unit) || unit.startsWith(name)))?.[1];
  if (seconds === undefined) return o.fail(`option --limit: "${text}" is not a rate`);
  const period = Math.floor((SCALE * seconds) / n);
  if (period === 0) o.fail(`option --limit: "${text}" is too fast`);
  return period;
}

/** The rate in the shortest unit that it fits, as iptables prints it. */
function printRate(period: number): string {
  let i = 1;
  for (; i < UNITS.length; i++) {
    const ticks = (UNITS[i]?.[1] ?? 1) * SCALE;
    if (period > ticks || Math.floor(ticks / period) < ticks % period) break;
  }
  const [name, seconds] = UNITS[i - 1] ?? ["sec", 1];
  return `${Math.floor((seconds * SCALE) / period)}/${name}`;
}

export const limitMatch: MatchModule<LimitMatch> = {
  name: "limit",
  options: { "--limit": { args: 1 }, "--limit-burst": { args: 1 } },
  parse(o) {
    const burst = o.number("--limit-burst", 1, 10_000) ?? DEFAULT_BURST;
    return { kind: "limit", period: parseRate(o, o.text("--limit") ?? "3/hour"), burst };
  },
  print: (m) => ` --limit ${printRate(m.period)}${m.burst === DEFAULT_BURST ? "" : ` --limit-burst ${m.burst}`}`,
  test(m, p) {
    // Tokens in ten-thousandths of a second, and when they were counted last.
    const now = p.ns.world.loop.time * (SCALE / 1000);
    const cap = m.period * m.burst;
    let own = p.state.own.get(m);
    if (own === undefined) {
      own = [cap, now];
      p.state.own.set(m, own);
    }
    const credit = Math.min(cap, (own[0] ?? 0) + now - (own[1] ?? 0));
    own[1] = now;
    own[0] = credit >= m.period ? credit - m.period : credit;
    return credit >= m.period;
  },
};
