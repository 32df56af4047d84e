/** Weighted failover (ip_vs_fo.c): always the largest weight that can take one. */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

export class Failover implements Scheduler {
  readonly name: string = "fo";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    let best: Destination | null = null;
    for (const d of destinations) if (d.usable && (best === null || d.weight > best.weight)) best = d;
    return best;
  }
}
