/** Source hashing (ip_vs_sh.c): a table of 256 places, shared out by weight, looked up by the client's address. */
import type { Destination, VirtualService } from "../service.ts";
import { folded, hash8, type NewFlow, type Scheduler } from "./scheduler.ts";

const SIZE = 256;

export class SourceHash implements Scheduler {
  readonly name: string = "sh";
  readonly #table: (Destination | null)[] = new Array<Destination | null>(SIZE).fill(null);

  changed({ destinations }: VirtualService): void {
    let at = 0;
    let taken = 0;
    for (let i = 0; i < SIZE; i++) {
      const d = destinations[at] ?? null;
      this.#table[i] = d;
      if (d !== null && ++taken >= d.weight) {
        at = (at + 1) % destinations.length;
        taken = 0;
      }
    }
  }

  choose(service: VirtualService, flow: NewFlow): Destination | null {
    const hash = hash8(folded(flow.src) + (service.hashPort ? flow.srcPort : 0));
    for (let i = 0; i < (service.fallback ? SIZE : 1); i++) {
      const d = this.#table[(hash + i) & (SIZE - 1)] ?? null;
      if (d?.usable === true) return d;
    }
    return null;
  }
}
