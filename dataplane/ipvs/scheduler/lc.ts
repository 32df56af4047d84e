/** Least connections (ip_vs_lc.c): the destination with the fewest, whatever its weight. */
import type { Destination, VirtualService } from "../service.ts";
import { overhead, type Scheduler } from "./scheduler.ts";

export class LeastConnections implements Scheduler {
  readonly name: string = "lc";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    let least: Destination | null = null;
    for (const d of destinations) if (d.usable && (least === null || overhead(d) < overhead(least))) least = d;
    return least;
  }
}
