/** What becomes of a chain's counters when a text changes its rules. */
import { type Chain, difference, type Kept } from "./rules.ts";

/** Counters of the rules that stayed: the same rule from the same line, in the same order. */
export function carried(old: Chain, now: Chain, counters: Float64Array | null, kept: Kept): Float64Array | null {
  if (counters === null) return null;
  const out = new Float64Array(now.rules.length * 2);
  const { from, end, oldEnd } = difference(old.rules, now.rules);
  const { head, tail } = kept;
  const behind = now.rules.length - end;
  if (sameLines(old, head, now, head, from - head) && sameLines(old, oldEnd, now, end, behind - tail)) {
    out.set(counters.subarray(0, from * 2));
    out.set(counters.subarray(oldEnd * 2), end * 2);
    carry(old, from, oldEnd, now, from, end, counters, out);
  } else carry(old, 0, old.rules.length, now, 0, now.rules.length, counters, out);
  return out;
}

function sameLines(old: Chain, oldFrom: number, now: Chain, from: number, count: number): boolean {
  for (let i = 0; i < count; i++) if (old.lines[oldFrom + i] !== now.lines[from + i]) return false;
  return true;
}

function carry(
  old: Chain,
  oldFrom: number,
  oldEnd: number,
  now: Chain,
  from: number,
  end: number,
  counters: Float64Array,
  out: Float64Array,
): void {
  let i = oldFrom;
  for (let k = from; k < end && i < oldEnd; k++) {
    let at = i;
    while (at < oldEnd && (old.rules[at] !== now.rules[k] || old.lines[at] !== now.lines[k])) at++;
    if (at >= oldEnd) continue;
    out[k * 2] = counters[at * 2] ?? 0;
    out[k * 2 + 1] = counters[at * 2 + 1] ?? 0;
    i = at + 1;
  }
}
