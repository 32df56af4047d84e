/**
 * Where connections are found: both directions of each, by what their packets look like, in one table of integers with open
 * addressing. A lookup that finds nothing reads one or two cache lines and no object.
 *
 *   a cell: hash of the tuple · destination · ports · reference (connection and direction; 0 for an empty cell)
 */
import type { Conn, Tuple } from "./conn.ts";

const WORDS = 4;
const MIN_CELLS = 256;

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
  #cells: Int32Array = new Int32Array(MIN_CELLS * WORDS);
  #mask: number = MIN_CELLS - 1;
  #used = 0;
  /** The connections, by number; both directions refer to it. */
  readonly #conns: (Conn | null)[] = [];
  readonly #free: number[] = [];
  /** By number: when a connection is to be looked at again, at the earliest. Infinity for none. */
  #due: Float64Array = new Float64Array(MIN_CELLS).fill(Number.POSITIVE_INFINITY);
  #swept = 0;
  /** The direction in which `find` found the tuple. */
  dir = 0;

  find(src: number, dst: number, ports: number, proto: number, zone: number): Conn | null {
    const hash = tupleHash(src, dst, ports, proto, zone);
    const cells = this.#cells;
    const mask = this.#mask;
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const at = i * WORDS;
      const ref = cells[at + 3] as number;
      if (ref === 0) return null;
      if (cells[at] !== hash || cells[at + 1] !== dst || cells[at + 2] !== ports) continue;
      const conn = this.#conns[(ref >> 1) - 1] as Conn;
      const t = (ref & 1) === 0 ? conn.original : conn.reply;
      if (t.src !== src || t.proto !== proto || t.zone !== zone) continue;
      this.dir = ref & 1;
      return conn;
    }
  }

  insert(conn: Conn): void {
    if ((this.#used + 2) * 2 > this.#mask) this.#grow();
    const slot = this.#free.pop() ?? this.#conns.length;
    conn.slot = slot;
    this.#conns[slot] = conn;
    if (slot >= this.#due.length) {
      const due = new Float64Array(this.#due.length * 2).fill(Number.POSITIVE_INFINITY);
      due.set(this.#due);
      this.#due = due;
    }
    this.#due[slot] = conn.expires;
    const { original, reply } = conn;
    // The reply first: where both directions look alike, as from an address to itself, it is the one that is found.
    this.#put(hashOf(reply), reply.dst, reply.ports, ((slot + 1) << 1) | 1);
    this.#put(hashOf(original), original.dst, original.ports, (slot + 1) << 1);
    this.#used += 2;
  }

  remove(conn: Conn): void {
    const { slot } = conn;
    this.#take(hashOf(conn.original), (slot + 1) << 1);
    this.#take(hashOf(conn.reply), ((slot + 1) << 1) | 1);
    this.#used -= 2;
    this.#conns[slot] = null;
    this.#due[slot] = Number.POSITIVE_INFINITY;
    this.#free.push(slot);
    conn.slot = -1;
  }

  /** Connections near the place of such a packet; where a full table looks for one to give up. */
  *near(hash: number, cells: number): IterableIterator<Conn> {
    for (let i = 0; i < cells; i++) {
      const ref = this.#cells[((hash + i) & this.#mask) * WORDS + 3] as number;
      const conn = ref === 0 ? null : (this.#conns[(ref >> 1) - 1] ?? null);
      if (conn !== null) yield conn;
    }
  }

  /** Goes on to the next connection, round and round; answers it if it is over. */
  sweep(now: number): Conn | null {
    this.#swept = this.#swept + 1 < this.#conns.length ? this.#swept + 1 : 0;
    const at = this.#swept;
    if ((this.#due[at] as number) > now) return null;
    const conn = this.#conns[at] as Conn;
    if (conn.expires <= now) return conn;
    this.#due[at] = conn.expires;
    return null;
  }

  *[Symbol.iterator](): IterableIterator<Conn> {
    for (const conn of this.#conns) if (conn !== null) yield conn;
  }

  #put(hash: number, dst: number, ports: number, ref: number): void {
    const cells = this.#cells;
    let i = hash & this.#mask;
    while (cells[i * WORDS + 3] !== 0) i = (i + 1) & this.#mask;
    const at = i * WORDS;
    cells[at] = hash;
    cells[at + 1] = dst;
    cells[at + 2] = ports;
    cells[at + 3] = ref;
  }

  /** Empties a cell, and moves up those behind it that had to make way. */
  #take(hash: number, ref: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let hole = hash & mask;
    while (cells[hole * WORDS + 3] !== ref) hole = (hole + 1) & mask;
    for (let i = (hole + 1) & mask; cells[i * WORDS + 3] !== 0; i = (i + 1) & mask) {
      const home = (cells[i * WORDS] as number) & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      cells.copyWithin(hole * WORDS, i * WORDS, i * WORDS + WORDS);
      hole = i;
    }
    cells[hole * WORDS + 3] = 0;
  }

  #grow(): void {
    const old = this.#cells;
    this.#cells = new Int32Array(old.length * 2);
    this.#mask = this.#cells.length / WORDS - 1;
    for (let at = 0; at < old.length; at += WORDS) {
      const ref = old[at + 3] as number;
      if (ref !== 0) this.#put(old[at] as number, old[at + 1] as number, old[at + 2] as number, ref);
    }
  }
}
