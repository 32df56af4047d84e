/**
 * Things that are found in two ways, each by a hash, as a connection is by what goes in either direction: open addressing
 * over integers. A lookup that finds nothing reads one or two cache lines and no object (or, once in four thousand million
 * times, one with the same hash: who looks up compares). Each thing has a number, and a time at which it is to be looked at
 * again.
 *
 *   a cell: hash · reference (number + 1, and which way; 0 for an empty cell)
 */
const WORDS = 2;
const MIN_CELLS = 256;

export class TwoWayTable<T> {
  #cells: Int32Array = new Int32Array(MIN_CELLS * WORDS);
  #mask: number = MIN_CELLS - 1;
  #used = 0;
  /** By number. */
  readonly #items: (T | null)[] = [];
  readonly #free: number[] = [];
  /** By number: when it is to be looked at again, at the earliest. Infinity for none. */
  #due: Float64Array = new Float64Array(MIN_CELLS).fill(Number.POSITIVE_INFINITY);
  /** By number: both hashes, so that a thing that goes need not be read for them. */
  #hashes: Int32Array = new Int32Array(MIN_CELLS * 2);
  #swept = 0;

  /** The first cell with this hash; -1 if there is none. */
  first(hash: number): number {
    return this.#seek(hash, hash & this.#mask);
  }

  /** The next one after a cell. */
  next(hash: number, cell: number): number {
    return this.#seek(hash, (cell + 1) & this.#mask);
  }

  #seek(hash: number, from: number): number {
    const cells = this.#cells;
    const mask = this.#mask;
    for (let i = from; cells[i * WORDS + 1] !== 0; i = (i + 1) & mask) if (cells[i * WORDS] === hash) return i;
    return -1;
  }

  item(cell: number): T {
    return this.#items[((this.#cells[cell * WORDS + 1] as number) >> 1) - 1] as T;
  }

  /** Whether a cell stands for the first way (0) or the second. */
  way(cell: number): number {
    return (this.#cells[cell * WORDS + 1] as number) & 1;
  }

  /** Answers the thing's number. Where both hashes are one, the second way is found before the first. */
  add(item: T, hash0: number, hash1: number, due: number): number {
    if ((this.#used + 2) * 2 > this.#mask) this.#grow();
    const number = this.#free.pop() ?? this.#items.length;
    this.#items[number] = item;
    if (number >= this.#due.length) this.#growItems();
    this.#due[number] = due;
    this.#hashes[number * 2] = hash0;
    this.#hashes[number * 2 + 1] = hash1;
    this.#put(hash1, ((number + 1) << 1) | 1);
    this.#put(hash0, (number + 1) << 1);
    this.#used += 2;
    return number;
  }

  remove(number: number): void {
    this.#take(this.#hashes[number * 2] as number, (number + 1) << 1);
    this.#take(this.#hashes[number * 2 + 1] as number, ((number + 1) << 1) | 1);
    this.#used -= 2;
    this.#items[number] = null;
    this.#due[number] = Number.POSITIVE_INFINITY;
    this.#free.push(number);
  }

  /** Goes on to the next thing, round and round; answers it if it is to be looked at. */
  sweep(now: number): T | null {
    this.#swept = this.#swept + 1 < this.#items.length ? this.#swept + 1 : 0;
    return (this.#due[this.#swept] as number) > now ? null : (this.#items[this.#swept] as T | null);
  }

  /** Puts off when a thing is to be looked at. */
  later(number: number, due: number): void {
    this.#due[number] = due;
  }

  /** Things near the place of a hash. */
  *near(hash: number, cells: number): IterableIterator<T> {
    for (let i = 0; i < cells; i++) {
      const ref = this.#cells[((hash + i) & this.#mask) * WORDS + 1] as number;
      const item = ref === 0 ? null : (this.#items[(ref >> 1) - 1] ?? null);
      if (item !== null) yield item;
    }
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const item of this.#items) if (item !== null) yield item;
  }

  #put(hash: number, ref: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let i = hash & mask;
    while (cells[i * WORDS + 1] !== 0) i = (i + 1) & mask;
    cells[i * WORDS] = hash;
    cells[i * WORDS + 1] = ref;
  }

  /** Empties a cell, and moves up those behind it that had to make way. */
  #take(hash: number, ref: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let hole = hash & mask;
    while (cells[hole * WORDS + 1] !== ref) hole = (hole + 1) & mask;
    for (let i = (hole + 1) & mask; cells[i * WORDS + 1] !== 0; i = (i + 1) & mask) {
      const home = (cells[i * WORDS] as number) & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      cells[hole * WORDS] = cells[i * WORDS] as number;
      cells[hole * WORDS + 1] = cells[i * WORDS + 1] as number;
      hole = i;
    }
    cells[hole * WORDS + 1] = 0;
  }

  #grow(): void {
    const old = this.#cells;
    this.#cells = new Int32Array(old.length * 2);
    this.#mask = this.#cells.length / WORDS - 1;
    for (let at = 0; at < old.length; at += WORDS) {
      const ref = old[at + 1] as number;
      if (ref !== 0) this.#put(old[at] as number, ref);
    }
  }

  #growItems(): void {
    const due = new Float64Array(this.#due.length * 2).fill(Number.POSITIVE_INFINITY);
    due.set(this.#due);
    this.#due = due;
    const hashes = new Int32Array(this.#hashes.length * 2);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
  }
}
