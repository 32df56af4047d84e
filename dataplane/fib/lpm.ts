/**
 * Longest-prefix match over IPv4 (IPv6 is in lpm6.ts): a hash of networks for each prefix length in use, longest first. With at most 33 lengths,
 * and few of them in use, a miss costs as many probes as there are lengths. Answers are cached above (fib.ts).
 */
import { maskOf } from "../wire/prefix.ts";

export class Lpm<T> {
  readonly #byLength: (Map<number, T> | null)[] = new Array<Map<number, T> | null>(33).fill(null);
  /** Lengths in use, longest first. */
  #lengths: number[] = [];
  size = 0;

  get(network: number, len: number): T | undefined {
    return this.#byLength[len]?.get(network | 0);
  }

  set(network: number, len: number, value: T): void {
    let map = this.#byLength[len];
    if (map === null || map === undefined) {
      map = new Map();
      this.#byLength[len] = map;
      this.#lengths = [...this.#lengths, len].sort((a, b) => b - a);
    }
    if (!map.has(network | 0)) this.size++;
    map.set(network | 0, value);
  }

  delete(network: number, len: number): boolean {
    const map = this.#byLength[len];
    if (!map?.delete(network | 0)) return false;
    this.size--;
    if (map.size === 0) {
      this.#byLength[len] = null;
      this.#lengths = this.#lengths.filter((l) => l !== len);
    }
    return true;
  }

  /** The value of the longest prefix that holds the address and that `accept` takes. */
  lookup(address: number, accept: (value: T) => boolean): T | undefined {
    for (const len of this.#lengths) {
      const value = this.#byLength[len]?.get(address & maskOf(len));
      if (value !== undefined && accept(value)) return value;
    }
    return undefined;
  }

  /** Values by prefix, longest first, then as they were added. */
  *values(): IterableIterator<T> {
    for (const len of this.#lengths) yield* this.#byLength[len]?.values() ?? [];
  }
}
