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

  it("keeps the way of nftables to a DNAT, with what maps gave, and leaves out checks that came to nothing", () => {
    const nft = (chain: string, number: number, text: string): TracedRule =>
      rule(chain, number, text, "ip6 kube-proxy");
    const check = nft("filter-prerouting-pre-dnat", 1, "ct state new jump firewall-check");
    const [base, ...way] = [
      nft("nat-prerouting", 1, "jump services"),
      nft("services", 1, "ip6 daddr . meta l4proto . th dport vmap @service-ips ► goto service-A-d/web/tcp/"),
      nft("service-A-d/web/tcp/", 1, "ip6 daddr fd00:96::9 ip6 saddr != fd00::/56 jump mark-for-masquerade"),
      nft("mark-for-masquerade", 1, "meta mark set meta mark or 0x4000"),
      nft("service-A-d/web/tcp/", 2, "numgen random mod 1 vmap { 0 : goto endpoint-B } ► goto endpoint-B"),
      nft("endpoint-B", 2, "meta l4proto tcp dnat to [fd00::5]:8080"),
    ] as [TracedRule, ...TracedRule[]];
    expect(effectiveRules([check, base, ...way])).toEqual(way);
  });

  it("keeps what nftables drops or refuses, by a rule, a map or a policy", () => {
    const nft = (chain: string, number: number, text: string): TracedRule => rule(chain, number, text, "ip kube-proxy");
    const jump = nft("filter-forward", 1, "ct state new jump service-endpoints-check");
    const map = nft(
      "service-endpoints-check",
      1,
      "ip daddr . meta l4proto . th dport vmap @no-endpoint-services ► drop",
    );
    expect(effectiveRules([jump, map])).toEqual([map]);
    const refused = nft(
      "cluster-ips-check",
      1,
      'ip daddr @cluster-ips reject comment "Reject traffic to invalid ports"',
    );
    expect(effectiveRules([nft("filter-forward", 2, "ct state new jump cluster-ips-check"), refused])).toEqual([
      refused,
    ]);
    const back = nft("masquerading", 1, "meta mark and 0x4000 == 0 return");
    expect(effectiveRules([nft("nat-postrouting", 1, "jump masquerading"), back])).toEqual([]);
  });
});
