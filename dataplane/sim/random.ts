/**
 * The Random seam: seeded numbers, the same on every machine.
 *
 * The generator is sfc32 (C. Doty-Humphrey's Small Fast Counting generator, 32-bit words, from PractRand): four words of
 * state, no multiplication. Not for secrets.
 */

export interface Random {
  /** A number in [0, 1) with 32 bits. */
  next(): number;
  /** An integer in [0, n), 0 < n ≤ 2^32. */
  int(n: number): number;
  /** 32 random bits, unsigned. */
  u32(): number;
  /** An independent stream named by `label`: what one part draws never moves another part's numbers. */
  fork(label: string): Random;
}

export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed >>> 0;
    this.#a = this.#seed;
    this.#b = Math.floor(seed / 0x1_0000_0000) | 0;
    this.#c = 0x9e3779b9;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    this.#c |= 0;
    return t >>> 0;
  }

  next(): number {
    return this.u32() / 0x1_0000_0000;
  }

  int(n: number): number {
    return Math.floor(this.next() * n);
  }

  fork(label: string): Random {
    return new SeededRandom(hashText(label) ^ Math.imul(this.#seed + 1, 0x85ebca6b));
  }
}

/** FNV-1a over the UTF-16 units of the text, with a final mix (murmur3's). */
export function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
