/** Rules of a namespace that were read leniently and match nothing because they are not known, as warnings. */
import { netfilter6Of, netfilterOf } from "../../dataplane/netfilter/restore-op.ts";
import { unknownRules } from "../../dataplane/netfilter/unknown-rule.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { rulesetOf } from "../../dataplane/nftables/nft-op.ts";
import { unknownOf } from "../../dataplane/nftables/unknown.ts";
import type { Family } from "../api/ip.ts";
import type { InputIssue } from "../manifests/input-error.ts";

const KNOWN_RULE = "a rule that is known; this one matches nothing";

/** Those of one family; `file` is where they were read from. */
export function unknownRulesOf(ns: NetNs, family: Family, file: string): readonly InputIssue[] {
  const nf = family === 6 ? netfilter6Of(ns) : netfilterOf(ns);
  return [...(nf?.tables.values() ?? [])].flatMap(unknownRules).map(({ line, reason }) => ({
    severity: "warning",
    file,
    line,
    field: "rules",
    found: reason,
    expected: KNOWN_RULE,
  }));
}

/** Those of nft, which know where they were read from. */
export function unknownNftRulesOf(ns: NetNs): readonly InputIssue[] {
  const rules = rulesetOf(ns);
  return (rules === null ? [] : unknownOf(rules)).map(({ source, line, column, reason }) => ({
    severity: "warning",
    file: source,
    line,
    column,
    field: "rules",
    found: reason,
    expected: KNOWN_RULE,
  }));
}
