/**
 * Round robin (ip_vs_rr.c): the next destination that can take one. They are a ring, and the service knows whose turn it is,
 * so that a choice reads the chosen destination and nothing else. One object serves all services.
 */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

class RoundRobin implements Scheduler {
  readonly name: string = "rr";

  /** Goes on behind the one that was chosen last, or, where that is gone, with the one that was to follow it. */
  changed(service: VirtualService): void {
    const { destinations, turn } = service;
    const last = turn === null ? undefined : destinations.find((d) => d.follower === turn);
    const n = destinations.length;
    for (const [i, d] of destinations.entries()) d.follower = destinations[(i + 1) % n] as Destination;
    if (last !== undefined) service.turn = last.follower;
    else if (turn !== null && !destinations.includes(turn)) service.turn = null;
  }

  choose(service: VirtualService): Destination | null {
    const first = service.turn ?? service.destinations[0];
    if (first === undefined) return null;
    let d = first;
    while (!d.usable) {
      d = d.follower;
      if (d === first) return null;
    }
    service.turn = d.follower;
    return d;
  }
}

export const roundRobin: Scheduler = new RoundRobin();
