/** Of the rules that matched at a hook, those that did something, and the jumps that led to them. */
import type { TracedRule } from "../../dataplane/skb/trace.ts";

/** Chains that a table starts in: that they jump on is no news. */
const BUILT_IN: ReadonlySet<string> = new Set(["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]);

/** In their order. A jump into a chain that came back without effect is left out, and so is a RETURN. */
export function effectiveRules(rules: readonly TracedRule[]): TracedRule[] {
  const kept: TracedRule[] = [];
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as TracedRule;
    const jump = jumpOf(rule);
    const effective = jump === null ? !isReturn(rule) : !BUILT_IN.has(rule.chain) && leadsToEffect(rules, i, jump);
    if (effective) kept.push(rule);
  }
  return kept;
}

/** Whether a rule that did something was reached by this jump: it stands in the chain jumped to, or in one below it. */
function leadsToEffect(rules: readonly TracedRule[], at: number, chain: string): boolean {
  const below = new Set([chain]);
  const own = rules[at] as TracedRule;
  for (let i = at + 1; i < rules.length; i++) {
    const rule = rules[i] as TracedRule;
    if (rule.table !== own.table || !below.has(rule.chain)) return false;
    const jump = jumpOf(rule);
    if (jump !== null) below.add(jump);
    else if (!isReturn(rule)) return true;
  }
  return false;
}

/** Targets that end or change something are words of iptables; whatever else stands behind -j or -g is a chain. */
const TARGETS: ReadonlySet<string> = new Set([
  "ACCEPT",
  "DROP",
  "REJECT",
  "RETURN",
  "DNAT",
  "SNAT",
  "MASQUERADE",
  "REDIRECT",
  "MARK",
  "CONNMARK",
  "LOG",
  "NFLOG",
  "CT",
  "NOTRACK",
  "TCPMSS",
  "TRACE",
]);

function jumpOf(rule: TracedRule): string | null {
  if (rule.number === 0) return null;
  const target = /(?:^|\s)-[jg] (\S+)/.exec(rule.text)?.[1];
  return target === undefined || TARGETS.has(target) ? null : target;
}

function isReturn(rule: TracedRule): boolean {
  return rule.number !== 0 && (/(?:^|\s)-j RETURN\b/.test(rule.text) || !/(?:^|\s)-[jg] /.test(rule.text));
}
