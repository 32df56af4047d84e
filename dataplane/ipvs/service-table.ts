/** Virtual services by protocol, address and port, in one hash that grows and counts its probes; those by mark beside it. */
import { compareIp } from "../wire/ip-key.ts";
import type { VirtualService } from "./service.ts";

const MIN_BUCKETS = 64;

function hash(proto: number, address: number, port: number): number {
  let h = Math.imul(address ^ (proto << 24), 0xcc9e2d51) ^ Math.imul(port, 0x1b873593);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return h ^ (h >>> 13);
}

export class ServiceTable {
  #buckets: (VirtualService | null)[] = new Array<VirtualService | null>(MIN_BUCKETS).fill(null);
  #mask = MIN_BUCKETS - 1;
  readonly #marks: Map<number, VirtualService> = new Map();
  readonly #marks6: Map<number, VirtualService> = new Map();
  #anyPort = 0;
  count = 0;
  /** Entries looked at so far. */
  probes = 0;

  /** The service that a new packet is for: by mark, by address and port, by address alone. */
  lookup(proto: number, address: number, port: number, mark: number, six = false): VirtualService | null {
    const marks = this.#marked(six);
    if (mark !== 0 && marks.size > 0) {
      const marked = marks.get(mark);
      if (marked !== undefined) return marked;
    }
    const found = this.get(proto, address, port, 0);
    return found !== null || this.#anyPort === 0 ? found : this.get(proto, address, 0, 0);
  }

  #marked(six: boolean): Map<number, VirtualService> {
    return six ? this.#marks6 : this.#marks;
  }

  /** `six` tells which of two services with one mark. */
  get(proto: number, address: number, port: number, fwmark: number, six = false): VirtualService | null {
    if (fwmark !== 0) return this.#marked(six).get(fwmark) ?? null;
    let s = this.#buckets[hash(proto, address, port) & this.#mask] as VirtualService | null;
    for (; s !== null; s = s.next) {
      this.probes++;
      if (s.address === address && s.port === port && s.proto === proto) return s;
    }
    return null;
  }

  add(s: VirtualService): void {
    this.count++;
    if (s.fwmark !== 0) {
      this.#marked(s.six).set(s.fwmark, s);
      return;
    }
    if (this.count > this.#mask) this.#grow();
    this.#link(s);
    if (s.port === 0) this.#anyPort++;
  }

  delete(s: VirtualService): void {
    this.count--;
    if (s.fwmark !== 0) {
      this.#marked(s.six).delete(s.fwmark);
      return;
    }
    const at = hash(s.proto, s.address, s.port) & this.#mask;
    let before = this.#buckets[at] as VirtualService | null;
    if (before === s) this.#buckets[at] = s.next;
    else {
      while (before !== null && before.next !== s) before = before.next;
      if (before !== null) before.next = s.next;
    }
    s.next = null;
    if (s.port === 0) this.#anyPort--;
  }

  all(): VirtualService[] {
    const out: VirtualService[] = [...this.#marks.values(), ...this.#marks6.values()];
    for (let s of this.#buckets) for (; s !== null; s = s.next) out.push(s);
    return out.sort(
      (a, b) =>
        a.fwmark - b.fwmark ||
        Number(a.six) - Number(b.six) ||
        a.proto - b.proto ||
        compareIp(a.address, b.address) ||
        a.port - b.port,
    );
  }

  #link(s: VirtualService): void {
    const at = hash(s.proto, s.address, s.port) & this.#mask;
    s.next = this.#buckets[at] as VirtualService | null;
    this.#buckets[at] = s;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Array<VirtualService | null>(old.length * 2).fill(null);
    this.#mask = this.#buckets.length - 1;
    for (let s of old)
      while (s !== null) {
        const next: VirtualService | null = s.next;
        this.#link(s);
        s = next;
      }
  }
}
