/** Round robin (ip_vs_rr.c): the next destination that can take one. */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

export class RoundRobin implements Scheduler {
  readonly name: string = "rr";
  /** The one that was chosen last, and where it stands. */
  #last: Destination | null = null;
  #at = -1;

  changed({ destinations }: VirtualService): void {
    this.#at = this.#last === null ? -1 : destinations.indexOf(this.#last);
    if (this.#at < 0) this.#last = null;
  }

  choose({ destinations }: VirtualService): Destination | null {
    const n = destinations.length;
    let at = this.#at;
    for (let i = 0; i < n; i++) {
      at = at + 1 < n ? at + 1 : 0;
      const d = destinations[at] as Destination;
      if (!d.usable) continue;
      this.#at = at;
      this.#last = d;
      return d;
    }
    return null;
  }
}
