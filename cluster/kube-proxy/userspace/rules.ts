/**
 * The rules that lead a Service's traffic to its relay (pkg/proxy/userspace/proxier.go): from pods by REDIRECT, from the
 * node itself by DNAT to the node's address, each to the relay's port.
 */
import { familyOf, hostPort, WIDTH } from "../../api/ip.ts";
import type { Jump } from "../jumps.ts";
import type { ServicePortInfo } from "../service-tracker.ts";

const CHAINS = {
  nat: ["KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST"],
  filter: ["KUBE-NODEPORT-NON-LOCAL"],
} as const;

/** Jumps that are put in front. */
const PORTALS = '-m comment --comment "handle ClusterIPs; NOTE: this must be before the NodePort rules"';
const FRONT: readonly Jump[] = [
  { table: "nat", from: "PREROUTING", rule: `${PORTALS} -j KUBE-PORTALS-CONTAINER` },
  { table: "nat", from: "OUTPUT", rule: `${PORTALS} -j KUBE-PORTALS-HOST` },
  {
    table: "filter",
    from: "INPUT",
    rule: '-m comment --comment "Ensure that non-local NodePort traffic can flow" -j KUBE-NODEPORT-NON-LOCAL',
  },
];
/** Jumps that are put at the end. */
const NODE_PORTS =
  '-m addrtype --dst-type LOCAL -m comment --comment "handle service NodePorts; NOTE: this must be the last rule in the chain"';
const BACK: readonly Jump[] = [
  { table: "nat", from: "PREROUTING", rule: `${NODE_PORTS} -j KUBE-NODEPORT-CONTAINER` },
  { table: "nat", from: "OUTPUT", rule: `${NODE_PORTS} -j KUBE-NODEPORT-HOST` },
];
export const USERSPACE_JUMPS: readonly Jump[] = [...FRONT, ...BACK];

/** Rules as they stand behind -A or -D. */
export type PortalRules = { readonly nat: readonly string[]; readonly filter: readonly string[] };

/** The rules of one Service port, whose relay listens on `relayPort`. */
export function portalRules(info: ServicePortInfo, relayPort: number, hostIp: string): PortalRules {
  const proto = info.protocol.toLowerCase();
  const args = (port: number, to: string, local: boolean): string => {
    const dst = to === "" ? "" : ` -d ${to}/${WIDTH[familyOf(to)]}`;
    const match = local ? " -m addrtype --dst-type LOCAL" : "";
    return `-m comment --comment ${quoted(info.portName)} -p ${proto} -m ${proto} --dport ${port}${dst}${match}`;
  };
  const redirect = `-j REDIRECT --to-ports ${relayPort}`;
  const dnat = `-j DNAT --to-destination ${hostPort(hostIp, relayPort)}`;
  const { port, nodePort } = info;
  const nat = [
    `KUBE-PORTALS-CONTAINER ${args(port, info.clusterIp, false)} ${redirect}`,
    `KUBE-PORTALS-HOST ${args(port, info.clusterIp, false)} ${dnat}`,
  ];
  for (const ip of [...info.externalIps, ...info.loadBalancerIps])
    nat.push(
      `KUBE-PORTALS-CONTAINER ${args(port, ip, false)} -m physdev ! --physdev-is-in ${redirect}`,
      `KUBE-PORTALS-CONTAINER ${args(port, ip, true)} ${redirect}`,
      `KUBE-PORTALS-HOST ${args(port, ip, true)} ${dnat}`,
    );
  if (nodePort === 0) return { nat, filter: [] };
  nat.push(
    `KUBE-NODEPORT-CONTAINER ${args(nodePort, "", false)} ${redirect}`,
    `KUBE-NODEPORT-HOST ${args(nodePort, "", false)} ${dnat}`,
  );
  return { nat, filter: [`KUBE-NODEPORT-NON-LOCAL ${args(relayPort, "", false)} -m state --state NEW -j ACCEPT`] };
}

/** A whole ruleset, with the jumps that are missing. */
export function fullText(rules: readonly PortalRules[], missing: readonly Jump[]): string {
  const table = (name: "nat" | "filter"): string => {
    const jumps = missing.filter((j) => j.table === name);
    return text(name, [
      ...CHAINS[name].map((c) => `:${c} - [0:0]`),
      ...jumps.filter((j) => FRONT.includes(j)).map((j) => `-I ${j.from} ${j.rule}`),
      ...jumps.filter((j) => BACK.includes(j)).map((j) => `-A ${j.from} ${j.rule}`),
      ...rules.flatMap((r) => r[name].map((rule) => `-A ${rule}`)),
    ]);
  };
  return table("filter") + table("nat");
}

/** What leads from one ruleset to the next. */
export function changeText(gone: readonly PortalRules[], come: readonly PortalRules[]): string {
  const table = (name: "nat" | "filter"): string => {
    const lines = [
      ...gone.flatMap((r) => r[name].map((rule) => `-D ${rule}`)),
      ...come.flatMap((r) => r[name].map((rule) => `-A ${rule}`)),
    ];
    return lines.length === 0 ? "" : text(name, lines);
  };
  return table("filter") + table("nat");
}

function text(table: string, lines: readonly string[]): string {
  return [`*${table}`, ...lines, "COMMIT", ""].join("\n");
}

function quoted(name: string): string {
  return `"${name}"`;
}
