/**
 * Enumerates what chance could decide: each run of a trace takes the next unexplored combination of the decisions that
 * its rules left to chance, until there is none.
 */
export class Choices {
  #taken: boolean[] = [];
  #at = 0;

  /** For World.chance: certain things stay certain, the rest follows the plan. */
  readonly chance: (probability: number) => boolean = (probability) => {
    if (probability >= 1) return true;
    if (probability <= 0) return false;
    if (this.#at === this.#taken.length) this.#taken.push(true);
    return this.#taken[this.#at++] === true;
  };

  /** Moves on to the next combination; answers false when all are done. */
  next(): boolean {
    this.#taken.length = Math.min(this.#taken.length, this.#at);
    this.#at = 0;
    while (this.#taken.at(-1) === false) this.#taken.pop();
    if (this.#taken.length === 0) return false;
    this.#taken[this.#taken.length - 1] = false;
    return true;
  }
}
