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
import { RECORD, writeRecord } from "./rule-record.ts";
import type { Rule } from "./rules.ts";
import type { ChainState } from "./table.ts";

/** Words in front of a block, and those of a rule's counters. */
export const HEAD = 4;
const COUNTERS = 4;

function sizeOf(rules: number): number {
  return HEAD + rules * (RECORD + COUNTERS);
}

const FIRST_WORDS = 1024;

export class TableCode {
  words: Int32Array = new Int32Array(FIRST_WORDS);
  /** The same octets, where counters are. */
  doubles: Float64Array = new Float64Array(this.words.buffer);
  /** By slot: where the chain's block is, 0 while it is not written; and the chain. Slot 0 is none. */
  blocks: Int32Array = new Int32Array(64);
  readonly states: (ChainState | null)[] = [null];
  readonly #slots: number[] = [];
  /** Words in use, and those of blocks that were given back, with where these are, by the number of their rules. */
  #used = HEAD;
  #wasted = 0;
  readonly #holes: Map<number, number[]> = new Map();

  /** The chain's slot, given to it if it has none. */
  slotOf(state: ChainState): number {
    if (state.slot !== 0) return state.slot;
    const slot = this.#slots.pop() ?? this.states.length;
    this.states[slot] = state;
    if (slot >= this.blocks.length) {
      const blocks = new Int32Array(this.blocks.length * 2);
      blocks.set(this.blocks);
      this.blocks = blocks;
    }
    state.slot = slot;
    state.code = this;
    return slot;
  }

  /** The chain is gone. */
  leave(slot: number): void {
    this.states[slot] = null;
    this.#slots.push(slot);
  }

  /** Writes the block of a slot's chain, with the counters that the chain has, and answers where it is. */
  write(slot: number): number {
    const { chain, counters } = this.states[slot] as ChainState;
    const { rules } = chain;
    const indexed = indexOf(chain) !== null;
    const at = this.#take(indexed ? 0 : rules.length);
    const w = this.words;
    w[at] = indexed ? -1 : rules.length;
    w[at + 1] = slot;
    this.blocks[slot] = at;
    if (indexed) return at;
    for (let i = 0; i < rules.length; i++) writeRecord(w, at + HEAD + i * RECORD, rules[i] as Rule);
    const c = countersAt(at, rules.length);
    if (counters === null) this.doubles.fill(0, c, c + rules.length * 2);
    else this.doubles.set(counters, c);
    return at;
  }

  /** Whether the chain's counters are here. */
  counts(slot: number): boolean {
    const at = this.blocks[slot] as number;
    return at !== 0 && this.words[at] !== -1;
  }

  /** Two numbers a rule, a copy; null where no rule matched yet. */
  countersOf(slot: number): Float64Array | null {
    const at = this.blocks[slot] as number;
    const n = this.words[at] as number;
    const c = countersAt(at, n);
    const counters = this.doubles.slice(c, c + n * 2);
    return counters.some((v) => v !== 0) ? counters : null;
  }

  /** Counts a packet of so many octets for a rule. */
  count(slot: number, rule: number, octets: number): void {
    const at = this.blocks[slot] as number;
    const c = countersAt(at, this.words[at] as number) + rule * 2;
    this.doubles[c] = (this.doubles[c] as number) + 1;
    this.doubles[c + 1] = (this.doubles[c + 1] as number) + octets;
  }

  /** Gives a slot's block back; its counters are forgotten. */
  drop(slot: number): void {
    const at = this.blocks[slot] as number;
    if (at === 0) return;
    this.blocks[slot] = 0;
    const n = Math.max(0, this.words[at] as number);
    const holes = this.#holes.get(n);
    if (holes === undefined) this.#holes.set(n, [at]);
    else holes.push(at);
    this.#wasted += sizeOf(n);
  }

  #take(rules: number): number {
    const hole = this.#holes.get(rules)?.pop();
    const size = sizeOf(rules);
    if (hole !== undefined) {
      this.#wasted -= size;
      return hole;
    }
    if (this.#used + size > this.words.length) {
      if (this.#wasted * 2 > this.#used) this.#clear();
      if (this.#used + size > this.words.length) this.#grow(this.#used + size);
    }
    const at = this.#used;
    this.#used += size;
    return at;
  }

  /** Too much is wasted: all blocks are to be written anew when they are met. */
  #clear(): void {
    for (const state of this.states) state?.unwrite();
    this.#holes.clear();
    this.#used = HEAD;
    this.#wasted = 0;
  }

  #grow(least: number): void {
    let size = this.words.length * 2;
    while (size < least) size *= 2;
    const words = new Int32Array(size);
    words.set(this.words);
    this.words = words;
    this.doubles = new Float64Array(words.buffer);
  }
}

/** Where the counters of a block's rules are, among the doubles. */
export function countersAt(block: number, rules: number): number {
  return (block + HEAD + rules * RECORD) >> 1;
}
