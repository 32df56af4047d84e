/**
 * The rules that kube-proxy renders, loaded into the real iptables and nft, send real packets where `proxy eval` says: to the same
 * set of endpoints, masqueraded or not, refused or dropped.
 */
import { afterAll, describe, expect, it } from "vitest";
import type { KubeObject } from "../../cluster/api/meta.ts";
import { DEFAULT_PROXY_CONFIG } from "../../cluster/kube-proxy/config.ts";
import { FlowEvaluator, type FlowVerdict } from "../../cluster/kube-proxy/evaluate.ts";
import { textsFor } from "../../cluster/kube-proxy/render.ts";
import { parseFlow } from "../../cluster/trace/first-packet.ts";
import { Bench } from "../../dataplane/netfilter/testing.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { formatIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { missing } from "../support/needs.ts";
import { ether } from "./frames.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { FAR_MAC, KernelRouters, ROUTER_MAC, type Side, type SideFrame, type Variant } from "./rules-lab.ts";

/** The lab's router is the node: pods behind eth1, everything else behind eth0, where Service addresses have a route too. */
const NODE_IP = "10.0.0.1";
const node = { name: "node-1", ips: [NODE_IP], podCidrs: ["10.1.0.0/24"] };
const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.1.0.0/24" };
const HERE = ["10.1.0.2", "10.1.0.3"];
const THERE = "10.0.0.8";
const POD = "10.1.0.4";
const OUT = "10.0.0.9";
/** Packets of a flow: few enough to be quick, many enough that each endpoint has its turn. */
const PACKETS = 60;

function service(name: string, spec: object, status: object = {}): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { namespace: "default", name }, spec, status } as KubeObject;
}

function slice(name: string, ...addresses: readonly string[]): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: ["TCP", "UDP"].map((protocol) => ({ name: protocol.toLowerCase(), port: 8080, protocol })),
    endpoints: addresses.map((a) => ({
      addresses: [a],
      conditions: { ready: true },
      nodeName: HERE.includes(a) ? "node-1" : "node-2",
    })),
  } as KubeObject;
}

const ports = (nodePort: number): object[] =>
  ["TCP", "UDP"].map((protocol) => ({ name: protocol.toLowerCase(), port: 80, protocol, targetPort: 8080, nodePort }));
const balancer = (ip: string): object => ({ loadBalancer: { ingress: [{ ip }] } });

const OBJECTS: readonly KubeObject[] = [
  service("all", { type: "NodePort", clusterIP: "10.0.0.2", ports: ports(30020), externalIPs: ["10.0.0.131"] }),
  slice("all", ...HERE, THERE),
  service("local", { type: "NodePort", clusterIP: "10.0.0.121", ports: ports(30021), externalTrafficPolicy: "Local" }),
  slice("local", HERE[0] ?? "", THERE),
  service("far", {
    type: "NodePort",
    clusterIP: "10.0.0.122",
    ports: ports(30022),
    externalTrafficPolicy: "Local",
    internalTrafficPolicy: "Local",
  }),
  slice("far", THERE),
  service("empty", { type: "NodePort", clusterIP: "10.0.0.123", ports: ports(30023) }),
  service("self", { clusterIP: "10.0.0.124", ports: ports(0) }),
  slice("self", POD),
  service(
    "ranges",
    { type: "LoadBalancer", clusterIP: "10.0.0.125", ports: ports(30025), loadBalancerSourceRanges: ["10.0.0.9/32"] },
    balancer("10.0.0.130"),
  ),
  slice("ranges", ...HERE),
  service("sticky", { clusterIP: "10.0.0.126", ports: ports(0), sessionAffinity: "ClientIP" }),
  slice("sticky", HERE[0] ?? ""),
];

const FLOWS: readonly (readonly [string, string])[] = [
  [POD, "10.0.0.2:80"],
  [OUT, "10.0.0.2:80"],
  [POD, `${NODE_IP}:30020`],
  [OUT, `${NODE_IP}:30020`],
  [OUT, "10.0.0.131:80"],
  [OUT, `${NODE_IP}:30021`],
  [POD, `${NODE_IP}:30021`],
  [OUT, `${NODE_IP}:30022`],
  [POD, "10.0.0.122:80"],
  [POD, "10.0.0.123:80"],
  [OUT, `${NODE_IP}:30023`],
  [POD, "10.0.0.124:80"],
  [OUT, "10.0.0.130:80"],
  [THERE, "10.0.0.130:80"],
  [POD, "10.0.0.126:80"],
  [OUT, `${NODE_IP}:22`],
  [POD, "10.0.0.2:81"],
];

const builder = new Bench();

/** First packets of one flow, each from another port. */
function framesOf(protocol: "TCP" | "UDP", from: string, to: string): readonly SideFrame[] {
  const [dst = "", port = ""] = to.split(":");
  const side: Side = from.startsWith("10.1.") ? "o" : "i";
  return Array.from({ length: PACKETS }, (_, i) => {
    const proto = protocol === "TCP" ? "tcp" : "udp";
    const skb = builder.packet({ proto, src: from, dst, sport: 40_000 + i, dport: Number(port) });
    const bytes = ether(ROUTER_MAC[side], FAR_MAC[side], 0x0800, skb.buf.slice(skb.network, skb.end));
    builder.world.pool.free(skb);
    return { side, bytes };
  });
}

/** What Linux did with a flow, in the words of proxy eval. */
function verdictOf(from: string, to: string, back: readonly SideFrame[]): Omit<FlowVerdict, "flow"> {
  const endpoints = new Set<string>();
  let masquerade = false;
  let answer: FlowVerdict["verdict"] = "drop";
  for (const { bytes } of back) {
    const at = 14;
    const th = at + ipv4.headerLen(bytes, at);
    const protocol = ipv4.protocol(bytes, at);
    const [src, dst] = [formatIpv4(ipv4.src(bytes, at)), formatIpv4(ipv4.dst(bytes, at))];
    const port = ((bytes[th + 2] ?? 0) << 8) | (bytes[th + 3] ?? 0);
    const first = bytes[th] ?? 0;
    if (protocol === ipv4.PROTO_ICMP && first === 3)
      answer = (bytes[th + 1] ?? 0) !== 3 ? "none" : src === NODE_IP && to === `${NODE_IP}:22` ? "accept" : "reject";
    else if (protocol === ipv4.PROTO_TCP && ((bytes[th + 13] ?? 0) & 4) !== 0) answer = "accept";
    else if (`${dst}:${port}` === to) answer = "none";
    else {
      endpoints.add(`${dst}:${port}`);
      if (src !== from) masquerade = true;
    }
  }
  const verdict = endpoints.size > 0 ? "dnat" : answer;
  return { verdict, endpoints: [...endpoints].sort(), masquerade };
}

let lab: KernelRouters | null = null;
afterAll(() => lab?.close());

describe.each(["iptables-nft", "iptables-legacy", "nft"] satisfies Variant[])("kube-proxy's rules in %s", (variant) => {
  const nft = variant === "nft";
  it.for(["TCP", "UDP"] as const)("send %s where proxy eval says", { timeout: 120_000 }, async (protocol, { skip }) => {
    const reason = missing(...KERNEL_LAB_NEEDS, nft ? "nft" : `${variant}-restore`);
    skip(reason !== null, reason ?? "");
    lab ??= await KernelRouters.build();
    const modeConfig = nft ? { ...config, mode: "nftables" as const } : config;
    const rules = textsFor(OBJECTS, { node, config: modeConfig }).get(nft ? "nft" : "iptables-restore") ?? "";
    const evaluator = await FlowEvaluator.ofObjects(OBJECTS, node, modeConfig);
    for (const [from, to] of FLOWS) {
      const said = evaluator.evaluate(parseFlow(`${protocol} ${from}:40000 > ${to}`, "test", 1));
      const frames = framesOf(protocol, from, to);
      const { frames: back } = await lab.run(variant, rules, frames, said.verdict === "dnat" ? PACKETS : 0);
      const { verdict, endpoints, masquerade } = said;
      expect({ from, to, ...verdictOf(from, to, back) }).toEqual({ from, to, verdict, endpoints, masquerade });
    }
  });
});
