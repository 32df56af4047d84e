/** What all namespaces of one run share: time, chance, the packet pool and, sometimes, an observer. */
import { EventLoop } from "../sim/event-loop.ts";
import { type Random, SeededRandom } from "../sim/random.ts";
import { SkbPool } from "../skb/skb.ts";
import type { Observer } from "../skb/trace.ts";

export class World {
  readonly loop: EventLoop = new EventLoop();
  readonly random: Random;
  readonly pool: SkbPool = new SkbPool();
  readonly seed: number;
  /** Decides which packets are traced; null, and nothing is. */
  observer: Observer | null = null;

  /** Decides what rules leave to chance (`-m statistic --mode random`): true with this probability. Replaceable. */
  chance: (probability: number) => boolean;
  /** How rules are found: by hash, or one after the other, which defines what the other must do. */
  evaluator: "indexed" | "linear" = "indexed";

  constructor(seed = 1) {
    this.seed = seed;
    this.random = new SeededRandom(seed);
    const draws = this.random.fork("chance");
    this.chance = (probability) => draws.next() < probability;
  }
}
