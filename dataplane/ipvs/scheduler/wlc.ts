/** Weighted least connections (ip_vs_wlc.c): the fewest for its weight. */
import type { Destination, VirtualService } from "../service.ts";
import { leastFor, overhead, type Scheduler } from "./scheduler.ts";

export class WeightedLeastConnections implements Scheduler {
  readonly name: string = "wlc";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    return leastFor(destinations, overhead);
  }
}
