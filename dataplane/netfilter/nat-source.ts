/**
 * Translated connections by their original source, the newest first, so that a source is mapped as it was before
 * (nf_nat_bysource). Chained through the connections themselves.
 */
import type { Conn } from "./conn.ts";

const MIN_BUCKETS = 64;

function hash(conn: Conn): number {
  const { src, ports, proto } = conn.original;
  const h = Math.imul(src ^ ((ports >>> 16) * 0x10001) ^ (proto << 8), 0x9e3779b1);
  return h ^ (h >>> 15);
}

export class NatSources {
  #buckets: (Conn | null)[] = new Array<Conn | null>(MIN_BUCKETS).fill(null);
  #count = 0;

  /** The first of those that may have the same source, protocol and port; the others follow by `nextOfSource`. */
  first(conn: Conn): Conn | null {
    return this.#buckets[hash(conn) & (this.#buckets.length - 1)] as Conn | null;
  }

  add(conn: Conn): void {
    if (++this.#count > this.#buckets.length) this.#grow();
    this.#link(conn);
  }

  remove(conn: Conn): void {
    this.#count--;
    const { nextOfSource: next, lastOfSource: last } = conn;
    if (next !== null) next.lastOfSource = last;
    if (last !== null) last.nextOfSource = next;
    else this.#buckets[hash(conn) & (this.#buckets.length - 1)] = next;
    conn.nextOfSource = null;
    conn.lastOfSource = null;
  }

  #link(conn: Conn): void {
    const at = hash(conn) & (this.#buckets.length - 1);
    const first = this.#buckets[at] as Conn | null;
    conn.nextOfSource = first;
    conn.lastOfSource = null;
    if (first !== null) first.lastOfSource = conn;
    this.#buckets[at] = conn;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Array<Conn | null>(old.length * 2).fill(null);
    // Each chain turned round first: linking puts the newest in front again.
    for (const first of old) {
      const chain: Conn[] = [];
      for (let conn = first; conn !== null; conn = conn.nextOfSource) chain.push(conn);
      while (chain.length > 0) this.#link(chain.pop() as Conn);
    }
  }
}
