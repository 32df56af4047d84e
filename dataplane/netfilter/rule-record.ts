/**
 * A rule as ten integers, for the walk that packets take:
 *
 *   head · source, mask · destination, mask · two words of a match · two words of a target · slot of a jump
 *
 * The head says what the other words are. What they cannot hold is asked of the Rule itself (H_SLOW, T_OBJECT).
 */
import type { SetMatch } from "./match/set.ts";
import { DO_TARGET, INV_DST, INV_PROTO, INV_SRC, type Rule } from "./rules.ts";

/** Words of a record, and which is which. */
export const RECORD = 10;
export const R_HEAD = 0;
export const R_SRC = 1;
export const R_SRC_MASK = 2;
export const R_DST = 3;
export const R_DST_MASK = 4;
export const R_MATCH = 5;
export const R_TARGET = 7;
export const R_JUMP = 9;

/** Bits of a record's head: the action (`DO_*`), then: */
export const H_ACTION = 7;
export const TARGET_SHIFT = 3;
export const MATCH_SHIFT = 6;
const H_NOT_SRC = 1 << 11;
const H_NOT_DST = 1 << 12;
const H_NOT_PROTO = 1 << 13;
const H_SRC = 1 << 14;
const H_DST = 1 << 15;
const PROTO_SHIFT = 16;
export const H_NOT: number = 1 << 10;
export const H_SLOW: number = 1 << 24;

/** What a target is, where it is not to be looked up in the rule. */
export const T_OBJECT = 0;
export const T_MARK = 1;
/** DNAT to one address, with one port or (0) the packet's. */
export const T_DNAT = 2;

/** What the one match of a rule is. Ports are asked of packets that have them whole. */
export const M_NONE = 0;
export const M_DPORT = 1;
export const M_STATE = 2;
export const M_MARK = 3;
export const M_CHANCE = 4;
/** Membership in a set, of which the record holds a number; where nobody gives numbers, the rule itself is asked. */
export const M_SET = 5;
/** Probabilities count in units of 2^-31 (xt_statistic.c). */
export const CHANCE_UNIT = 0x8000_0000;

/** Whether the addresses and the protocol are those that the record at `at` asks. */
export function headerMatches(
  w: Int32Array,
  at: number,
  head: number,
  src: number,
  dst: number,
  proto: number,
): boolean {
  if ((head & H_DST) !== 0) {
    const other = ((dst ^ (w[at + R_DST] as number)) & (w[at + R_DST_MASK] as number)) !== 0;
    if (other !== ((head & H_NOT_DST) !== 0)) return false;
  }
  if ((head & H_SRC) !== 0) {
    const other = ((src ^ (w[at + R_SRC] as number)) & (w[at + R_SRC_MASK] as number)) !== 0;
    if (other !== ((head & H_NOT_SRC) !== 0)) return false;
  }
  const wanted = (head >> PROTO_SHIFT) & 0xff;
  return wanted === 0 || (wanted === proto) !== ((head & H_NOT_PROTO) !== 0);
}

/** Writes the record of a rule; its jump is not known yet. `numberOf` gives a match of a set its number. */
export function writeRecord(
  w: Int32Array,
  at: number,
  r: Rule,
  numberOf: ((m: SetMatch) => number) | null = null,
): void {
  let head: number = r.action | (r.proto << PROTO_SHIFT);
  if ((r.invert & INV_SRC) !== 0) head |= H_NOT_SRC;
  if ((r.invert & INV_DST) !== 0) head |= H_NOT_DST;
  if ((r.invert & INV_PROTO) !== 0) head |= H_NOT_PROTO;
  if (r.srcMask !== 0 || (r.invert & INV_SRC) !== 0) head |= H_SRC;
  if (r.dstMask !== 0 || (r.invert & INV_DST) !== 0) head |= H_DST;
  w[at + R_SRC] = r.src;
  w[at + R_SRC_MASK] = r.srcMask;
  w[at + R_DST] = r.dst;
  w[at + R_DST_MASK] = r.dstMask;
  w[at + R_JUMP] = 0;
  const match =
    r.input !== "" || r.output !== "" || r.fragment || r.six !== null ? -1 : writeMatch(w, at + R_MATCH, r, numberOf);
  head |= match < 0 ? H_SLOW : match;
  if (r.action === DO_TARGET) head |= writeTarget(w, at + R_TARGET, r) << TARGET_SHIFT;
  w[at + R_HEAD] = head;
}

/** Answers the bits of the head; -1 where the matches are more than a record holds. */
function writeMatch(w: Int32Array, at: number, r: Rule, numberOf: ((m: SetMatch) => number) | null): number {
  let bits = M_NONE << MATCH_SHIFT;
  for (const m of r.asked) {
    if (m.kind === "udp" && m.sport === null && m.dport === null) continue;
    if (bits !== M_NONE << MATCH_SHIFT) return -1;
    switch (m.kind) {
      case "tcp":
        if (m.flagMask !== 0 || m.notFlags || m.option !== 0) return -1;
        if (m.sport === null && m.dport === null) continue;
        if (m.sport !== null || m.dport === null) return -1;
        w[at] = (m.dport.max << 16) | m.dport.min;
        bits = (M_DPORT << MATCH_SHIFT) | (m.notDport ? H_NOT : 0);
        break;
      case "udp":
        if (m.sport !== null || m.dport === null) return -1;
        w[at] = (m.dport.max << 16) | m.dport.min;
        bits = (M_DPORT << MATCH_SHIFT) | (m.notDport ? H_NOT : 0);
        break;
      case "conntrack":
        if (!m.stateOnly) return -1;
        w[at] = m.states;
        bits = (M_STATE << MATCH_SHIFT) | (m.notStates ? H_NOT : 0);
        break;
      case "mark":
        w[at] = m.value;
        w[at + 1] = m.mask;
        bits = (M_MARK << MATCH_SHIFT) | (m.not ? H_NOT : 0);
        break;
      case "statistic":
        if (m.mode !== "random") return -1;
        w[at] = m.probability * CHANCE_UNIT;
        bits = (M_CHANCE << MATCH_SHIFT) | (m.not ? H_NOT : 0);
        break;
      case "set":
        if (numberOf === null) return -1;
        w[at] = numberOf(m);
        bits = (M_SET << MATCH_SHIFT) | (m.not ? H_NOT : 0);
        break;
      default:
        return -1;
    }
  }
  return bits;
}

function writeTarget(w: Int32Array, at: number, r: Rule): number {
  const t = r.target;
  if (t?.kind === "MARK") {
    w[at] = t.value;
    w[at + 1] = t.mask;
    return T_MARK;
  }
  if (t?.kind === "DNAT") {
    const { addrs, ports, random, fully } = t.range;
    if (addrs === null || addrs.min !== addrs.max || random || fully) return T_OBJECT;
    if (ports !== null && (ports.min !== ports.max || ports.base !== undefined)) return T_OBJECT;
    w[at] = addrs.min;
    w[at + 1] = ports?.min ?? 0;
    return T_DNAT;
  }
  return T_OBJECT;
}
