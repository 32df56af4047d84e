/** Keys that wait for a sync: each once, handed out sorted, so that the order of events does not matter. */
export class WorkQueue {
  #keys: Set<string> = new Set();

  add(key: string): void {
    this.#keys.add(key);
  }

  get size(): number {
    return this.#keys.size;
  }

  /** All waiting keys, sorted; the queue is empty afterwards. */
  drain(): readonly string[] {
    const keys = [...this.#keys].sort();
    this.#keys = new Set();
    return keys;
  }

  peek(limit: number): readonly string[] {
    return [...this.#keys].sort().slice(0, limit);
  }
}
