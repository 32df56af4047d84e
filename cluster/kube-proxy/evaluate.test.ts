import { describe, expect, it } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { formatFlow, parseFlow } from "../trace/first-packet.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig, type ProxyMode } from "./config.ts";
import { FlowEvaluator } from "./evaluate.ts";

const NODE = "node-1";
const NODE_IP = "192.168.0.11";
const LOCAL = "10.244.1.5";
const REMOTE = "10.244.2.5";
const LOCAL6 = "fd00:244:1::5";

function service(name: string, spec: object): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { namespace: "default", name }, spec } as KubeObject;
}

function slice(name: string, ...addresses: readonly string[]): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((a) => ({
      addresses: [a],
      conditions: { ready: true },
      nodeName: a === LOCAL || a === LOCAL6 ? NODE : "node-2",
    })),
  } as KubeObject;
}

const port = { port: 80, protocol: "TCP", targetPort: 8080 };
const OBJECTS: readonly KubeObject[] = [
  service("both", {
    type: "NodePort",
    clusterIP: "10.96.0.20",
    ports: [{ ...port, nodePort: 30020 }],
    externalIPs: ["198.51.100.7"],
  }),
  slice("both", LOCAL, REMOTE),
  service("local", {
    type: "NodePort",
    clusterIP: "10.96.0.21",
    ports: [{ ...port, nodePort: 30021 }],
    externalTrafficPolicy: "Local",
  }),
  slice("local", LOCAL, REMOTE),
  service("far", {
    type: "NodePort",
    clusterIP: "10.96.0.22",
    ports: [{ ...port, nodePort: 30022 }],
    externalTrafficPolicy: "Local",
    internalTrafficPolicy: "Local",
  }),
  slice("far", REMOTE),
  service("empty", { type: "NodePort", clusterIP: "10.96.0.23", ports: [{ ...port, nodePort: 30023 }] }),
  service("one", { clusterIP: "10.96.0.24", ports: [port] }),
  slice("one", LOCAL),
];

async function evaluator(change: Partial<ProxyConfig> = {}): Promise<FlowEvaluator> {
  const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.244.0.0/16", ...change };
  const node = { name: NODE, ips: [NODE_IP], podCidrs: ["10.244.1.0/24"] };
  return FlowEvaluator.ofObjects(OBJECTS, node, config);
}

type Answer = readonly [verdict: string, endpoints: readonly string[], masquerade: boolean];

const HERE = [`${LOCAL}:8080`];
const THERE = [`${REMOTE}:8080`];
const ALL = [...HERE, ...THERE];
const POD = "10.244.1.9";
const OUT = "203.0.113.5";
const MASQ = true;
const KEEP = false;

/** What iptables mode does; after it, where other modes do something else. */
const ROWS: readonly (readonly [string, string, string, Answer, Partial<Record<ProxyMode, Answer>>?])[] = [
  ["a pod to a ClusterIP", POD, "10.96.0.20:80", ["dnat", ALL, KEEP], { userspace: ["dnat", ALL, MASQ] }],
  ["the node to a ClusterIP", NODE_IP, "10.96.0.20:80", ["dnat", ALL, MASQ]],
  ["outside to a ClusterIP", OUT, "10.96.0.20:80", ["dnat", ALL, MASQ]],
  ["a pod to a node port", POD, `${NODE_IP}:30020`, ["dnat", ALL, MASQ]],
  ["outside to a node port", OUT, `${NODE_IP}:30020`, ["dnat", ALL, MASQ]],
  ["outside to an external IP", OUT, "198.51.100.7:80", ["dnat", ALL, MASQ]],
  [
    "outside to a node port, policy Local",
    OUT,
    `${NODE_IP}:30021`,
    ["dnat", HERE, KEEP],
    { userspace: ["dnat", ALL, MASQ] },
  ],
  [
    "a pod to a node port, policy Local: the short way to all, but for ipvs",
    POD,
    `${NODE_IP}:30021`,
    ["dnat", ALL, KEEP],
    { ipvs: ["dnat", HERE, KEEP], userspace: ["dnat", ALL, MASQ] },
  ],
  [
    "the node to its node port, policy Local",
    NODE_IP,
    `${NODE_IP}:30021`,
    ["dnat", ALL, MASQ],
    { ipvs: ["dnat", HERE, KEEP] },
  ],
  [
    "outside to a node port, policy Local, nobody here",
    OUT,
    `${NODE_IP}:30022`,
    ["drop", [], KEEP],
    { ipvs: ["dnat", THERE, KEEP], userspace: ["dnat", THERE, MASQ] },
  ],
  [
    "a pod to a ClusterIP, internal policy Local, nobody here",
    POD,
    "10.96.0.22:80",
    ["drop", [], KEEP],
    { ipvs: ["dnat", THERE, KEEP], userspace: ["dnat", THERE, MASQ] },
  ],
  ["a pod to a Service without endpoints", POD, "10.96.0.23:80", ["reject", [], KEEP]],
  ["outside to a node port without endpoints", OUT, `${NODE_IP}:30023`, ["reject", [], KEEP]],
  ["a pod to itself through its Service", LOCAL, "10.96.0.24:80", ["dnat", HERE, MASQ]],
  [
    "a port that no Service has",
    POD,
    "10.96.0.20:81",
    ["none", [], KEEP],
    { ipvs: ["reject", [], KEEP], nftables: ["reject", [], KEEP] },
  ],
  ["a port of the node that no Service has", OUT, `${NODE_IP}:22`, ["accept", [], KEEP]],
  [
    "localhost to a node port",
    "127.0.0.1",
    "127.0.0.1:30020",
    ["dnat", ALL, MASQ],
    { ipvs: ["accept", [], KEEP], nftables: ["accept", [], KEEP] },
  ],
];

describe.each(["iptables", "ipvs", "nftables", "userspace"] as const)(
  "FlowEvaluator in %s mode: the first packet",
  (mode) => {
    for (const [name, from, to, usual, others] of ROWS)
      it(name, async () => {
        const [verdict, endpoints, masquerade] = others?.[mode] ?? usual;
        const flow = parseFlow(`TCP ${from}:40000 > ${to}`, "test", 1);
        expect((await evaluator({ mode })).evaluate(flow)).toMatchObject({ verdict, endpoints, masquerade });
      });

    it("masquerades pods too with masqueradeAll, and nobody's ClusterIP traffic without a local detector (userspace mode: always)", async () => {
      const pod = parseFlow(`TCP ${POD}:40000 > 10.96.0.20:80`, "test", 1);
      const outside = parseFlow(`TCP ${OUT}:40000 > 10.96.0.20:80`, "test", 1);
      expect((await evaluator({ mode, masqueradeAll: true })).evaluate(pod).masquerade).toBe(true);
      expect((await evaluator({ mode, clusterCIDR: "" })).evaluate(outside).masquerade).toBe(mode === "userspace");
    });

    it("answers the same flow the same way again", async () => {
      const e = await evaluator({ mode });
      const flow = parseFlow(`TCP ${POD}:40000 > 10.96.0.20:80`, "test", 1);
      expect(e.evaluate(flow)).toEqual(e.evaluate(flow));
    });
  },
);

describe("FlowEvaluator for IPv6, in iptables mode: the first packet", () => {
  const [six, here, there] = ["fd00:96::20", LOCAL6, "fd00:244:2::5"];
  const dual = [
    service("six", {
      type: "NodePort",
      clusterIP: "10.96.0.30",
      clusterIPs: ["10.96.0.30", six],
      ipFamilies: ["IPv4", "IPv6"],
      ipFamilyPolicy: "RequireDualStack",
      ports: [{ ...port, nodePort: 30030 }],
      externalTrafficPolicy: "Local",
    }),
    slice("six", LOCAL),
    { ...slice("six", here, there), addressType: "IPv6", metadata: { ...slice("six").metadata, name: "six-2" } },
    service("empty6", { clusterIP: "fd00:96::21", ipFamilies: ["IPv6"], ports: [port] }),
  ] as KubeObject[];
  const [nodeIp, pod, out] = ["2001:db8:1::11", "fd00:244:1::9", "2001:db8:9::5"];
  const [atHere, atThere] = [`[${here}]:8080`, `[${there}]:8080`];

  it.each<[string, string, string, Answer]>([
    ["a pod to a ClusterIP", pod, `[${six}]:80`, ["dnat", [atHere, atThere], KEEP]],
    ["outside to a ClusterIP", out, `[${six}]:80`, ["dnat", [atHere, atThere], MASQ]],
    ["the node to a ClusterIP", nodeIp, `[${six}]:80`, ["dnat", [atHere, atThere], MASQ]],
    ["a pod to itself", here, `[${six}]:80`, ["dnat", [atHere, atThere], KEEP]],
    ["outside to a node port, policy Local", out, `[${nodeIp}]:30030`, ["dnat", [atHere], KEEP]],
    ["a pod to a Service without endpoints", pod, "[fd00:96::21]:80", ["reject", [], KEEP]],
    ["a port that no Service has", pod, `[${six}]:81`, ["none", [], KEEP]],
  ])("%s", async (_name, from, to, [verdict, endpoints, masquerade]) => {
    const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.244.0.0/16,fd00:244::/32" };
    const node = { name: NODE, ips: [NODE_IP, nodeIp], podCidrs: ["10.244.1.0/24", "fd00:244:1::/64"] };
    const evaluator = await FlowEvaluator.ofObjects(dual, node, config);
    const said = evaluator.evaluate(parseFlow(`TCP [${from}]:40000 > ${to}`, "test", 1));
    expect(said).toMatchObject({ verdict, endpoints, masquerade });
    const other = evaluator.evaluate(parseFlow(`TCP ${POD}:40000 > 10.96.0.30:80`, "test", 1));
    expect(other).toMatchObject({ verdict: "dnat", endpoints: HERE, masquerade: false });
  });

  it.each(["ipvs", "nftables", "userspace"] as const)("is refused in %s mode", async (mode) => {
    const e = await evaluator({ mode });
    expect(() => e.evaluate(parseFlow(`TCP [${pod}]:40000 > [${six}]:80`, "test", 1))).toThrow(/IPv4 flow/);
  });
});

describe("parseFlow", () => {
  it("reads both families", () => {
    const text = "UDP [fd00::1]:53 > [2001:db8::1]:5353";
    expect(formatFlow(parseFlow(text, "flows.txt", 1))).toBe(text);
  });

  it.each([
    "TCP 10.0.0.1:1",
    "ICMP 10.0.0.1:1 > 10.0.0.2:2",
    "TCP [fd00::1]:1 > 10.0.0.2:2",
    "TCP [fd00:::1]:1 > [fd00::2]:2",
    "TCP 10.0.0.1:0 > 10.0.0.2:2",
    "TCP 10.0.0.1:1 > 10.0.0.2:70000",
  ])("refuses %j with its line", (text) => {
    expect(() => parseFlow(text, "flows.txt", 7)).toThrow(/^flows\.txt:7: flow: found/);
  });
});
