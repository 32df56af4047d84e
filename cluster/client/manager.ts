/**
 * Runs controllers until nothing is left to do: an event marks keys, one sync takes all marked keys of a controller.
 * No timers and no retries: a controller that keeps marking itself is an error, with its name and keys.
 */
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { WorkQueue } from "./work-queue.ts";

export interface Controller {
  readonly name: string;
  /** The kinds whose events it wants. */
  readonly kinds: readonly Kind[];
  /** Which of its keys an event makes dirty. */
  keys(event: WatchEvent): readonly string[];
  /** Brings the cluster to what it should be for these keys (sorted). Running it twice changes nothing. */
  sync(keys: readonly string[]): Promise<void>;
}

export class Manager {
  readonly #entries: { readonly controller: Controller; readonly queue: WorkQueue; readonly stop: () => void }[] = [];
  readonly #store: Store;
  #settling: Promise<void> | null = null;

  constructor(store: Store, controllers: readonly Controller[]) {
    this.#store = store;
    for (const controller of controllers) this.add(controller);
  }

  /** Adds a controller; it sees what exists as if it had just come. */
  add(controller: Controller): void {
    const queue = new WorkQueue();
    const stop = this.#store.watch({ kinds: controller.kinds, from: 0 }, (event) => {
      for (const key of controller.keys(event)) queue.add(key);
    });
    this.#entries.push({ controller, queue, stop });
  }

  /** Marks a key by hand, for what is no event of the store. */
  mark(controller: string, key: string): void {
    for (const entry of this.#entries) if (entry.controller.name === controller) entry.queue.add(key);
  }

  /** Syncs until nothing is dirty. Calls that overlap share one run. */
  settle(rounds: number = 200): Promise<void> {
    this.#settling ??= this.#run(rounds).finally(() => {
      this.#settling = null;
    });
    return this.#settling;
  }

  async #run(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      let worked = false;
      for (const { controller, queue } of this.#entries) {
        if (queue.size === 0) continue;
        worked = true;
        await controller.sync(queue.drain());
      }
      if (!worked) return;
    }
    const dirty = this.#entries
      .filter((e) => e.queue.size > 0)
      .map((e) => `${e.controller.name} (${e.queue.peek(3).join(", ")}${e.queue.size > 3 ? ", ..." : ""})`);
    throw new Error(`cluster: does not settle after ${rounds} rounds; still dirty: ${dirty.join("; ")}`);
  }

  close(): void {
    for (const entry of this.#entries) entry.stop();
    this.#entries.length = 0;
  }
}
