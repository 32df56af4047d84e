/** Weighted overflow (ip_vs_ovf.c): the largest weight whose active connections are not more than that weight. */
import type { Destination, VirtualService } from "../service.ts";
import type { Scheduler } from "./scheduler.ts";

export class Overflow implements Scheduler {
  readonly name: string = "ovf";

  changed(): void {}

  choose({ destinations }: VirtualService): Destination | null {
    let best: Destination | null = null;
    for (const d of destinations)
      if (d.usable && d.active <= d.weight && (best === null || d.weight > best.weight)) best = d;
    return best;
  }
}
