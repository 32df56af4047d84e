/**
 * A forwarding database: what is known about a MAC address. Open addressing over the address in two integers, so that a
 * lookup neither allocates nor hashes a floating-point number. Bridges and vxlan devices have one each.
 */
import type { Mac } from "../wire/mac-addr.ts";

export class FdbEntry<T> {
  /** Octets 0-1 of the MAC, and above them whatever else tells entries apart: a bridge has the VLAN there. */
  readonly macHi: number;
  /** Octets 2-5, signed. */
  readonly macLo: number;
  target: T;
  /** Configured, not learned: it does not age and is not moved. */
  readonly permanent: boolean;
  /** When the address was last seen as a source, in milliseconds. */
  updated: number;

  constructor(macHi: number, macLo: number, target: T, permanent: boolean, updated: number) {
    this.macHi = macHi;
    this.macLo = macLo;
    this.target = target;
    this.permanent = permanent;
    this.updated = updated;
  }

  get mac(): Mac {
    return ((this.macHi & 0xffff) * 0x1_0000_0000 + (this.macLo >>> 0)) as Mac;
  }
}

export class Fdb<T> {
  #slots: (FdbEntry<T> | null)[] = new Array<FdbEntry<T> | null>(16).fill(null);
  size = 0;

  /** The entry of an address given as octets 0-1, and 2-5 as a signed integer: an unsigned one would be boxed on its way. */
  get(macHi: number, macLo: number): FdbEntry<T> | null {
    const mask = this.#slots.length - 1;
    for (let i = slot(macHi, macLo) & mask; ; i = (i + 1) & mask) {
      const e = this.#slots[i] as FdbEntry<T> | null;
      if (e === null) return null;
      if (e.macLo === macLo && e.macHi === macHi) return e;
    }
  }

  /** Adds an entry or takes the place of the one with the same address. */
  set(entry: FdbEntry<T>): void {
    if ((this.size + 1) * 2 > this.#slots.length) this.#resize(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    let i = slot(entry.macHi, entry.macLo) & mask;
    for (; ; i = (i + 1) & mask) {
      const e = this.#slots[i] as FdbEntry<T> | null;
      if (e === null) {
        this.size++;
        break;
      }
      if (e.macLo === entry.macLo && e.macHi === entry.macHi) break;
    }
    this.#slots[i] = entry;
  }

  delete(macHi: number, macLo: number): boolean {
    if (this.get(macHi, macLo) === null) return false;
    this.keep((e) => e.macLo !== macLo || e.macHi !== macHi);
    return true;
  }

  /** Drops the entries that `wanted` refuses. */
  keep(wanted: (entry: FdbEntry<T>) => boolean): void {
    const rest = [...this.entries()].filter(wanted);
    if (rest.length === this.size) return;
    this.#slots.fill(null);
    this.size = 0;
    for (const e of rest) this.set(e);
  }

  *entries(): IterableIterator<FdbEntry<T>> {
    for (const e of this.#slots) if (e !== null) yield e;
  }

  #resize(size: number): void {
    const old = [...this.entries()];
    this.#slots = new Array<FdbEntry<T> | null>(size).fill(null);
    this.size = 0;
    for (const e of old) this.set(e);
  }
}

function slot(macHi: number, macLo: number): number {
  const h = Math.imul(macLo ^ (macHi << 7), 0x9e3779b1);
  return h ^ (h >>> 15);
}
