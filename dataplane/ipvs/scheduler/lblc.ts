/**
 * Locality-based least connections (ip_vs_lblc.c), for caches: a destination address keeps its server, until that has more
 * connections than its weight while another has not half of its own. The address is the virtual one, so that services by
 * mark are what it is for.
 */
import type { Destination, VirtualService } from "../service.ts";
import { isCrowded, leastFor, type NewFlow, overhead, type Scheduler } from "./scheduler.ts";

/** Milliseconds that an entry is kept unused (lblc_expiration), and how many there are at the most. */
export const EXPIRATION = 86_400_000;
export const MAX_ENTRIES = 16_384;

type Entry = { destination: Destination; used: number };

export class LocalityLeastConnections implements Scheduler {
  readonly name: string = "lblc";
  /** By destination address, the longest unused first. */
  readonly #entries: Map<number, Entry> = new Map();

  changed(): void {}

  choose(service: VirtualService, flow: NewFlow): Destination | null {
    const now = flow.now ?? 0;
    const entry = this.#entries.get(flow.dst);
    if (entry !== undefined) {
      const fresh = now - entry.used < EXPIRATION;
      this.#entries.delete(flow.dst);
      const d = entry.destination;
      if (fresh && d.available && d.weight > 0 && !isCrowded(d, service.destinations)) {
        entry.used = now;
        this.#entries.set(flow.dst, entry);
        return d;
      }
    }
    const destination = leastFor(service.destinations, overhead);
    if (destination === null) return null;
    this.#entries.set(flow.dst, { destination, used: now });
    if (this.#entries.size > MAX_ENTRIES) this.#entries.delete(this.#entries.keys().next().value as number);
    return destination;
  }
}
