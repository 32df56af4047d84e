/** Never queue (ip_vs_nq.c): an idle destination if there is one, else the shortest expected delay. */
import type { Destination, VirtualService } from "../service.ts";
import { leastFor, type Scheduler } from "./scheduler.ts";

export class NeverQueue implements Scheduler {
  readonly name: string = "nq";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    return destinations.find((d) => d.usable && d.active === 0) ?? leastFor(destinations, (d) => d.active + 1);
  }
}
