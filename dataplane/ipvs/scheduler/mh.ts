/**
 * Maglev hashing (ip_vs_mh.c): each destination goes through the places of a table in an order of its own and takes the
 * free ones in turn, as often as its weight says; when destinations change, few places change. 4093 places (the kernel's
 * index 12). The kernel's siphash is another mixing function here, so places differ and their shares do not.
 */
import type { Destination, VirtualService } from "../service.ts";
import { folded, gcd, type NewFlow, type Scheduler } from "./scheduler.ts";

const SIZE = 4093;

export class Maglev implements Scheduler {
  readonly name: string = "mh";
  #table: (Destination | null)[] = [];

  changed({ destinations }: VirtualService): void {
    const step = destinations.reduce((g, d) => gcd(g, d.weight), 0) || 1;
    const turns = destinations.flatMap((d) =>
      d.weight <= 0
        ? []
        : [
            {
              d,
              turns: d.weight / step,
              at: mix(d.address, d.port, 0x9e3779b1) % SIZE,
              skip: (mix(d.address, d.port, 0x85ebca77) % (SIZE - 1)) + 1,
            },
          ],
    );
    const table = new Array<Destination | null>(SIZE).fill(null);
    let free = turns.length === 0 ? 0 : SIZE;
    while (free > 0)
      for (const t of turns)
        for (let i = 0; i < t.turns && free > 0; i++) {
          while (table[t.at] !== null) t.at = (t.at + t.skip) % SIZE;
          table[t.at] = t.d;
          free--;
        }
    this.#table = table;
  }

  choose(service: VirtualService, flow: NewFlow): Destination | null {
    const port = service.hashPort ? flow.srcPort : 0;
    const first = this.#table[mix(flow.src, port, 0xc2b2ae3d) % SIZE] ?? null;
    if (first?.usable === true) return first;
    if (!service.fallback) return null;
    for (let i = 0; i < SIZE; i++) {
      const d = this.#table[mix(flow.src, port + i, 0x27d4eb2f) % SIZE] ?? null;
      if (d?.usable === true) return d;
    }
    return null;
  }
}

function mix(a: number, b: number, seed: number): number {
  let h = Math.imul(folded(a) ^ seed, 0xcc9e2d51) ^ Math.imul(b + seed, 0x1b873593);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
