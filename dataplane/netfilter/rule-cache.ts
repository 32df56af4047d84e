/**
 * Rules by the text that they were read from, so that a rule which many chains, namespaces or transactions name is parsed
 * and stored once. Rules that nobody asked for in a while are forgotten here (they live on where they are used).
 */
import { remembers } from "./match/registry.ts";
import { ownText } from "./own-text.ts";
import { Chain, type Policy, type Rule } from "./rules.ts";

const LIMIT = 250_000;

export class RuleCache {
  #young: Map<string, readonly Rule[]> = new Map();
  #old: Map<string, readonly Rule[]> = new Map();
  readonly #chains: Map<string, Chain> = new Map();

  /** `parse` gets a copy of the text that holds on to nothing else. */
  get(text: string, parse: (text: string) => readonly Rule[]): readonly Rule[] {
    const young = this.#young.get(text);
    if (young !== undefined) return young;
    const old = this.#old.get(text);
    if (old !== undefined) {
      this.#keep(text, old);
      return old;
    }
    const own = ownText(text);
    const rules = parse(own);
    // What a rule remembers belongs to its place: another with the same text begins anew.
    if (!rules.some((r) => r.matches.some(remembers))) this.#keep(own, rules);
    return rules;
  }

  /** A chain of these rules, in place of `old`: the one that was made last under its name, if it is the same. */
  chain(
    name: string,
    policy: Policy | null,
    rules: readonly Rule[],
    lines: readonly number[],
    old: Chain | null,
  ): Chain {
    const known = this.#chains.get(name);
    if (known !== undefined && known.policy === policy && same(known.rules, rules) && same(known.lines, lines))
      return known;
    const made = new Chain(name, policy, rules, lines, old);
    this.#chains.set(name, made);
    if (this.#chains.size > LIMIT) this.#chains.delete(this.#chains.keys().next().value as string);
    return made;
  }

  #keep(text: string, rules: readonly Rule[]): void {
    if (this.#young.size >= LIMIT) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(text, rules);
  }
}

function same<T>(a: readonly T[], b: readonly T[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
