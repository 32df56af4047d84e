/**
 * The walk of `evaluate-linear.ts` over the rules that could match, in the order in which they stand: verdict, counters,
 * matched rules and everything that rules do are those of the walk over all of them. Long chains find their rules by hash
 * (`chain-index.ts`), all chains are read as integers (`table-code.ts`). What the other walk would have looked at is counted
 * beside what this one does. A packet whose transport header is not whole takes the other walk: its ports cannot be read.
 */
import { u16 } from "../wire/bytes.ts";
import { type ChainIndex, GROUPS_MAX, indexOf } from "./chain-index.ts";
import { DEPTH, destination, LinearEvaluator, matches, policy } from "./evaluate-linear.ts";
import { NF_ACCEPT, NF_DROP } from "./hooks.ts";
import { stateBits } from "./match/conntrack.ts";
import type { NfPacket } from "./packet.ts";
import {
  CHANCE_UNIT,
  H_ACTION,
  H_NOT,
  H_SLOW,
  headerMatches,
  M_CHANCE,
  M_DPORT,
  M_MARK,
  M_NONE,
  M_SET,
  M_STATE,
  MATCH_SHIFT,
  R_HEAD,
  R_JUMP,
  R_MATCH,
  R_TARGET,
  RECORD,
  T_DNAT,
  T_MARK,
  TARGET_SHIFT,
} from "./rule-record.ts";
import { DO_ACCEPT, DO_DROP, DO_JUMP, DO_NOTHING, DO_RETURN, DO_TARGET, type Rule } from "./rules.ts";
import type { ChainState, TableState } from "./table.ts";
import { countersAt, HEAD, type TableCode } from "./table-code.ts";
import { CONTINUE } from "./target/module.ts";
import { type ExtensionTarget, runTarget } from "./target/registry.ts";

export class IndexedEvaluator {
  readonly #linear: LinearEvaluator = new LinearEvaluator();
  /** For each depth: the chain's slot, the last rule that was looked at, the mark that was looked up, the cursors. */
  readonly #slots: Int32Array = new Int32Array(DEPTH + 1);
  readonly #last: Int32Array = new Int32Array(DEPTH + 1);
  readonly #marks: Int32Array = new Int32Array(DEPTH + 1);
  readonly #cursors: Int32Array = new Int32Array((DEPTH + 1) * GROUPS_MAX);

  /** The verdict of a table on a packet at its hook. */
  run(table: TableState, p: NfPacket): number {
    const base = table.base[p.hook] as ChainState | null;
    if (base === null) return NF_ACCEPT;
    if (!p.whole) return this.#linear.run(table, p);
    const { code } = table;
    const { arena } = code;
    const { src, dst, proto } = p;
    let slot = base.slot === 0 ? code.slotOf(base) : base.slot;
    let depth = 0;
    let last = -1;
    /** The states of the packet's connection, once a rule asked for them. */
    let states = 0;
    let examined = 0;
    let linear = 0;
    let verdict: number = NF_ACCEPT;
    // One turn a chain: entered, or gone back to behind the rule that led away from it.
    walk: for (;;) {
      const block = (arena.blocks[slot] as number) || code.write(slot);
      const { words } = arena;
      let length = words[block] as number;
      let index: ChainIndex | null = null;
      let records = words;
      let first = block + HEAD;
      let state: ChainState | null = null;
      if (length < 0) {
        state = arena.owners[slot] as ChainState;
        index = indexOf(state.chain) as ChainIndex;
        length = state.chain.rules.length;
        records = index.records;
        first = 0;
        if (last < 0) this.#enter(index, p, depth);
      }
      for (;;) {
        const i = index === null ? last + 1 : this.#next(index, p, depth, last);
        if (i >= length) {
          linear += length - 1 - last;
          if (depth === 0) {
            verdict = policy(table, base, p);
            break walk;
          }
          depth--;
          slot = this.#slots[depth] as number;
          last = this.#last[depth] as number;
          continue walk;
        }
        linear += i - last;
        examined++;
        last = i;
        const at = index === null ? first + i * RECORD : index.recordOf(i);
        const head = records[at + R_HEAD] as number;
        if ((head & H_SLOW) !== 0) {
          if (!matches(ruleAt(code, slot, i), p)) {
            if (!p.hotdrop) continue;
            verdict = NF_DROP;
            break walk;
          }
        } else {
          if (!headerMatches(records, at, head, src, dst, proto)) continue;
          const match = (head >> MATCH_SHIFT) & 15;
          if (match === M_STATE) {
            if (states === 0) states = stateBits(p);
            if ((((records[at + R_MATCH] as number) & states) !== 0) === ((head & H_NOT) !== 0)) continue;
          } else if (match === M_SET) {
            if (code.inSet(records[at + R_MATCH] as number, p) === ((head & H_NOT) !== 0)) continue;
          } else if (match !== M_NONE && !matchHolds(records, at + R_MATCH, match, (head & H_NOT) !== 0, p)) continue;
        }
        if (state === null) {
          const c = countersAt(block, length) + i * 2;
          const { doubles } = arena;
          doubles[c] = (doubles[c] as number) + 1;
          doubles[c + 1] = (doubles[c + 1] as number) + p.end - p.network;
        } else {
          state.count(i, p.end - p.network);
        }
        if (p.traced !== null) report(table, slot, i, p);
        switch (head & H_ACTION) {
          case DO_NOTHING:
            continue;
          case DO_ACCEPT:
            break walk;
          case DO_DROP:
            verdict = NF_DROP;
            break walk;
          case DO_RETURN:
            // As if the chain ended here, with nothing more looked at.
            last = length - 1;
            index = null;
            continue;
          case DO_TARGET: {
            const answer = runRecord(records, at + R_TARGET, (head >> TARGET_SHIFT) & 7, code, slot, i, p);
            // A packet may be one without a connection after that.
            states = 0;
            if (answer === CONTINUE) continue;
            verdict = answer;
            break walk;
          }
          case DO_JUMP:
            if (depth === DEPTH) {
              verdict = NF_DROP;
              break walk;
            }
            this.#slots[depth] = slot;
            this.#last[depth] = i;
            depth++;
        }
        const to = state === null ? (records[at + R_JUMP] as number) : (state.jumps?.[i] ?? 0);
        slot = to === 0 ? resolve(table, slot, i, at) : to;
        last = -1;
        continue walk;
      }
    }
    p.examined += examined;
    p.linear += linear;
    return verdict;
  }

  #enter(index: ChainIndex, p: NfPacket, depth: number): void {
    this.#marks[depth] = p.skb.mark;
    index.enter(p, this.#cursors, depth * GROUPS_MAX);
  }

  #next(index: ChainIndex, p: NfPacket, depth: number, last: number): number {
    const at = depth * GROUPS_MAX;
    if (index.marked && this.#marks[depth] !== (p.skb.mark | 0)) {
      this.#marks[depth] = p.skb.mark;
      index.marksAgain(p, this.#cursors, at, last);
    }
    return index.next(this.#cursors, at);
  }
}

function ruleAt(code: TableCode, slot: number, i: number): Rule {
  return (code.arena.owners[slot] as ChainState).chain.rules[i] as Rule;
}

/** The slot that a rule's jump leads to, kept for the next packet: in the record, or, of a chain with an index, beside it. */
function resolve(table: TableState, from: number, i: number, at: number): number {
  const { code } = table;
  const state = code.arena.owners[from] as ChainState;
  const slot = code.slotOf(destination(table, state, i, (state.chain.rules[i] as Rule).chain));
  if (code.counts(from)) code.arena.words[at + R_JUMP] = slot;
  else {
    state.jumps ??= new Int32Array(state.chain.rules.length);
    state.jumps[i] = slot;
  }
  return slot;
}

function report(table: TableState, slot: number, i: number, p: NfPacket): void {
  const { chain } = table.code.arena.owners[slot] as ChainState;
  p.traced?.push({ table: table.name, chain: chain.name, number: i + 1, text: (chain.rules[i] as Rule).text });
}

/** Whether the match of a record holds, other than of states; its words are at `at`. */
function matchHolds(w: Int32Array, at: number, match: number, not: boolean, p: NfPacket): boolean {
  switch (match) {
    case M_DPORT: {
      const range = w[at] as number;
      const port = u16(p.b, p.transport + 2);
      return (port >= (range & 0xffff) && port <= range >>> 16) !== not;
    }
    case M_MARK:
      return (((p.skb.mark & (w[at + 1] as number)) ^ (w[at] as number)) === 0) !== not;
    case M_CHANCE:
      return p.ns.world.chance(((w[at] as number) >>> 0) / CHANCE_UNIT) !== not;
    default:
      throw new Error(`record of a rule: match ${match}`);
  }
}

/** What a target does; its words are at `at`. */
function runRecord(
  w: Int32Array,
  at: number,
  target: number,
  code: TableCode,
  slot: number,
  i: number,
  p: NfPacket,
): number {
  switch (target) {
    case T_MARK:
      p.skb.mark = ((p.skb.mark & ~(w[at + 1] as number)) ^ (w[at] as number)) >>> 0;
      return CONTINUE;
    case T_DNAT:
      if (p.conn === null) return CONTINUE;
      p.nat.setupTo(p.conn, w[at] as number, w[at + 1] as number);
      return NF_ACCEPT;
    default:
      return runTarget(ruleAt(code, slot, i).target as ExtensionTarget, p);
  }
}
