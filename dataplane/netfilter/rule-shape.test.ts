import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rulesets } from "./random-rules.ts";
import { readRule } from "./rule-shape.ts";
import { parseRule, words } from "./rule-text.ts";
import type { Rule } from "./rules.ts";

/** What parsing comes to: the rules, or what is wrong. */
function outcome(parse: () => readonly Rule[]): unknown {
  try {
    return parse().map((rule) => ({ ...rule, text: rule.text }));
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

function same(text: string): void {
  expect(outcome(() => readRule(text))).toEqual(outcome(() => parseRule(words(text))));
  // once more, from the shape that is known now
  expect(outcome(() => readRule(text))).toEqual(outcome(() => parseRule(words(text))));
}

describe("a rule from its shape", () => {
  it("is the rule that its whole text makes, for random rules", () => {
    fc.assert(
      fc.property(rulesets(), (tables) => {
        for (const table of tables) for (const chain of table.chains) for (const rule of chain.rules) same(rule);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    "! -s 10.244.0.0/16 -d 10.96.0.10/32 -p udp -m udp --dport 80 -j KUBE-MARK-MASQ",
    "-d 10.96.0.11/32 -p udp -m udp --dport 80 -j KUBE-SVC-A",
    "-s 10.244.1.2/32 -j KUBE-MARK-MASQ",
    "-j KUBE-SERVICES",
    "-s 10.244.1.2/32  -j KUBE-SERVICES",
    "-m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-A",
    "-m statistic --mode nth --every 2 --packet 0 -j KUBE-SEP-A",
    "-m limit --limit 5/min -j ACCEPT",
    "-p udp -m udp -j DNAT --to-destination 10.244.2.2:9",
    "-p tcp -m tcp -j DNAT --to-destination 10.244.2.2:9",
    "! -p tcp -j DNAT --to-destination 10.244.2.2:9",
    "-j DNAT --to-destination 10.244.2.2:9",
    "-p udp -j DNAT --to-destination nowhere",
    "-p udp -j DNAT",
    "-j MARK --or-mark 0x4000",
    "-j MARK --no-such 1",
    "-s 10.0.0.1,10.0.0.2 -j ACCEPT",
    "-s 10.0.0.1 -s 10.0.0.2 -j ACCEPT",
    "-s 10.0.0.1 --src 10.0.0.2 -j ACCEPT",
    "-s 10.0.0.300 -j ACCEPT",
    "-p tcp -d 10.0.0.1 -m tcp --dport 80 -j DROP",
    "-p tcp -m tcp --dport 80 ! -d 10.0.0.1 -j DROP",
    "-s 10.0.0.1 ! -j DROP",
    "-s 10.0.0.1 -j",
    "-s 10.0.0.1 -g CHAIN",
    "-s 10.0.0.1 -j CHAIN -m comment --comment behind",
    '-s 10.0.0.1 -m comment --comment "a -j b" -j CHAIN',
    "-m comment --comment plain -j CHAIN",
    "-s 10.0.0.1 -m nothing -j CHAIN",
    "-s 10.0.0.1",
    "",
  ])("reads %j as the whole text", same);
});
