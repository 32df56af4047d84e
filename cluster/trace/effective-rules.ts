/** Of the rules that matched at a hook, those that did something, and the jumps that led to them. */
import type { TracedRule } from "../../dataplane/skb/trace.ts";

/** Chains that a table of iptables starts in: that they jump on is no news. */
const BUILT_IN: ReadonlySet<string> = new Set(["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]);

/** In their order. A jump into a chain that came back without effect is left out, and so is a RETURN. */
export function effectiveRules(rules: readonly TracedRule[]): TracedRule[] {
  const kept: TracedRule[] = [];
  const entered = new Set<string>();
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as TracedRule;
    const jump = jumpOf(rule);
    const base = isNft(rule) ? !entered.has(`${rule.table} ${rule.chain}`) : BUILT_IN.has(rule.chain);
    if (jump !== null) entered.add(`${rule.table} ${jump}`);
    const effective = jump === null ? !isReturn(rule) : !base && leadsToEffect(rules, i, jump);
    if (effective) kept.push(rule);
  }
  return kept;
}

/** Tables of nftables have their family in their name. */
function isNft(rule: TracedRule): boolean {
  return rule.table.includes(" ");
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

/** Words of nft that end or change something. */
const NFT_EFFECT = /\b(accept|drop|reject|[ds]nat|masquerade|redirect|notrack|queue)\b|\b(mark|priority) set\b/;

/** What is said in quotes or behind the verdict that a map gave does not count. */
function statementOf(rule: TracedRule): string {
  return rule.text.replace(/ ► .*$/, "").replace(/"[^"]*"/g, '""');
}

function jumpOf(rule: TracedRule): string | null {
  if (rule.number === 0) return null;
  if (isNft(rule))
    return (
      / ► (?:jump|goto) (\S+)$/.exec(rule.text)?.[1] ??
      /(?:^|\s)(?:jump|goto) ([^\s,}]+)(?: comment ""| counter packets \d+ bytes \d+)*$/.exec(statementOf(rule))?.[1] ??
      null
    );
  const target = /(?:^|\s)-[jg] (\S+)/.exec(rule.text)?.[1];
  return target === undefined || TARGETS.has(target) ? null : target;
}

/** A rule that changed nothing: it sent the packet back, or had nothing to say. */
function isReturn(rule: TracedRule): boolean {
  if (rule.number === 0) return false;
  if (isNft(rule)) return !NFT_EFFECT.test(statementOf(rule)) && !/ ► (accept|drop)$/.test(rule.text);
  return /(?:^|\s)-j RETURN\b/.test(rule.text) || !/(?:^|\s)-[jg] /.test(rule.text);
}
