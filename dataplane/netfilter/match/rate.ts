/** Rates as `limit` and `hashlimit` write them: "5/min". A period is in ten-thousandths of a second a packet (XT_LIMIT_SCALE). */
import type { Options } from "../options.ts";

export const RATE_SCALE = 10_000;
const UNITS: readonly (readonly [string, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["min", 60],
  ["sec", 1],
];

/** The period of a rate, and the seconds of its unit. */
export function parseRate(o: Options, option: string, text: string): { period: number; seconds: number } {
  const [count = "", unit = "second"] = text.split("/");
  const n = o.parse(option, count, 1, 0xffffffff);
  const seconds = UNITS.find(([name]) => unit !== "" && (name.startsWith(unit) || unit.startsWith(name)))?.[1];
  if (seconds === undefined) return o.fail(`option ${option}: "${text}" is not a rate`);
  const period = Math.floor((RATE_SCALE * seconds) / n);
  if (period === 0) o.fail(`option ${option}: "${text}" is too fast`);
  return { period, seconds };
}

/** The rate in the shortest unit that it fits, as iptables prints it. */
export function printRate(period: number): string {
  let i = 1;
  for (; i < UNITS.length; i++) {
    const ticks = (UNITS[i]?.[1] ?? 1) * RATE_SCALE;
    if (period > ticks || Math.floor(ticks / period) < ticks % period) break;
  }
  const [name, seconds] = UNITS[i - 1] ?? ["sec", 1];
  return `${Math.floor((seconds * RATE_SCALE) / period)}/${name}`;
}

/** A bucket of tokens: what is in it in ten-thousandths of a second, and when that was counted. */
export type Bucket = number[];

export function fullBucket(period: number, burst: number, now: number): Bucket {
  return [period * burst, now];
}

/** Takes a packet's worth out, if it is there; `now` in ten-thousandths of a second. */
export function take(bucket: Bucket, period: number, burst: number, now: number): boolean {
  const credit = Math.min(period * burst, (bucket[0] ?? 0) + now - (bucket[1] ?? 0));
  bucket[1] = now;
  bucket[0] = credit >= period ? credit - period : credit;
  return credit >= period;
}
