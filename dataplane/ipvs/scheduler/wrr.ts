/** Weighted round robin (ip_vs_wrr.c): rounds with a threshold that falls from the largest weight in steps of their divisor. */
import type { Destination, VirtualService } from "../service.ts";
import { gcd, type Scheduler } from "./scheduler.ts";

export class WeightedRoundRobin implements Scheduler {
  readonly name: string = "wrr";
  #at = -1;
  #threshold = 0;
  #step = 1;
  #max = 0;

  changed({ destinations }: VirtualService): void {
    const weights = destinations.map((d) => d.weight).filter((w) => w > 0);
    this.#step = weights.reduce(gcd, 0) || 1;
    this.#max = Math.max(0, ...weights);
    this.#at = -1;
    this.#threshold = 0;
  }

  choose({ destinations }: VirtualService): Destination | null {
    const n = destinations.length;
    const rounds = this.#max / this.#step + 1;
    for (let tries = 0; tries < n * rounds; tries++) {
      this.#at = (this.#at + 1) % n;
      if (this.#at === 0) {
        this.#threshold -= this.#step;
        if (this.#threshold <= 0) this.#threshold = this.#max;
      }
      const d = destinations[this.#at] as Destination;
      if (d.usable && d.weight >= this.#threshold) return d;
    }
    return null;
  }
}
