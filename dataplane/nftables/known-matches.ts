/**
 * The comparisons that were read last: of the rules of many Services most ask for the same protocol, port or network, and
 * keep one statement for it together.
 */
import { compareValues, type Value } from "./datatype.ts";
import type { Stmt } from "./model.ts";

type Match = Extract<Stmt, { kind: "match" }>;

const SLOTS = 256;
const known: (Match | null)[] = new Array<Match | null>(SLOTS).fill(null);

/** The statement itself, or an equal one that is known. */
export function knownMatch(match: Match): Match {
  const { right } = match;
  const value = right.kind === "value" ? right.value : right.kind === "range" ? right.lo : null;
  if (value === null) return match;
  const slot = slotOf(value);
  const other = known[slot] as Match | null;
  if (other !== null && same(match, other)) return other;
  known[slot] = match;
  return match;
}

function slotOf(value: Value): number {
  let h = 0;
  for (let i = 0; i < value.length; i++) h = Math.imul(h ^ (value[i] as number), 0x9e3779b1);
  return (h ^ (h >>> 16)) & (SLOTS - 1);
}

function same(a: Match, b: Match): boolean {
  if (a.left !== b.left || a.op !== b.op || a.explicit !== b.explicit) return false;
  const [x, y] = [a.right, b.right];
  if (x.kind === "value" && y.kind === "value") return compareValues(x.value, y.value) === 0;
  if (x.kind === "range" && y.kind === "range")
    return compareValues(x.lo, y.lo) === 0 && compareValues(x.hi, y.hi) === 0;
  return false;
}
