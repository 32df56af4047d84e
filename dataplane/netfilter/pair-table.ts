/** Pairs of integers, the first never negative, in open addressing: whether one is there takes one or two cache lines. */
const WORDS = 2;
const MIN_CELLS = 16;
const EMPTY = -1;

export class PairTable {
  #cells: Int32Array = new Int32Array(MIN_CELLS * WORDS).fill(EMPTY);
  #mask: number = MIN_CELLS - 1;
  #count = 0;

  has(first: number, second: number): boolean {
    const cells = this.#cells;
    for (let i = hash(first, second) & this.#mask; ; i = (i + 1) & this.#mask) {
      const at = i * WORDS;
      const a = cells[at] as number;
      if (a === first && cells[at + 1] === second) return true;
      if (a === EMPTY) return false;
    }
  }

  /** The pair must not be there. */
  add(first: number, second: number): void {
    if ((this.#count + 1) * 2 > this.#mask) this.#grow();
    this.#count++;
    this.#put(first, second);
  }

  #put(first: number, second: number): void {
    let i = hash(first, second) & this.#mask;
    while (this.#cells[i * WORDS] !== EMPTY) i = (i + 1) & this.#mask;
    this.#cells[i * WORDS] = first;
    this.#cells[i * WORDS + 1] = second;
  }

  #grow(): void {
    const old = this.#cells;
    this.#cells = new Int32Array(old.length * 2).fill(EMPTY);
    this.#mask = this.#cells.length / WORDS - 1;
    for (let at = 0; at < old.length; at += WORDS)
      if (old[at] !== EMPTY) this.#put(old[at] as number, old[at + 1] as number);
  }
}

function hash(first: number, second: number): number {
  const h = Math.imul(Math.imul(first, 0xcc9e2d51) ^ second, 0x85ebca6b);
  return h ^ (h >>> 15);
}
