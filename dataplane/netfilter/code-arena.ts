/**
 * Where the chains of a ruleset stand as integers, in one array that grows: a chain has a slot as long as it is there, by
 * which others name it, and a block while it is written. Blocks that are given back are used again for others of their size;
 * once more is wasted than used, all chains are to be written anew when packets meet them.
 */

/** What is made with the first chain: most tables of most namespaces see no packet. */
const FIRST_WORDS = 1024;
const FIRST_SLOTS = 64;
const NO_WORDS: Int32Array = new Int32Array(0);
const NO_DOUBLES: Float64Array = new Float64Array(0);
/** Where the first block begins: 0 is none. Blocks begin at even words, for the doubles in them. */
const START = 4;

export class CodeArena<T> {
  words: Int32Array = NO_WORDS;
  /** The same octets. */
  doubles: Float64Array = NO_DOUBLES;
  /** By slot: where the chain's block is, 0 while it is not written; and the chain. Slot 0 is none. */
  blocks: Int32Array = NO_WORDS;
  readonly owners: (T | null)[] = [null];
  readonly #slots: number[] = [];
  #used = START;
  #wasted = 0;
  /** Blocks that were given back, by their size. */
  readonly #holes: Map<number, number[]> = new Map();
  readonly #unwrite: (owner: T) => void;

  /** `unwrite` is to give back a chain's block, if it has one. */
  constructor(unwrite: (owner: T) => void) {
    this.#unwrite = unwrite;
  }

  /** A slot for a chain. */
  enter(owner: T): number {
    const slot = this.#slots.pop() ?? this.owners.length;
    this.owners[slot] = owner;
    if (slot >= this.blocks.length) {
      const blocks = new Int32Array(Math.max(FIRST_SLOTS, this.blocks.length * 2));
      blocks.set(this.blocks);
      this.blocks = blocks;
    }
    return slot;
  }

  /** The chain is gone, with its block given back, and nothing names its slot any more. */
  leave(slot: number): void {
    this.owners[slot] = null;
    this.#slots.push(slot);
  }

  /** Room for a slot's block of so many words (an even number); answers where it is. `words` may be another array then. */
  place(slot: number, size: number): number {
    const hole = this.#holes.get(size)?.pop();
    if (hole !== undefined) this.#wasted -= size;
    else if (this.#used + size > this.words.length) this.#makeRoom(size);
    const at = hole ?? this.#used;
    if (hole === undefined) this.#used += size;
    this.blocks[slot] = at;
    return at;
  }

  /** Gives a slot's block back. */
  drop(slot: number, size: number): void {
    const at = this.blocks[slot] as number;
    this.blocks[slot] = 0;
    const holes = this.#holes.get(size);
    if (holes === undefined) this.#holes.set(size, [at]);
    else holes.push(at);
    this.#wasted += size;
  }

  #makeRoom(size: number): void {
    if (this.#wasted * 2 > this.#used) {
      for (const owner of this.owners) if (owner !== null) this.#unwrite(owner);
      this.#holes.clear();
      this.#used = START;
      this.#wasted = 0;
    }
    if (this.#used + size <= this.words.length) return;
    let length = Math.max(FIRST_WORDS, this.words.length * 2);
    while (length < this.#used + size) length *= 2;
    const words = new Int32Array(length);
    words.set(this.words);
    this.words = words;
    this.doubles = new Float64Array(words.buffer);
  }
}
