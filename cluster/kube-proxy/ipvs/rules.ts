/** The ipsets of ipvs mode, their comments, and the constant rules over them (pkg/proxy/ipvs/proxier.go, ipset.go). */
import type { Family } from "../../api/ip.ts";
import type { ProxyConfig } from "../config.ts";
import type { Jump } from "../jumps.ts";
import type { LocalDetector } from "../local-detector.ts";

const HASH = "family inet hashsize 1024 maxelem 65536";
const BITMAP = "range 0-65535";

/** Name, type and options, and what kube-proxy says of it. */
export const IPVS_SETS: readonly (readonly [name: string, type: string, comment: string])[] = [
  [
    "KUBE-LOOP-BACK",
    `hash:ip,port,ip ${HASH}`,
    "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
  ],
  ["KUBE-CLUSTER-IP", `hash:ip,port ${HASH}`, "Kubernetes service cluster ip + port for masquerade purpose"],
  [
    "KUBE-EXTERNAL-IP",
    `hash:ip,port ${HASH}`,
    "Kubernetes service external ip + port for masquerade and filter purpose",
  ],
  [
    "KUBE-EXTERNAL-IP-LOCAL",
    `hash:ip,port ${HASH}`,
    "Kubernetes service external ip + port with externalTrafficPolicy=local",
  ],
  ["KUBE-LOAD-BALANCER", `hash:ip,port ${HASH}`, "Kubernetes service lb portal"],
  [
    "KUBE-LOAD-BALANCER-FW",
    `hash:ip,port ${HASH}`,
    "Kubernetes service load balancer ip + port for load balancer with sourceRange",
  ],
  [
    "KUBE-LOAD-BALANCER-LOCAL",
    `hash:ip,port ${HASH}`,
    "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
  ],
  [
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    `hash:ip,port,ip ${HASH}`,
    "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
  ],
  [
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    `hash:ip,port,net ${HASH}`,
    "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
  ],
  ["KUBE-NODE-PORT-TCP", `bitmap:port ${BITMAP}`, "Kubernetes nodeport TCP port for masquerade purpose"],
  [
    "KUBE-NODE-PORT-LOCAL-TCP",
    `bitmap:port ${BITMAP}`,
    "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
  ],
  ["KUBE-NODE-PORT-UDP", `bitmap:port ${BITMAP}`, "Kubernetes nodeport UDP port for masquerade purpose"],
  [
    "KUBE-NODE-PORT-LOCAL-UDP",
    `bitmap:port ${BITMAP}`,
    "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
  ],
  [
    "KUBE-NODE-PORT-SCTP-HASH",
    `hash:ip,port ${HASH}`,
    "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
  ],
  [
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    `hash:ip,port ${HASH}`,
    "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
  ],
  ["KUBE-HEALTH-CHECK-NODE-PORT", `bitmap:port ${BITMAP}`, "Kubernetes health check node port"],
  ["KUBE-IPVS-IPS", `hash:ip ${HASH}`, "Services IPs"],
];
/** What the kernel takes. */
const LONGEST_NAME = 31;

/** Sets of both families are on one node; those of IPv6 have names of their own, cut where the kernel would refuse them. */
export function setName(name: string, family: Family): string {
  return family === 4 ? name : name.replace(/^KUBE-/, "KUBE-6-").slice(0, LONGEST_NAME);
}

export function setType(type: string, family: Family): string {
  return family === 4 ? type : type.replace("family inet ", "family inet6 ");
}

const COMMENTS: ReadonlyMap<string, string> = new Map(IPVS_SETS.map(([name, , comment]) => [name, comment]));

function jump(table: "filter" | "nat", from: string, to: string, comment: string): Jump {
  return { table, from, rule: `-m comment --comment "${comment}" -j ${to}` };
}

/** In the order in which they are put in front: the last one of a chain ends up first. */
export const IPVS_JUMPS: readonly Jump[] = [
  jump("nat", "OUTPUT", "KUBE-SERVICES", "kubernetes service portals"),
  jump("nat", "PREROUTING", "KUBE-SERVICES", "kubernetes service portals"),
  jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
  jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
  jump("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
  jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
  jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
  jump("filter", "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter"),
  jump("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER", "kubernetes ipvs access filter"),
];

const NAT_CHAINS = ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"];
const FILTER_CHAINS = [
  "KUBE-FORWARD",
  "KUBE-NODE-PORT",
  "KUBE-PROXY-FIREWALL",
  "KUBE-SOURCE-RANGES-FIREWALL",
  "KUBE-IPVS-FILTER",
  "KUBE-IPVS-OUT-FILTER",
];

export type IpvsRuleSettings = {
  readonly family: Family;
  readonly config: ProxyConfig;
  readonly detector: LocalDetector;
  readonly randomFully: boolean;
  /** Whether a set has entries: rules of empty ones are left out. */
  readonly filled: (set: string) => boolean;
  readonly missing: readonly Jump[];
};

/**
 * One iptables-restore --noflush text. KUBE-IPVS-OUT-FILTER stays empty: its rules (load balancer addresses that the node
 * itself may not use) need the match ipvs, which is not there.
 */
export function ipvsRules(s: IpvsRuleSettings): string {
  const mark = `0x${(2 ** s.config.masqueradeBit).toString(16)}`;
  const nat: string[] = [];
  const filter: string[] = [];
  const named = (set: string): string => setName(set, s.family);
  const over = (set: string, sides: string): string =>
    `-m comment --comment "${COMMENTS.get(set) ?? ""}" -m set --match-set ${named(set)} ${sides}`;
  const rule = (to: string[], chain: string, set: string, sides: string, target: string, proto = ""): void => {
    if (s.filled(set)) to.push(`-A ${chain} ${proto === "" ? "" : `-p ${proto} `}${over(set, sides)} -j ${target}`);
  };
  nat.push(`-A KUBE-SERVICES -s ${s.family === 4 ? "127.0.0.0/8" : "::1/128"} -j RETURN`);
  rule(nat, "KUBE-POSTROUTING", "KUBE-LOOP-BACK", "dst,dst,src", "MASQUERADE");
  rule(nat, "KUBE-SERVICES", "KUBE-LOAD-BALANCER", "dst,dst", "KUBE-LOAD-BALANCER");
  rule(nat, "KUBE-LOAD-BALANCER", "KUBE-LOAD-BALANCER-LOCAL", "dst,dst", "RETURN");
  for (const [name, proto, sides] of [
    ["TCP", "tcp", "dst"],
    ["UDP", "udp", "dst"],
    ["SCTP-HASH", "sctp", "dst,dst"],
  ] as const) {
    rule(nat, "KUBE-NODE-PORT", `KUBE-NODE-PORT-LOCAL-${name}`, sides, "RETURN", proto);
    rule(nat, "KUBE-NODE-PORT", `KUBE-NODE-PORT-${name}`, sides, "KUBE-MARK-MASQ", proto);
  }
  rule(filter, "KUBE-PROXY-FIREWALL", "KUBE-LOAD-BALANCER-FW", "dst,dst", "KUBE-SOURCE-RANGES-FIREWALL");
  rule(filter, "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-LOAD-BALANCER-SOURCE-CIDR", "dst,dst,src", "RETURN");
  rule(filter, "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-LOAD-BALANCER-SOURCE-IP", "dst,dst,src", "RETURN");
  if (s.config.masqueradeAll) rule(nat, "KUBE-SERVICES", "KUBE-CLUSTER-IP", "dst,dst", "KUBE-MARK-MASQ");
  else if (s.detector !== null)
    rule(nat, "KUBE-SERVICES", "KUBE-CLUSTER-IP", `dst,dst ${s.detector.ifNotLocal}`, "KUBE-MARK-MASQ");
  else rule(nat, "KUBE-SERVICES", "KUBE-CLUSTER-IP", "src,dst", "KUBE-MARK-MASQ");
  rule(nat, "KUBE-SERVICES", "KUBE-EXTERNAL-IP", "dst,dst", "KUBE-MARK-MASQ");
  for (const set of ["KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL"]) {
    rule(nat, "KUBE-SERVICES", set, "dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL", "ACCEPT");
    rule(nat, "KUBE-SERVICES", set, "dst,dst -m addrtype --dst-type LOCAL", "ACCEPT");
  }
  nat.push("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT");
  nat.push("-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ");
  filter.push("-A KUBE-SOURCE-RANGES-FIREWALL -j DROP");
  for (const set of ["KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER"])
    if (s.filled(set)) nat.push(`-A KUBE-SERVICES -m set --match-set ${named(set)} dst,dst -j ACCEPT`);
  filter.push(
    `-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    `-A KUBE-NODE-PORT ${over("KUBE-HEALTH-CHECK-NODE-PORT", "dst")} -j ACCEPT`,
    ...["KUBE-LOAD-BALANCER", "KUBE-CLUSTER-IP", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL"].map(
      (set) => `-A KUBE-IPVS-FILTER -m set --match-set ${named(set)} dst,dst -j RETURN`,
    ),
    `-A KUBE-IPVS-FILTER -m set --match-set ${named("KUBE-HEALTH-CHECK-NODE-PORT")} dst -j RETURN`,
    `-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set ${named("KUBE-IPVS-IPS")} dst -j REJECT`,
  );
  nat.push(
    `-A KUBE-POSTROUTING -m mark ! --mark ${mark}/${mark} -j RETURN`,
    `-A KUBE-POSTROUTING -j MARK --xor-mark ${mark}`,
    `-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE${s.randomFully ? " --random-fully" : ""}`,
    `-A KUBE-MARK-MASQ -j MARK --or-mark ${mark}`,
  );
  const table = (name: "filter" | "nat", chains: readonly string[], rules: readonly string[]): string =>
    [
      `*${name}`,
      ...chains.map((c) => `:${c} - [0:0]`),
      ...s.missing.filter((j) => j.table === name).map((j) => `-I ${j.from} ${j.rule}`),
      ...rules,
      "COMMIT",
    ].join("\n");
  return `${table("filter", FILTER_CHAINS, filter)}\n${table("nat", NAT_CHAINS, nat)}\n`;
}
