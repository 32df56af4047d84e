/**
 * Rules by the text that they were read from, so that a rule which many chains, namespaces or transactions name is parsed
 * and stored once. Rules that nobody asked for in a while are forgotten here (they live on where they are used).
 */
import type { Rule } from "./rules.ts";

const LIMIT = 250_000;

export class RuleCache {
  #young: Map<string, readonly Rule[]> = new Map();
  #old: Map<string, readonly Rule[]> = new Map();

  /** `parse` gets a copy of the text that holds on to nothing else. */
  get(text: string, parse: (text: string) => readonly Rule[]): readonly Rule[] {
    const young = this.#young.get(text);
    if (young !== undefined) return young;
    const old = this.#old.get(text);
    if (old !== undefined) {
      this.#keep(text, old);
      return old;
    }
    // A slice of a large text keeps all of it alive; text that was put together does not.
    const own = `${text} `;
    const rules = parse(own);
    this.#keep(own.slice(0, -1), rules);
    return rules;
  }

  #keep(text: string, rules: readonly Rule[]): void {
    if (this.#young.size >= LIMIT) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(text, rules);
  }
}
