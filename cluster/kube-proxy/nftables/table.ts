/**
 * What the table kube-proxy holds whatever Services there are: base chains, chains that they jump to, sets and maps.
 *
 *   prerouting, output -110 → firewall-check → firewall-x (source ranges of load balancers)
 *   prerouting, output -100 → services → @service-ips, @service-nodeports → service-x, external-x → endpoint-y → dnat
 *   input, forward, output 0 → …-endpoints-check → @no-endpoint-services, @no-endpoint-nodeports; cluster-ips-check
 *   postrouting 100 → masquerading
 */
import type { Family } from "../../api/ip.ts";

export type TableSettings = {
  readonly family: Family;
  readonly masqueradeBit: number;
  /** Addresses that answer on node ports; "all" for every local one but loopback. */
  readonly nodePortIps: readonly string[] | "all";
  /** Where ClusterIPs come from; empty if nobody said. */
  readonly serviceCidrs: readonly string[];
};

/** "ip kube-proxy". */
export function tableName(family: Family): string {
  return family === 4 ? "ip kube-proxy" : "ip6 kube-proxy";
}

/** "ip" or "ip6", as expressions name the header. */
export function headerOf(family: Family): string {
  return family === 4 ? "ip" : "ip6";
}

/** name, type, hook, priority */
const BASE_CHAINS: readonly (readonly [string, string, string, number])[] = [
  ["filter-prerouting-pre-dnat", "filter", "prerouting", -110],
  ["filter-output-pre-dnat", "filter", "output", -110],
  ["filter-input", "filter", "input", 0],
  ["filter-forward", "filter", "forward", 0],
  ["filter-output", "filter", "output", 0],
  ["nat-prerouting", "nat", "prerouting", -100],
  ["nat-output", "nat", "output", -100],
  ["nat-postrouting", "nat", "postrouting", 100],
];

/** from, condition, to */
const JUMPS: readonly (readonly [string, string, string])[] = [
  ["filter-prerouting-pre-dnat", "ct state new ", "firewall-check"],
  ["filter-output-pre-dnat", "ct state new ", "firewall-check"],
  ["filter-input", "ct state new ", "nodeport-endpoints-check"],
  ["filter-input", "ct state new ", "service-endpoints-check"],
  ["filter-forward", "ct state new ", "service-endpoints-check"],
  ["filter-forward", "ct state new ", "cluster-ips-check"],
  ["filter-output", "ct state new ", "service-endpoints-check"],
  ["filter-output", "ct state new ", "cluster-ips-check"],
  ["nat-prerouting", "", "services"],
  ["nat-output", "", "services"],
  ["nat-postrouting", "", "masquerading"],
];

const CHAINS = [
  "services",
  "nodeport-endpoints-check",
  "service-endpoints-check",
  "firewall-check",
  "cluster-ips-check",
  "masquerading",
  "mark-for-masquerade",
] as const;

/** Commands that make the table from nothing; Services come after them. */
export function tableText(s: TableSettings): string {
  const table = tableName(s.family);
  const ip = headerOf(s.family);
  const addr = s.family === 4 ? "ipv4_addr" : "ipv6_addr";
  const mark = `0x${(2 ** s.masqueradeBit).toString(16)}`;
  const out: string[] = [
    `add table ${table} { comment "rules for kube-proxy" ; }`,
    `delete table ${table}`,
    `add table ${table} { comment "rules for kube-proxy" ; }`,
    ...BASE_CHAINS.map(
      ([name, type, hook, priority]) =>
        `add chain ${table} ${name} { type ${type} hook ${hook} priority ${priority} ; }`,
    ),
    ...CHAINS.map((name) => `add chain ${table} ${name}`),
    `add chain ${table} reject-chain { comment "helper for @no-endpoint-services / @no-endpoint-nodeports" ; }`,
    `add set ${table} cluster-ips { type ${addr} ; comment "Active ClusterIPs" ; }`,
  ];
  if (s.nodePortIps !== "all")
    out.push(`add set ${table} nodeport-ips { type ${addr} ; comment "IPs that accept NodePort traffic" ; }`);
  const map = (name: string, key: string, comment: string): void => {
    out.push(`add map ${table} ${name} { type ${key} : verdict ; comment "${comment}" ; }`);
  };
  const portal = `${addr} . inet_proto . inet_service`;
  map("firewall-ips", portal, "destinations that are subject to LoadBalancerSourceRanges");
  map(
    "no-endpoint-nodeports",
    "inet_proto . inet_service",
    "vmap to drop or reject packets to service nodeports with no endpoints",
  );
  map("no-endpoint-services", portal, "vmap to drop or reject packets to services with no endpoints");
  map("service-ips", portal, "ClusterIP, ExternalIP and LoadBalancer IP traffic");
  map("service-nodeports", "inet_proto . inet_service", "NodePort traffic");
  if (s.nodePortIps !== "all")
    for (const address of s.nodePortIps) out.push(`add element ${table} nodeport-ips { ${address} }`);

  const rule = (chain: string, text: string): void => void out.push(`add rule ${table} ${chain} ${text}`);
  for (const [from, condition, to] of JUMPS) rule(from, `${condition}jump ${to}`);
  const toNode =
    s.nodePortIps === "all"
      ? `fib daddr type local ${ip} daddr != ${s.family === 4 ? "127.0.0.0/8" : "::1"}`
      : `${ip} daddr @nodeport-ips`;
  const portalKey = `${ip} daddr . meta l4proto . th dport`;
  rule("services", `${portalKey} vmap @service-ips`);
  rule("services", `${toNode} meta l4proto . th dport vmap @service-nodeports`);
  rule("nodeport-endpoints-check", `${toNode} meta l4proto . th dport vmap @no-endpoint-nodeports`);
  rule("service-endpoints-check", `${portalKey} vmap @no-endpoint-services`);
  rule("firewall-check", `${portalKey} vmap @firewall-ips`);
  rule("cluster-ips-check", `${ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"`);
  if (s.serviceCidrs.length > 0)
    rule(
      "cluster-ips-check",
      `${ip} daddr { ${s.serviceCidrs.join(", ")} } drop comment "Drop traffic to unallocated ClusterIPs"`,
    );
  rule("reject-chain", "reject");
  rule("mark-for-masquerade", `meta mark set meta mark or ${mark}`);
  rule("masquerading", `meta mark and ${mark} == 0 return`);
  rule("masquerading", `meta mark set meta mark xor ${mark}`);
  rule("masquerading", "masquerade fully-random");
  return `${out.join("\n")}\n`;
}
