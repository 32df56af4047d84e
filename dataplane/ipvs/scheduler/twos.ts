/** Power of two random choices (ip_vs_twos.c): two are drawn by weight, the one with less to do for its weight is taken. */
import type { Destination, VirtualService } from "../service.ts";
import { overhead, type Scheduler } from "./scheduler.ts";

export class TwoChoices implements Scheduler {
  readonly name: string = "twos";

  changed(): void {}

  choose({ destinations, random }: VirtualService): Destination | null {
    const usable = destinations.filter((d) => d.usable);
    const total = usable.reduce((sum, d) => sum + d.weight, 0);
    if (total === 0) return null;
    const draw = (): Destination => {
      let at = random.int(total);
      for (const d of usable) {
        at -= d.weight;
        if (at < 0) return d;
      }
      return usable[0] as Destination;
    };
    const one = draw();
    const two = draw();
    return two.weight * overhead(one) > one.weight * overhead(two) ? two : one;
  }
}
