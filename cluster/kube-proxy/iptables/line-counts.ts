/**
 * How many lines each Service has in each of several shared chains, by the order of their keys: where a Service's lines stand
 * in a chain of all Services follows from those before it. Keys are kept in chunks with sums, so that a question and a change
 * cost little among many.
 */

const CHUNK = 512;

type Chunk = { readonly keys: string[]; readonly lines: (readonly number[])[]; readonly sums: number[] };

export class LineCounts {
  readonly #width: number;
  #chunks: Chunk[] = [];

  /** `width` chains; the keys come in order. */
  constructor(width: number, sorted: Iterable<readonly [string, readonly number[]]>) {
    this.#width = width;
    for (const [key, lines] of sorted) {
      let last = this.#chunks[this.#chunks.length - 1];
      if (last === undefined || last.keys.length >= CHUNK / 2) {
        last = this.#chunk([], []);
        this.#chunks.push(last);
      }
      this.#put(last, last.keys.length, key, lines);
    }
  }

  #chunk(keys: string[], lines: (readonly number[])[]): Chunk {
    const sums = new Array<number>(this.#width).fill(0);
    for (const list of lines) for (const [i, n] of list.entries()) sums[i] = (sums[i] ?? 0) + n;
    return { keys, lines, sums };
  }

  /** Sets a key's counts; null takes the key out. */
  set(key: string, lines: readonly number[] | null): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      if (lines !== null) this.#chunks.push(this.#chunk([key], [lines]));
      return;
    }
    const i = lowerBound(chunk.keys, key);
    if (chunk.keys[i] === key) this.#take(chunk, i);
    if (lines !== null) this.#put(chunk, i, key, lines);
    if (chunk.keys.length === 0) this.#chunks.splice(at, 1);
    if (chunk.keys.length > CHUNK) {
      const half = chunk.keys.length >> 1;
      const parts = [
        this.#chunk(chunk.keys.slice(0, half), chunk.lines.slice(0, half)),
        this.#chunk(chunk.keys.slice(half), chunk.lines.slice(half)),
      ];
      this.#chunks.splice(at, 1, ...parts);
    }
  }

  /** Lines in a chain of all keys before this one. */
  before(key: string, chain: number): number {
    const at = this.#chunkOf(key);
    let n = 0;
    for (let c = 0; c < at; c++) n += this.#chunks[c]?.sums[chain] ?? 0;
    const chunk = this.#chunks[at];
    if (chunk === undefined) return n;
    const end = lowerBound(chunk.keys, key);
    for (let i = 0; i < end; i++) n += chunk.lines[i]?.[chain] ?? 0;
    return n;
  }

  #put(chunk: Chunk, at: number, key: string, lines: readonly number[]): void {
    chunk.keys.splice(at, 0, key);
    chunk.lines.splice(at, 0, lines);
    for (const [i, n] of lines.entries()) chunk.sums[i] = (chunk.sums[i] ?? 0) + n;
  }

  #take(chunk: Chunk, at: number): void {
    for (const [i, n] of (chunk.lines[at] ?? []).entries()) chunk.sums[i] = (chunk.sums[i] ?? 0) - n;
    chunk.keys.splice(at, 1);
    chunk.lines.splice(at, 1);
  }

  /** The last chunk that begins at or before the key; the first where none does. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#chunks[middle]?.keys[0] ?? "") <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** Where a key stands in a sorted list, or would stand. */
export function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
