/** Shortest expected delay (ip_vs_sed.c): the fewest active connections for its weight, the new one counted. */
import type { Destination, VirtualService } from "../service.ts";
import { leastFor, type Scheduler } from "./scheduler.ts";

export class ShortestExpectedDelay implements Scheduler {
  readonly name: string = "sed";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    return leastFor(destinations, (d) => d.active + 1);
  }
}
