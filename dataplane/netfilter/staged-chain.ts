/**
 * A chain while a text is read. Its lists are those of the chain as it was until the text changes them; then they are its
 * own, made with the first change in one copy. How many rules at the beginning and the end are as before is counted along,
 * so that nobody needs to compare long lists afterwards.
 */
import { append } from "./exact.ts";
import type { Chain, Kept, Policy, Rule } from "./rules.ts";
import type { ChainState } from "./table.ts";

export class StagedChain implements Kept {
  readonly name: string;
  policy: Policy | null;
  rules: readonly Rule[];
  lines: readonly number[];
  /** Whether nobody else has the lists. */
  #own: boolean;
  readonly state: ChainState | null;
  changed: boolean;
  /** The counters start anew. */
  zero: boolean;
  /** The chain as it will be, once the text was read. */
  made: Chain | null = null;
  head: number;
  tail: number;

  /** `state`: the chain as it was; null for one that is new. */
  constructor(name: string, policy: Policy | null, state: ChainState | null) {
    this.name = name;
    this.policy = policy;
    this.state = state;
    this.rules = state?.chain.rules ?? [];
    this.lines = state?.chain.lines ?? [];
    this.#own = state === null;
    this.changed = state === null;
    this.zero = state === null;
    this.head = this.rules.length;
    this.tail = this.rules.length;
  }

  /** Puts rules, which a line of the text brought, in the place of `removed` ones. */
  splice(at: number, removed: number, rules: readonly Rule[], line: number): void {
    const lines = rules.map(() => line);
    if (this.#own) {
      (this.rules as Rule[]).splice(at, removed, ...rules);
      (this.lines as number[]).splice(at, removed, ...lines);
    } else {
      this.rules = this.rules.toSpliced(at, removed, ...rules);
      this.lines = this.lines.toSpliced(at, removed, ...lines);
      this.#own = true;
    }
    this.changed = true;
    this.head = Math.min(this.head, at);
    this.tail = Math.min(this.tail, this.rules.length - at - rules.length);
  }

  /** Puts a rule last. */
  push(rule: Rule, line: number): void {
    if (!this.#own) {
      this.splice(this.rules.length, 0, [rule], line);
      return;
    }
    this.rules = append(this.rules as Rule[], rule);
    this.lines = append(this.lines as number[], line);
    this.changed = true;
    this.tail = 0;
  }

  empty(): void {
    this.replace([], []);
    this.zero = true;
  }

  /** Other lists, which nobody else has. */
  replace(rules: readonly Rule[], lines: readonly number[]): void {
    this.rules = rules;
    this.lines = lines;
    this.#own = true;
    this.changed = true;
    this.head = 0;
    this.tail = 0;
  }
}
