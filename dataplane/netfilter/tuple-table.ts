/** Where connections are found: both directions of each, by what their packets look like. */
import type { Conn, Tuple } from "./conn.ts";
import { TwoWayTable } from "./two-way-table.ts";

/** `zone` is the one that counts in the tuple's direction. */
export function tupleHash(src: number, dst: number, ports: number, proto: number, zone: number): number {
  let h = Math.imul(src ^ (proto << 24) ^ zone, 0xcc9e2d51);
  h = Math.imul((h << 15) | (h >>> 17), 0x1b873593) ^ dst;
  h = Math.imul((h << 13) | (h >>> 19), 0x85ebca6b) ^ ports;
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hashOf(t: Tuple): number {
  return tupleHash(t.src, t.dst, t.ports, t.proto, t.zone);
}

export class TupleTable {
  readonly #table: TwoWayTable<Conn> = new TwoWayTable();
  /** The direction in which `find` found the tuple. */
  dir = 0;

  find(src: number, dst: number, ports: number, proto: number, zone: number): Conn | null {
    const hash = tupleHash(src, dst, ports, proto, zone);
    const table = this.#table;
    for (let cell = table.first(hash); cell >= 0; cell = table.next(hash, cell)) {
      const conn = table.item(cell);
      const way = table.way(cell);
      const t = way === 0 ? conn.original : conn.reply;
      if (t.src !== src || t.dst !== dst || t.ports !== ports || t.proto !== proto || t.zone !== zone) continue;
      this.dir = way;
      return conn;
    }
    return null;
  }

  /** Where both directions look alike, as from an address to itself, the reply is the one that is found. */
  insert(conn: Conn): void {
    conn.slot = this.#table.add(conn, hashOf(conn.original), hashOf(conn.reply), conn.expires);
  }

  remove(conn: Conn): void {
    this.#table.remove(conn.slot);
    conn.slot = -1;
  }

  /** Connections near the place of such a packet; where a full table looks for one to give up. */
  near(hash: number, cells: number): IterableIterator<Conn> {
    return this.#table.near(hash, cells);
  }

  /** Goes on to the next connection, round and round; answers it if it is over. */
  sweep(now: number): Conn | null {
    const conn = this.#table.sweep(now);
    if (conn === null || conn.expires <= now) return conn;
    this.#table.later(conn.slot, conn.expires);
    return null;
  }

  [Symbol.iterator](): IterableIterator<Conn> {
    return this.#table[Symbol.iterator]();
  }
}
