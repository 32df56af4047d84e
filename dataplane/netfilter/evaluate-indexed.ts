/**
 * The walk of `evaluate-linear.ts` over the rules that could match, found by hash (`chain-index.ts`), in the order in which
 * they stand: verdict, counters, matched rules and everything that rules do are those of the walk over all of them. What that
 * walk would have looked at is counted beside what this one does.
 */
import { buildIndex, type ChainIndex, GROUPS_MAX, hasWholeHeader } from "./chain-index.ts";
import { count, DEPTH, destination, matches, policy } from "./evaluate-linear.ts";
import { NF_ACCEPT, NF_DROP } from "./hooks.ts";
import type { NfPacket } from "./packet.ts";
import { type Chain, DO_ACCEPT, DO_DROP, DO_JUMP, DO_NOTHING, DO_RETURN, DO_TARGET, type Rule } from "./rules.ts";
import type { ChainState, TableState } from "./table.ts";
import { CONTINUE } from "./target/module.ts";
import { type ExtensionTarget, runTarget } from "./target/registry.ts";

export class IndexedEvaluator {
  /** For each depth: the chain, the last rule that was looked at, the mark that was looked up, the cursors. */
  readonly #states: (ChainState | null)[] = new Array<ChainState | null>(DEPTH + 1).fill(null);
  readonly #last: Int32Array = new Int32Array(DEPTH + 1);
  readonly #marks: Int32Array = new Int32Array(DEPTH + 1);
  readonly #cursors: Int32Array = new Int32Array((DEPTH + 1) * GROUPS_MAX);

  /** The verdict of a table on a packet at its hook. */
  run(table: TableState, p: NfPacket): number {
    const base = table.base[p.hook] as ChainState | null;
    if (base === null) return NF_ACCEPT;
    const whole = hasWholeHeader(p);
    let state = base;
    let depth = 0;
    let rules: readonly Rule[] = state.chain.rules;
    let index = whole ? indexOf(state.chain) : null;
    let last = -1;
    if (index !== null) this.#enter(index, p, 0);
    for (;;) {
      const i = index === null ? last + 1 : this.#next(index, p, depth, last);
      if (i >= rules.length) {
        p.linear += rules.length - 1 - last;
        if (depth === 0) return policy(table, base, p);
        depth--;
        state = this.#states[depth] as ChainState;
        last = this.#last[depth] as number;
        rules = state.chain.rules;
        index = whole ? indexOf(state.chain) : null;
        continue;
      }
      const rule = rules[i] as Rule;
      p.linear += i - last;
      p.examined++;
      last = i;
      if (!matches(rule, p)) {
        if (p.hotdrop) return NF_DROP;
        continue;
      }
      count(state, i, p);
      if (p.traced !== null) {
        p.traced.push({ table: table.name, chain: state.chain.name, number: i + 1, text: rule.text });
      }
      switch (rule.action) {
        case DO_NOTHING:
          continue;
        case DO_ACCEPT:
          return NF_ACCEPT;
        case DO_DROP:
          return NF_DROP;
        case DO_RETURN:
          // As if the chain ended here, with nothing more looked at.
          last = rules.length - 1;
          index = null;
          continue;
        case DO_TARGET: {
          const verdict = runTarget(rule.target as ExtensionTarget, p);
          if (verdict !== CONTINUE) return verdict;
          continue;
        }
        case DO_JUMP:
          if (depth === DEPTH) return NF_DROP;
          this.#states[depth] = state;
          this.#last[depth] = i;
          depth++;
      }
      state = destination(table, state, i, rule.chain);
      rules = state.chain.rules;
      index = whole ? indexOf(state.chain) : null;
      last = -1;
      if (index !== null) this.#enter(index, p, depth);
    }
  }

  #enter(index: ChainIndex, p: NfPacket, depth: number): void {
    this.#marks[depth] = p.skb.mark;
    index.enter(p, this.#cursors, depth * GROUPS_MAX);
  }

  #next(index: ChainIndex, p: NfPacket, depth: number, last: number): number {
    const at = depth * GROUPS_MAX;
    if (index.marked && this.#marks[depth] !== (p.skb.mark | 0)) {
      this.#marks[depth] = p.skb.mark;
      index.marksAgain(p, this.#cursors, at, last);
    }
    return index.next(this.#cursors, at);
  }
}

function indexOf(chain: Chain): ChainIndex | null {
  let index = chain.index;
  if (index === undefined) {
    index = buildIndex(chain.rules);
    chain.index = index;
  }
  return index;
}
