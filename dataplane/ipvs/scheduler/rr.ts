/** Round robin (ip_vs_rr.c): the next destination that can take one. */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

export class RoundRobin implements Scheduler {
  readonly name: string = "rr";
  #last: Destination | null = null;

  changed(service: VirtualService): void {
    if (this.#last !== null && !service.destinations.includes(this.#last)) this.#last = null;
  }

  choose({ destinations }: VirtualService): Destination | null {
    const n = destinations.length;
    const start = this.#last === null ? 0 : destinations.indexOf(this.#last) + 1;
    for (let i = 0; i < n; i++) {
      const d = destinations[(start + i) % n] as Destination;
      if (!d.usable) continue;
      this.#last = d;
      return d;
    }
    return null;
  }
}
