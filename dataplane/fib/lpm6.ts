/** Longest-prefix match over keys of IPv6 addresses: as `Lpm`, with 129 lengths. */
import { network6Key } from "../wire/ip-key.ts";

export class Lpm6<T> {
  readonly #byLength: Map<number, Map<number, T>> = new Map();
  /** Lengths in use, longest first. */
  #lengths: number[] = [];

  get(network: number, len: number): T | undefined {
    return this.#byLength.get(len)?.get(network);
  }

  set(network: number, len: number, value: T): void {
    let map = this.#byLength.get(len);
    if (map === undefined) {
      map = new Map();
      this.#byLength.set(len, map);
      this.#lengths = [...this.#lengths, len].sort((a, b) => b - a);
    }
    map.set(network, value);
  }

  delete(network: number, len: number): boolean {
    const map = this.#byLength.get(len);
    if (map?.delete(network) !== true) return false;
    if (map.size === 0) {
      this.#byLength.delete(len);
      this.#lengths = this.#lengths.filter((l) => l !== len);
    }
    return true;
  }

  /** The value of the longest prefix that holds the address and that `accept` takes. */
  lookup(address: number, accept: (value: T) => boolean): T | undefined {
    for (const len of this.#lengths) {
      const network = network6Key(address, len);
      const value = network === 0 ? undefined : this.#byLength.get(len)?.get(network);
      if (value !== undefined && accept(value)) return value;
    }
    return undefined;
  }

  /** Values by prefix, longest first, then as they were added. */
  *values(): IterableIterator<T> {
    for (const len of this.#lengths) yield* this.#byLength.get(len)?.values() ?? [];
  }
}
