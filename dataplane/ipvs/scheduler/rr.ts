/**
 * Round robin (ip_vs_rr.c): the next destination that can take one. They are a ring, so that a choice reads the chosen
 * destination and nothing else of its service.
 */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

export class RoundRobin implements Scheduler {
  readonly name: string = "rr";
  #last: Destination | null = null;
  #next: Destination | null = null;

  /** Goes on behind the one that was chosen last, or, where that is gone, with the one that was to follow it. */
  changed({ destinations }: VirtualService): void {
    const n = destinations.length;
    for (const [i, d] of destinations.entries()) d.follower = destinations[(i + 1) % n] as Destination;
    if (this.#last !== null && destinations.includes(this.#last)) this.#next = this.#last.follower;
    else if (this.#next === null || !destinations.includes(this.#next)) this.#next = destinations[0] ?? null;
  }

  choose(): Destination | null {
    const first = this.#next;
    if (first === null) return null;
    let d = first;
    while (!d.usable) {
      d = d.follower;
      if (d === first) return null;
    }
    this.#last = d;
    this.#next = d.follower;
    return d;
  }
}
