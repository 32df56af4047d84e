/**
 * `explain` on the dumps of a real node agrees with the packets sent there: the node runs kube-proxy's rules and those of the
 * others that write some (flannel, portmap, an administrator), its dumps come from the real tools, and what happens to the
 * first packets of a flow, all that chance allows, is the same here and there.
 */
import { describe, expect, it } from "vitest";
import { flannelRules } from "../../cluster/agents/flannel/rules.ts";
import type { KubeObject } from "../../cluster/api/meta.ts";
import type { Dumps } from "../../cluster/explain/dumps.ts";
import { ExplainedNode } from "../../cluster/explain/explain.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyMode } from "../../cluster/kube-proxy/config.ts";
import { type Tool, textsFor } from "../../cluster/kube-proxy/render.ts";
import { type Flow, parseFlow } from "../../cluster/trace/first-packet.ts";
import { missing } from "../support/needs.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { deliveredText, type End, KernelNode, type NodeTool } from "./kernel-node.ts";

/** Ports on which the node itself answers: node ports too, which rules are to take before it can. */
const LISTENING = [22, 80, 81, 8080, 8443, 10_250, ...Array.from({ length: 7 }, (_, i) => 30_010 + i)];
/** Packets of a flow: enough that each of three endpoints has its turn. */
const PACKETS = 40;

const node = {
  name: "node-1",
  ips: ["192.168.0.11", "fd00:192::11"],
  podCidrs: ["10.244.1.0/24", "fd00:244:1::/64"],
};
const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.244.0.0/16,fd00:244::/32" };

/** Addresses of one family: number `n` of a network. */
type Plan = {
  readonly type: "IPv4" | "IPv6";
  readonly service: (n: number) => string;
  readonly pod: (node: number, n: number) => string;
  readonly outside: (n: number) => string;
  readonly node: string;
  readonly far: string;
  readonly nowhere: string;
};
const V4: Plan = {
  type: "IPv4",
  service: (n) => `10.96.0.${n}`,
  pod: (on, n) => `10.244.${on}.${n}`,
  outside: (n) => `192.168.0.${n}`,
  node: "192.168.0.11",
  far: "203.0.113.7",
  nowhere: "10.66.1.1",
};
const V6: Plan = {
  type: "IPv6",
  service: (n) => `fd00:96::${n}`,
  pod: (on, n) => `fd00:244:${on}::${n}`,
  outside: (n) => `fd00:192::${n}`,
  node: "fd00:192::11",
  far: "2001:db8::7",
  nowhere: "fd00:66::1",
};

const PORTS = ["TCP", "UDP"].map((protocol) => ({
  name: protocol.toLowerCase(),
  protocol,
  port: 80,
  targetPort: 8080,
}));

function objectsOf(plan: Plan): readonly KubeObject[] {
  const service = (name: string, n: number, spec: object, status: object = {}): KubeObject => {
    const ports = "type" in spec ? PORTS.map((port) => ({ ...port, nodePort: 30_000 + n })) : PORTS;
    const addresses = { clusterIP: plan.service(n), clusterIPs: [plan.service(n)], ipFamilies: [plan.type] };
    const metadata = { namespace: "default", name };
    return {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { ...addresses, ports, ...spec },
      status,
    } as KubeObject;
  };
  const slice = (name: string, ...addresses: readonly string[]): KubeObject => {
    const metadata = { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } };
    const endpoints = addresses.map((a) => ({
      addresses: [a],
      conditions: { ready: true },
      nodeName: a === plan.node || a.startsWith(plan.pod(1, 2).slice(0, -1)) ? "node-1" : "node-2",
    }));
    const ports = PORTS.map(({ name: port, protocol }) => ({ name: port, protocol, port: 8080 }));
    const kind = { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", addressType: plan.type };
    return { ...kind, metadata, ports, endpoints } as KubeObject;
  };
  const [a, b, there] = [plan.pod(1, 2), plan.pod(1, 3), plan.pod(2, 5)];
  const width = plan.type === "IPv4" ? 32 : 128;
  return [
    service("all", 10, { type: "NodePort", externalIPs: [plan.outside(200)] }),
    slice("all", a, b, there),
    service("local", 11, { type: "NodePort", externalTrafficPolicy: "Local" }),
    slice("local", b, there),
    service("far", 12, { type: "NodePort", externalTrafficPolicy: "Local", internalTrafficPolicy: "Local" }),
    slice("far", there),
    service("empty", 13, { type: "NodePort" }),
    service("self", 14, {}),
    slice("self", a),
    service("host", 15, { type: "NodePort" }),
    slice("host", plan.node),
    service(
      "ranges",
      16,
      { type: "LoadBalancer", loadBalancerSourceRanges: [`${plan.outside(50)}/${width}`] },
      { loadBalancer: { ingress: [{ ip: plan.outside(201) }] } },
    ),
    slice("ranges", a, there),
    service("sticky", 17, { sessionAffinity: "ClientIP" }),
    slice("sticky", b),
  ];
}

/** What else writes rules on a node, for iptables-restore --noflush. */
function othersRules(plan: Plan): string {
  const [network, subnet] =
    plan.type === "IPv4" ? ["10.244.0.0/16", "10.244.1.0/24"] : ["fd00:244::/32", "fd00:244:1::/64"];
  const flannel = plan.type === "IPv4" ? flannelRules({ network, subnet, ipMasq: true }) : "";
  const pod = plan.pod(1, 2);
  const to = plan.type === "IPv4" ? `${pod}:8443` : `[${pod}]:8443`;
  return `*filter
:FORWARD DROP [0:0]
:ADMIN - [0:0]
-A FORWARD -j ADMIN
-A ADMIN -m set --match-set blocked src,dst -j DROP
-A ADMIN -s ${plan.outside(1)} -p udp -m multiport --dports 9000:9010,9100 -j DROP
-A ADMIN -i cni0 -j ACCEPT
-A ADMIN -o cni0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A ADMIN -o cni0 -d ${plan.pod(1, 3)} -p tcp -m tcp --dport 443 --syn -j ACCEPT
-A ADMIN -d ${plan.pod(2, 5)} -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 ! -s ${plan.outside(50)} -j REJECT --reject-with tcp-reset
-A INPUT -p udp -m udp --dport 22 -m mark --mark 0x7 -j DROP
COMMIT
*mangle
-A PREROUTING -s ${plan.outside(1)} -p udp -m udp --dport 22 -j MARK --set-mark 0x7
COMMIT
*raw
-A PREROUTING -d ${plan.pod(1, 2)} -p udp -m udp --dport 666 -j DROP
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-0123456789abcdef0 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"net\\" id: \\"a\\"" -m multiport --dports 8443 -j CNI-DN-0123456789abcdef0
-A CNI-DN-0123456789abcdef0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination ${to}
COMMIT
${flannel}`;
}

/** Sender, and where to. */
function flowsOf(plan: Plan): readonly (readonly [End | "node", string, string, number])[] {
  const [pod, client, gateway] = [plan.pod(1, 2), plan.outside(50), plan.outside(1)];
  return [
    ["a", pod, plan.service(10), 80],
    ["outside", client, plan.service(10), 80],
    ["outside", client, plan.node, 30_010],
    ["a", pod, plan.node, 30_010],
    ["outside", client, plan.outside(200), 80],
    ["outside", client, plan.node, 30_011],
    ["a", pod, plan.node, 30_011],
    ["outside", client, plan.node, 30_012],
    ["a", pod, plan.service(12), 80],
    ["a", pod, plan.service(13), 80],
    ["outside", client, plan.node, 30_013],
    ["a", pod, plan.service(14), 80],
    ["a", pod, plan.service(15), 80],
    ["outside", client, plan.node, 30_015],
    ["outside", client, plan.outside(201), 80],
    ["outside", gateway, plan.outside(201), 80],
    ["a", pod, plan.service(17), 80],
    ["a", pod, plan.service(10), 81],
    ["a", pod, plan.far, 443],
    ["a", pod, plan.pod(2, 5), 8080],
    ["a", pod, plan.pod(1, 1), 10_250],
    ["a", pod, plan.nowhere, 80],
    ["outside", client, plan.node, 22],
    ["outside", gateway, plan.node, 22],
    ["outside", client, plan.node, 8443],
    ["outside", client, plan.pod(1, 3), 443],
    ["outside", client, plan.pod(1, 3), 444],
    ["outside", gateway, plan.pod(1, 3), 9005],
    ["outside", client, plan.pod(1, 2), 666],
    ["a", pod, plan.outside(66), 53],
    ["node", plan.node, plan.service(10), 80],
    ["node", plan.node, plan.node, 30_011],
    ["node", plan.node, plan.far, 53],
  ];
}

function textOf(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** What explain says of as many packets, each, in the words of KernelNode. */
function explained(explains: ExplainedNode, flow: Flow): readonly string[] {
  return Array.from({ length: PACKETS }, (_, i) => {
    const { verdict, deliveredTo, masqueraded } = explains.explain({ ...flow, srcPort: flow.srcPort + i });
    if (verdict !== "delivered" || deliveredTo === null) return verdict;
    if (deliveredTo.kind === "Node") return "node";
    return deliveredText(deliveredTo.name, textOf(deliveredTo.ip, deliveredTo.port ?? 0), masqueraded);
  });
}

type Case = {
  readonly mode: ProxyMode;
  readonly plan: Plan;
  /** What loads iptables rules. */
  readonly tool: NodeTool;
};

function load(real: KernelNode, { mode, plan, tool }: Case): Dumps {
  const texts = textsFor(objectsOf(plan), { node, config: { ...config, mode } });
  const text = (of: Tool): string => texts.get(of) ?? "";
  const family = plan.type === "IPv4" ? "inet" : "inet6";
  const blocked = `create blocked hash:ip,port family ${family}\nadd blocked ${plan.far},tcp:443\n`;
  real.run(["ipset", "restore"], `${blocked}${text("ipset")}`);
  // ipvs mode gives the node every address of a Service; a kernel without dummy devices has room for them on lo.
  if (mode === "ipvs")
    for (const ip of [
      ...Array.from({ length: 8 }, (_, i) => plan.service(10 + i)),
      plan.outside(200),
      plan.outside(201),
    ])
      real.run(["ip", "addr", "add", ip, "dev", "lo"]);
  const restore = [`${tool}-restore`, "--noflush"];
  if (mode === "nftables") real.run(["nft", "-f", "-"], text("nft"));
  else real.run(restore, text(plan.type === "IPv4" ? "iptables-restore" : "ip6tables-restore"));
  real.run(restore, othersRules(plan));
  return real.dumps([tool], mode === "nftables");
}

const CASES: readonly Case[] = [
  { mode: "iptables", plan: V4, tool: "iptables-nft" },
  { mode: "iptables", plan: V4, tool: "iptables-legacy" },
  { mode: "iptables", plan: V6, tool: "ip6tables-nft" },
  { mode: "iptables", plan: V6, tool: "ip6tables-legacy" },
  { mode: "nftables", plan: V4, tool: "iptables-nft" },
  { mode: "nftables", plan: V4, tool: "iptables-legacy" },
  { mode: "nftables", plan: V6, tool: "ip6tables-nft" },
  // Its sets and rules; this kernel may have no virtual services, and neither dump tells of any.
  { mode: "ipvs", plan: V4, tool: "iptables-nft" },
  { mode: "ipvs", plan: V6, tool: "ip6tables-legacy" },
];

describe.each(CASES)("a node in $mode mode with $tool", (one) => {
  it("does what explain says of its dumps", { timeout: 120_000 }, async ({ skip }) => {
    const reason = missing(...KERNEL_LAB_NEEDS, "nft", "ipset", `${one.tool}-restore`);
    skip(reason !== null, reason ?? "");
    const real = await KernelNode.build(LISTENING);
    try {
      const explains = await ExplainedNode.load(load(real, one));
      for (const protocol of ["TCP", "UDP"] as const) {
        for (const [i, [end, src, dst, port]] of flowsOf(one.plan).entries()) {
          if (end === "node" && (protocol === "TCP" || one.mode === "ipvs")) continue;
          const flow = parseFlow(`${protocol} ${textOf(src, 20_000 + 100 * i)} > ${textOf(dst, port)}`, "test", 1);
          const name = `${protocol} ${src} > ${textOf(dst, port)}`;
          const said = explained(explains, flow);
          const heard = said.filter((outcome) => outcome !== "dropped").length;
          const seen = await real.outcomes(end, flow, PACKETS, heard);
          expect([name, seen]).toEqual([name, [...new Set(said)].sort()]);
        }
      }
    } finally {
      await real.close();
    }
  });
});
