/**
 * A rule that asks or does something that is not known here, read leniently: it matches no packet, and keeps its words. What
 * the real tools would do with it is not known either, so whoever reads leniently should say which rules these are.
 */

import type { Match } from "./match/registry.ts";
import { Rule } from "./rules.ts";
import type { TableState } from "./table.ts";

/** No mark has a bit under a mask of none. */
const NEVER: Match = { kind: "mark", value: 1, mask: 0, not: false };
const NOTHING = { src: 0, srcMask: 0, dst: 0, dstMask: 0, proto: 0, input: "", output: "", fragment: false, invert: 0 };

const reasons = new WeakMap<Rule, string>();

/** `text` is the rule as it stands behind `-A CHAIN`. */
export function unknownRule(text: string, reason: string): Rule {
  const rule = new Rule(NOTHING, [NEVER], null, false, () => text);
  reasons.set(rule, reason);
  return rule;
}

/** The rules of a table that match nothing because they are not known: their line, and why. */
export function unknownRules(table: TableState): { readonly line: number; readonly reason: string }[] {
  return [...table.chains.values()].flatMap(({ chain }) =>
    chain.rules.flatMap((rule, i) => {
      const reason = reasons.get(rule);
      return reason === undefined ? [] : [{ line: chain.lines[i] ?? 0, reason }];
    }),
  );
}
