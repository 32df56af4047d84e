import { describe, expect, it } from "vitest";
import type { TracedRule } from "../../dataplane/skb/trace.ts";
import { effectiveRules } from "./effective-rules.ts";

function rule(chain: string, number: number, text: string, table = "nat"): TracedRule {
  return { table, chain, number, text };
}

describe("effectiveRules", () => {
  it("keeps the way to a DNAT, without the jump out of the built-in chain", () => {
    const rules = [
      rule("PREROUTING", 1, "-j KUBE-SERVICES"),
      rule("KUBE-SERVICES", 3, "-d 10.96.0.1/32 -j KUBE-SVC-A"),
      rule("KUBE-SVC-A", 1, "-j KUBE-SEP-B"),
      rule("KUBE-SEP-B", 2, "-p tcp -j DNAT --to-destination 10.244.2.5:8080"),
    ];
    expect(effectiveRules(rules)).toEqual(rules.slice(1));
  });

  it("keeps a mark and goes on", () => {
    const rules = [
      rule("KUBE-SVC-A", 1, "-j KUBE-MARK-MASQ"),
      rule("KUBE-MARK-MASQ", 1, "-j MARK --set-xmark 0x4000/0x4000"),
      rule("KUBE-SVC-A", 2, "-j KUBE-SEP-B"),
      rule("KUBE-SEP-B", 2, "-j DNAT --to-destination 10.244.2.5:8080"),
    ];
    expect(effectiveRules(rules)).toEqual(rules);
  });

  it("leaves out chains that came back without effect", () => {
    const rules = [
      rule("POSTROUTING", 1, "-j KUBE-POSTROUTING"),
      rule("KUBE-POSTROUTING", 1, "-m mark ! --mark 0x4000/0x4000 -j RETURN"),
      rule("POSTROUTING", 2, "-j FLANNEL-POSTRTG"),
      rule("FLANNEL-POSTRTG", 3, "-s 10.244.0.0/16 -d 10.244.3.0/24 -j RETURN"),
    ];
    expect(effectiveRules(rules)).toEqual([]);
  });

  it("keeps a policy that drops", () => {
    const policy = rule("FORWARD", 0, "policy DROP", "filter");
    expect(effectiveRules([rule("FORWARD", 1, "-j EMPTY", "filter"), policy])).toEqual([policy]);
  });
});
