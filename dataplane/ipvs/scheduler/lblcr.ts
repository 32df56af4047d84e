/**
 * Locality-based least connections with replication (ip_vs_lblcr.c): as lblc, but an address has a set of servers. The least
 * loaded of them is taken; when it is crowded another joins; when the set did not change for a day, its most loaded leaves.
 */
import type { Destination, VirtualService } from "../service.ts";
import { EXPIRATION, MAX_ENTRIES } from "./lblc.ts";
import { isCrowded, leastFor, type NewFlow, overhead, type Scheduler } from "./scheduler.ts";

type Entry = { readonly set: Set<Destination>; used: number; changed: number };

export class ReplicatedLocality implements Scheduler {
  readonly name: string = "lblcr";
  readonly #entries: Map<number, Entry> = new Map();

  changed({ destinations }: VirtualService): void {
    for (const { set } of this.#entries.values()) for (const d of set) if (!destinations.includes(d)) set.delete(d);
  }

  choose(service: VirtualService, flow: NewFlow): Destination | null {
    const now = flow.now ?? 0;
    let entry = this.#entries.get(flow.dst);
    if (entry !== undefined && now - entry.used >= EXPIRATION) entry = undefined;
    this.#entries.delete(flow.dst);
    entry ??= { set: new Set(), used: now, changed: now };
    entry.used = now;
    const least = leastFor([...entry.set], overhead);
    if (entry.set.size > 1 && now - entry.changed > EXPIRATION) {
      const most = mostLoaded(entry.set);
      if (most !== null) entry.set.delete(most);
      entry.changed = now;
    }
    let chosen = least;
    if (least === null || isCrowded(least, service.destinations)) {
      chosen = leastFor(service.destinations, overhead);
      if (chosen !== null && !entry.set.has(chosen)) {
        entry.set.add(chosen);
        entry.changed = now;
      }
    }
    if (entry.set.size > 0) this.#entries.set(flow.dst, entry);
    if (this.#entries.size > MAX_ENTRIES) this.#entries.delete(this.#entries.keys().next().value as number);
    return chosen;
  }
}

/** ip_vs_dest_set_max: of those that may be chosen at all. */
function mostLoaded(set: ReadonlySet<Destination>): Destination | null {
  let most: Destination | null = null;
  for (const d of set) {
    if (d.weight > 0 && (most === null || overhead(most) * d.weight < overhead(d) * most.weight)) most = d;
  }
  return most;
}
