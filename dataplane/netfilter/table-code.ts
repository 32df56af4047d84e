/**
 * The chains of a table as integers, for the walk that packets take (`evaluate-indexed.ts`): the records of a chain's rules
 * (`rule-record.ts`) in a row, with their counters behind, so that a walk through the chains of a Service reads a cache line
 * or two of each instead of a dozen objects. A chain is written when the first packet meets it, and again after it changed.
 *
 *   a block: rules (-1: found by an index) · slot │ a record for each rule │ packets and octets of each rule, as doubles
 *
 * A chain keeps its slot while it is there, so jumps name slots. Rules of a chain with an index have their records in the
 * index, which namespaces share, and their counters in the ChainState.
 */
import { indexOf } from "./chain-index.ts";
import { CodeArena } from "./code-arena.ts";
import type { IpSet, IpSets } from "./ipset.ts";
import { holds, type SetMatch } from "./match/set.ts";
import type { NfPacket } from "./packet.ts";
import { RECORD, writeRecord } from "./rule-record.ts";
import type { Rule } from "./rules.ts";
import type { ChainState } from "./table.ts";

/** Words in front of a block, and those of a rule's counters. */
export const HEAD = 4;
const COUNTERS = 4;

function sizeOf(rules: number): number {
  return HEAD + rules * (RECORD + COUNTERS);
}

/** Where the counters of a block's rules are, among the doubles. */
export function countersAt(block: number, rules: number): number {
  return (block + HEAD + rules * RECORD) >> 1;
}

export class TableCode {
  /** The matches of sets, by the numbers that records have of them, and the sets that they mean now. */
  readonly #matches: SetMatch[] = [];
  readonly #numbers: Map<SetMatch, number> = new Map();
  #sets: (IpSet | undefined)[] = [];
  #generation = 0;
  readonly arena: CodeArena<ChainState> = new CodeArena((state) => state.unwrite());

  /** The chain's slot, given to it if it has none. */
  slotOf(state: ChainState): number {
    if (state.slot === 0) {
      state.slot = this.arena.enter(state);
      state.code = this;
    }
    return state.slot;
  }

  /** Writes the block of a slot's chain, with the counters that the chain has, and answers where it is. */
  write(slot: number): number {
    const { arena } = this;
    const { chain, counters } = arena.owners[slot] as ChainState;
    const { rules } = chain;
    const indexed = indexOf(chain) !== null;
    const at = arena.place(slot, sizeOf(indexed ? 0 : rules.length));
    const { words, doubles } = arena;
    words[at] = indexed ? -1 : rules.length;
    words[at + 1] = slot;
    if (indexed) return at;
    const numberOf = (m: SetMatch): number => this.#numberOf(m);
    for (let i = 0; i < rules.length; i++) writeRecord(words, at + HEAD + i * RECORD, rules[i] as Rule, numberOf);
    const c = countersAt(at, rules.length);
    if (counters === null) doubles.fill(0, c, c + rules.length * 2);
    else doubles.set(counters, c);
    return at;
  }

  #numberOf(m: SetMatch): number {
    const known = this.#numbers.get(m);
    if (known !== undefined) return known;
    this.#numbers.set(m, this.#matches.length);
    this.#generation = 0;
    return this.#matches.push(m) - 1;
  }

  /** Whether the packet is in the set of match number `n`; of a set that is gone, what makes the match fail. */
  inSet(n: number, p: NfPacket): boolean {
    const { sets } = p.state;
    if (this.#generation !== sets.generation) this.#find(sets);
    const set = this.#sets[n];
    const m = this.#matches[n] as SetMatch;
    return set === undefined ? m.not : holds(set, m, p);
  }

  /** Apart from `inSet`, which would make a context for the closure with each packet. */
  #find(sets: IpSets): void {
    this.#generation = sets.generation;
    this.#sets = this.#matches.map((m) => sets.get(m.set));
  }

  /** Whether the chain's counters are here. */
  counts(slot: number): boolean {
    const at = this.arena.blocks[slot] as number;
    return at !== 0 && this.arena.words[at] !== -1;
  }

  /** Two numbers a rule, a copy; null where no rule matched yet. */
  countersOf(slot: number): Float64Array | null {
    const at = this.arena.blocks[slot] as number;
    const n = this.arena.words[at] as number;
    const c = countersAt(at, n);
    const counters = this.arena.doubles.slice(c, c + n * 2);
    return counters.some((v) => v !== 0) ? counters : null;
  }

  /** Counts a packet of so many octets for a rule. */
  count(slot: number, rule: number, octets: number): void {
    const at = this.arena.blocks[slot] as number;
    const { doubles, words } = this.arena;
    const c = countersAt(at, words[at] as number) + rule * 2;
    doubles[c] = (doubles[c] as number) + 1;
    doubles[c + 1] = (doubles[c + 1] as number) + octets;
  }

  /** Gives a slot's block back; its counters are forgotten. */
  drop(slot: number): void {
    const at = this.arena.blocks[slot] as number;
    if (at !== 0) this.arena.drop(slot, sizeOf(Math.max(0, this.arena.words[at] as number)));
  }

  /** The chain is gone. */
  leave(slot: number): void {
    this.arena.leave(slot);
  }
}
