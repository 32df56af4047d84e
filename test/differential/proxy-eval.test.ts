/**
 * The rules that kube-proxy renders, loaded into the real iptables, ip6tables and nft, send real packets where `proxy eval`
 * says: to the same set of endpoints, masqueraded or not, refused or dropped.
 */
import { afterAll, describe, expect, it } from "vitest";
import { type Family, hostPort, WIDTH } from "../../cluster/api/ip.ts";
import type { KubeObject } from "../../cluster/api/meta.ts";
import { DEFAULT_PROXY_CONFIG } from "../../cluster/kube-proxy/config.ts";
import { FlowEvaluator, type FlowVerdict } from "../../cluster/kube-proxy/evaluate.ts";
import { textsFor } from "../../cluster/kube-proxy/render.ts";
import { parseFlow } from "../../cluster/trace/first-packet.ts";
import { Bench } from "../../dataplane/netfilter/testing.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { dstAt, srcAt } from "../../dataplane/wire/ip-header.ts";
import { formatIpPort, inPrefix, ipKey, parsePrefix } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import { missing } from "../support/needs.ts";
import { ether } from "./frames.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { FAR_MAC, KernelRouters, ROUTER_MAC, type Side, type SideFrame, type Variant } from "./rules-lab.ts";

/**
 * The lab's router is the node: pods behind eth1, everything else behind eth0, where Service addresses have a route too. Hosts
 * have the same number in each family.
 */
type Place = {
  readonly etherType: number;
  readonly pods: (n: number) => string;
  readonly others: (n: number) => string;
  readonly podCidr: string;
};
const PLACES: Readonly<Record<Family, Place>> = {
  4: {
    etherType: ethernet.ETH_P_IP,
    pods: (n) => `10.1.0.${n}`,
    others: (n) => `10.0.0.${n}`,
    podCidr: "10.1.0.0/24",
  },
  6: {
    etherType: ethernet.ETH_P_IPV6,
    pods: (n) => `fd00:1::${n}`,
    others: (n) => `fd00::${n}`,
    podCidr: "fd00:1::/64",
  },
};
const NODE = 1;
const OUT = 9;
const THERE = 8;
const [HERE, HERE_TOO, POD] = [2, 3, 4] as const;
/** Packets of a flow: few enough to be quick, many enough that each endpoint has its turn. */
const PACKETS = 60;

const FAMILIES: readonly Family[] = [4, 6];
const node = {
  name: "node-1",
  ips: FAMILIES.map((f) => PLACES[f].others(NODE)),
  podCidrs: FAMILIES.map((f) => PLACES[f].podCidr),
};
const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: node.podCidrs.join(",") };

function service(name: string, spec: object, status: object = {}): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { namespace: "default", name }, spec, status } as KubeObject;
}

function slice(family: Family, name: string, ...addresses: readonly string[]): KubeObject {
  const { podCidr } = PLACES[family];
  const pods = podCidr.slice(0, podCidr.length - (family === 4 ? 4 : 3));
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: `IPv${family}`,
    ports: ["TCP", "UDP"].map((protocol) => ({ name: protocol.toLowerCase(), port: 8080, protocol })),
    endpoints: addresses.map((a) => ({
      addresses: [a],
      conditions: { ready: true },
      nodeName: a.startsWith(pods) ? "node-1" : "node-2",
    })),
  } as KubeObject;
}

const balancer = (ip: string): object => ({ loadBalancer: { ingress: [{ ip }] } });

/** Services with ClusterIPs 2 and 121 to 126, and addresses outside 130 and 131. */
function objectsOf(family: Family): readonly KubeObject[] {
  const { pods, others } = PLACES[family];
  const ports = (nodePort: number): object[] =>
    ["TCP", "UDP"].map((protocol) => ({
      name: protocol.toLowerCase(),
      port: 80,
      protocol,
      targetPort: 8080,
      nodePort: nodePort === 0 ? 0 : nodePort + family,
    }));
  const [here, too, there] = [pods(HERE), pods(HERE_TOO), others(THERE)];
  const made = (name: string, spec: object, status: object, ...endpoints: readonly string[]): KubeObject[] => [
    service(`${name}-${family}`, spec, status),
    ...(endpoints.length === 0 ? [] : [slice(family, `${name}-${family}`, ...endpoints)]),
  ];
  const nodePort = { type: "NodePort" };
  const externalTrafficPolicy = "Local";
  const far = { ...nodePort, externalTrafficPolicy, internalTrafficPolicy: "Local" };
  const loadBalancerSourceRanges = [`${others(OUT)}/${WIDTH[family]}`];
  const ranges = { type: "LoadBalancer", loadBalancerSourceRanges };
  return [
    made(
      "all",
      { ...nodePort, clusterIP: others(2), ports: ports(30020), externalIPs: [others(131)] },
      {},
      here,
      too,
      there,
    ),
    made("local", { ...nodePort, clusterIP: others(121), ports: ports(30030), externalTrafficPolicy }, {}, here, there),
    made("far", { ...far, clusterIP: others(122), ports: ports(30040) }, {}, there),
    made("empty", { ...nodePort, clusterIP: others(123), ports: ports(30050) }, {}),
    made("self", { clusterIP: others(124), ports: ports(0) }, {}, pods(POD)),
    made("ranges", { ...ranges, clusterIP: others(125), ports: ports(30060) }, balancer(others(130)), here, too),
    made("sticky", { clusterIP: others(126), ports: ports(0), sessionAffinity: "ClientIP" }, {}, here),
  ].flat();
}

const OBJECTS: readonly KubeObject[] = FAMILIES.flatMap(objectsOf);

/** From whom, to whom behind eth0, and to which port. */
function flowsOf(family: Family): readonly (readonly [from: string, to: string, port: number])[] {
  const { pods, others } = PLACES[family];
  const [pod, out, own] = [pods(POD), others(OUT), others(NODE)];
  return [
    [pod, others(2), 80],
    [out, others(2), 80],
    [pod, own, 30020 + family],
    [out, own, 30020 + family],
    [out, others(131), 80],
    [out, own, 30030 + family],
    [pod, own, 30030 + family],
    [out, own, 30040 + family],
    [pod, others(122), 80],
    [pod, others(123), 80],
    [out, own, 30050 + family],
    [pod, others(124), 80],
    [out, others(130), 80],
    [others(THERE), others(130), 80],
    [pod, others(126), 80],
    [out, own, 22],
    [pod, others(2), 81],
  ];
}

const builder = new Bench();

/** First packets of one flow, each from another port. */
function framesOf(
  family: Family,
  protocol: "TCP" | "UDP",
  from: string,
  dst: string,
  dport: number,
): readonly SideFrame[] {
  const { etherType, podCidr } = PLACES[family];
  const prefix = parsePrefix(podCidr);
  const side: Side = prefix !== undefined && inPrefix(prefix, ipKey(from)) ? "o" : "i";
  return Array.from({ length: PACKETS }, (_, i) => {
    const proto = protocol === "TCP" ? "tcp" : "udp";
    const skb = builder.packet({ proto, src: from, dst, sport: 40_000 + i, dport });
    const bytes = ether(ROUTER_MAC[side], FAR_MAC[side], etherType, skb.buf.slice(skb.network, skb.end));
    builder.world.pool.free(skb);
    return { side, bytes };
  });
}

/** Whether an ICMP message of either family says that a port is closed; null for what is no error. */
function portUnreachable(protocol: number, b: Uint8Array, th: number): boolean | null {
  if (protocol === ipv4.PROTO_ICMP && b[th] === 3) return b[th + 1] === 3;
  if (protocol === ipv4.PROTO_ICMPV6 && b[th] === 1) return b[th + 1] === 4;
  return null;
}

/** What Linux did with a flow, in the words of proxy eval. */
function verdictOf(
  family: Family,
  from: string,
  to: string,
  toPort: number,
  back: readonly SideFrame[],
): Omit<FlowVerdict, "flow"> {
  const own = ipKey(PLACES[family].others(NODE));
  const endpoints = new Set<string>();
  let masquerade = false;
  let answer: FlowVerdict["verdict"] = "drop";
  for (const { bytes } of back) {
    const at = ethernet.HEADER_LEN;
    const six = family === 6;
    const th = six ? ipv6.transportOffset(bytes, at, bytes.length) : at + ipv4.headerLen(bytes, at);
    const protocol = six ? ipv6.transportProtocol(bytes, at, bytes.length) : ipv4.protocol(bytes, at);
    const [src, dst] = [srcAt(bytes, at), dstAt(bytes, at)];
    const port = ((bytes[th + 2] ?? 0) << 8) | (bytes[th + 3] ?? 0);
    const closed = portUnreachable(protocol, bytes, th);
    if (closed !== null)
      answer = !closed ? "none" : src === own && ipKey(to) === own && toPort === 22 ? "accept" : "reject";
    else if (protocol === ipv4.PROTO_TCP && ((bytes[th + 13] ?? 0) & 4) !== 0) answer = "accept";
    else if (dst === ipKey(to) && port === toPort) answer = "none";
    else {
      endpoints.add(formatIpPort(dst, port));
      if (src !== ipKey(from)) masquerade = true;
    }
  }
  const verdict = endpoints.size > 0 ? "dnat" : answer;
  return { verdict, endpoints: [...endpoints].sort(), masquerade };
}

let lab: KernelRouters | null = null;
afterAll(() => lab?.close());

const CASES: readonly (readonly [Variant, Family])[] = [
  ["iptables-nft", 4],
  ["iptables-legacy", 4],
  ["nft", 4],
  ["ip6tables-nft", 6],
  ["ip6tables-legacy", 6],
  ["nft", 6],
];

describe.each(CASES)("kube-proxy's rules in %s, IPv%d", (variant, family) => {
  const nft = variant === "nft";
  it.for(["TCP", "UDP"] as const)("send %s where proxy eval says", { timeout: 120_000 }, async (protocol, { skip }) => {
    const reason = missing(...KERNEL_LAB_NEEDS, nft ? "nft" : `${variant}-restore`);
    skip(reason !== null, reason ?? "");
    lab ??= await KernelRouters.build();
    const modeConfig = nft ? { ...config, mode: "nftables" as const } : config;
    const tool = nft ? "nft" : family === 4 ? "iptables-restore" : "ip6tables-restore";
    const rules = textsFor(OBJECTS, { node, config: modeConfig }).get(tool) ?? "";
    const evaluator = await FlowEvaluator.ofObjects(OBJECTS, node, modeConfig);
    for (const [from, to, port] of flowsOf(family)) {
      const ends = [hostPort(from, 40_000), hostPort(to, port)];
      const said = evaluator.evaluate(parseFlow(`${protocol} ${ends.join(" > ")}`, "test", 1));
      const frames = framesOf(family, protocol, from, to, port);
      const { frames: back } = await lab.run(variant, rules, frames, said.verdict === "dnat" ? PACKETS : 0);
      const { verdict, endpoints, masquerade } = said;
      const seen = verdictOf(family, from, to, port, back);
      expect({ ends, ...seen }).toEqual({ ends, verdict, endpoints: [...endpoints].sort(), masquerade });
    }
  });
});
