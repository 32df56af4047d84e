/**
 * Connections that are over, to be used again: the table makes and ends one for each flow, and making the objects costs more
 * than the rest.
 *
 * A packet may still hold a connection that left the table. It is not used again before there was a moment without any
 * packet in flight, as the kernel waits for a grace period: what no packet holds, nobody does. Where packets are always in
 * flight, new ones are made.
 */
import type { SkbPool } from "../skb/skb.ts";
import { Conn } from "./conn.ts";

/** More than these are left to the garbage collector. */
const LIMIT = 65_536;

export class ConnPool {
  readonly #packets: SkbPool;
  /** Stacks that keep their memory: an array that is made empty gives it up, and begins again with each burst. */
  #free: Conn[] = [];
  #frees = 0;
  /** Those that left the table since there was no packet last, and when that was. */
  #waiting: Conn[] = [];
  #waits = 0;
  #since = 0;
  /** Connections made so far; a steady state makes none. */
  made = 0;

  constructor(packets: SkbPool) {
    this.#packets = packets;
  }

  take(): Conn {
    if (this.#frees === 0) this.#release();
    if (this.#frees > 0) return this.#free[--this.#frees] as Conn;
    this.made++;
    return new Conn();
  }

  /** A connection that no table holds any more. */
  give(conn: Conn): void {
    if (this.#since !== this.#packets.pauses) this.#release();
    if (this.#waits < LIMIT) this.#waiting[this.#waits++] = conn;
  }

  #release(): void {
    const { pauses } = this.#packets;
    if (this.#since === pauses) return;
    this.#since = pauses;
    const waiting = this.#waiting;
    if (this.#frees === 0) {
      this.#waiting = this.#free;
      this.#free = waiting;
      this.#frees = this.#waits;
    } else {
      for (let i = 0; i < this.#waits && this.#frees < LIMIT; i++) this.#free[this.#frees++] = waiting[i] as Conn;
    }
    this.#waits = 0;
  }
}
