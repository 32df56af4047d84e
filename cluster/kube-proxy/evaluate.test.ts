import { describe, expect, it } from "vitest";
import type { Family } from "../api/ip.ts";
import type { KubeObject } from "../api/meta.ts";
import { type Flow, formatFlow, parseFlow } from "../trace/first-packet.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig, type ProxyMode } from "./config.ts";
import { FlowEvaluator } from "./evaluate.ts";

const NODE = "node-1";

/** The same addresses in each family. */
type Addresses = {
  readonly node: string;
  readonly here: string;
  readonly there: string;
  readonly pod: string;
  readonly outside: string;
  readonly external: string;
  readonly loopback: string;
  readonly podCidr: string;
  /** The n-th ClusterIP. */
  readonly service: (n: number) => string;
};
const ADDRESSES: Readonly<Record<Family, Addresses>> = {
  4: {
    node: "192.168.0.11",
    here: "10.244.1.5",
    there: "10.244.2.5",
    pod: "10.244.1.9",
    outside: "203.0.113.5",
    external: "198.51.100.7",
    loopback: "127.0.0.1",
    podCidr: "10.244.1.0/24",
    service: (n) => `10.96.0.${n}`,
  },
  6: {
    node: "2001:db8:1::11",
    here: "fd00:244:1::5",
    there: "fd00:244:2::5",
    pod: "fd00:244:1::9",
    outside: "2001:db8:9::5",
    external: "2001:db8:7::7",
    loopback: "::1",
    podCidr: "fd00:244:1::/64",
    service: (n) => `fd00:96::${n}`,
  },
};

function service(name: string, spec: object): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { namespace: "default", name }, spec } as KubeObject;
}

function slice(name: string, ...addresses: readonly string[]): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: addresses[0]?.includes(":") ? "IPv6" : "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((a) => ({
      addresses: [a],
      conditions: { ready: true },
      nodeName: /1::5$|1\.5$/.test(a) ? NODE : "node-2",
    })),
  } as KubeObject;
}

const port = { port: 80, protocol: "TCP", targetPort: 8080 };

/** Services of both families, each of its own, so that they must keep apart. */
const OBJECTS: readonly KubeObject[] = ([4, 6] as const).flatMap((family) => {
  const { here, there, external, service: ip } = ADDRESSES[family];
  const nodePort = (n: number): object => ({ ...port, nodePort: 30000 + n + (family === 4 ? 0 : 100) });
  const named = (name: string): string => `${name}-${family}`;
  return [
    service(named("both"), { type: "NodePort", clusterIP: ip(20), ports: [nodePort(20)], externalIPs: [external] }),
    slice(named("both"), here, there),
    service(named("local"), {
      type: "NodePort",
      clusterIP: ip(21),
      ports: [nodePort(21)],
      externalTrafficPolicy: "Local",
    }),
    slice(named("local"), here, there),
    service(named("far"), {
      type: "NodePort",
      clusterIP: ip(22),
      ports: [nodePort(22)],
      externalTrafficPolicy: "Local",
      internalTrafficPolicy: "Local",
    }),
    slice(named("far"), there),
    service(named("empty"), { type: "NodePort", clusterIP: ip(23), ports: [nodePort(23)] }),
    service(named("one"), { clusterIP: ip(24), ports: [port] }),
    slice(named("one"), here),
  ];
});

/** The node's primary address has this family. */
async function evaluator(family: Family, change: Partial<ProxyConfig> = {}): Promise<FlowEvaluator> {
  const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.244.0.0/16,fd00:244::/32", ...change };
  const sides = family === 4 ? [ADDRESSES[4], ADDRESSES[6]] : [ADDRESSES[6], ADDRESSES[4]];
  const node = { name: NODE, ips: sides.map((s) => s.node), podCidrs: sides.map((s) => s.podCidr) };
  return FlowEvaluator.ofObjects(OBJECTS, node, config);
}

function flow(from: string, to: string, toPort: number): Flow {
  const end = (ip: string, n: number): string => (ip.includes(":") ? `[${ip}]:${n}` : `${ip}:${n}`);
  return parseFlow(`TCP ${end(from, 40000)} > ${end(to, toPort)}`, "test", 1);
}

type Answer = readonly [verdict: string, endpoints: readonly string[], masquerade: boolean];
/** Source, destination, port; what iptables mode does; after it, where other modes do something else. */
type Row = readonly [string, string, string, number, Answer, Partial<Record<ProxyMode, Answer>>?];

const MASQ = true;
const KEEP = false;

function rowsOf(family: Family): readonly Row[] {
  const { node, here, there, pod, outside, external, loopback, service: ip } = ADDRESSES[family];
  const nodePort = (n: number): number => 30000 + n + (family === 4 ? 0 : 100);
  const [HERE, THERE] = [here, there].map((a) => [family === 4 ? `${a}:8080` : `[${a}]:8080`]) as [string[], string[]];
  const ALL = [...HERE, ...THERE];
  return [
    ["a pod to a ClusterIP", pod, ip(20), 80, ["dnat", ALL, KEEP], { userspace: ["dnat", ALL, MASQ] }],
    ["the node to a ClusterIP", node, ip(20), 80, ["dnat", ALL, MASQ]],
    ["outside to a ClusterIP", outside, ip(20), 80, ["dnat", ALL, MASQ]],
    ["a pod to a node port", pod, node, nodePort(20), ["dnat", ALL, MASQ]],
    ["outside to a node port", outside, node, nodePort(20), ["dnat", ALL, MASQ]],
    ["outside to an external IP", outside, external, 80, ["dnat", ALL, MASQ]],
    [
      "outside to a node port, policy Local",
      outside,
      node,
      nodePort(21),
      ["dnat", HERE, KEEP],
      { userspace: ["dnat", ALL, MASQ] },
    ],
    [
      "a pod to a node port, policy Local: the short way to all, but for ipvs",
      pod,
      node,
      nodePort(21),
      ["dnat", ALL, KEEP],
      { ipvs: ["dnat", HERE, KEEP], userspace: ["dnat", ALL, MASQ] },
    ],
    [
      "the node to its node port, policy Local",
      node,
      node,
      nodePort(21),
      ["dnat", ALL, MASQ],
      { ipvs: ["dnat", HERE, KEEP] },
    ],
    [
      "outside to a node port, policy Local, nobody here",
      outside,
      node,
      nodePort(22),
      ["drop", [], KEEP],
      { ipvs: ["dnat", THERE, KEEP], userspace: ["dnat", THERE, MASQ] },
    ],
    [
      "a pod to a ClusterIP, internal policy Local, nobody here",
      pod,
      ip(22),
      80,
      ["drop", [], KEEP],
      { ipvs: ["dnat", THERE, KEEP], userspace: ["dnat", THERE, MASQ] },
    ],
    ["a pod to a Service without endpoints", pod, ip(23), 80, ["reject", [], KEEP]],
    ["outside to a ClusterIP without endpoints", outside, ip(23), 80, ["reject", [], KEEP]],
    ["outside to a node port without endpoints", outside, node, nodePort(23), ["reject", [], KEEP]],
    ["a pod to itself through its Service", here, ip(24), 80, ["dnat", HERE, MASQ]],
    [
      "a port that no Service has",
      pod,
      ip(20),
      81,
      ["none", [], KEEP],
      { ipvs: ["reject", [], KEEP], nftables: ["reject", [], KEEP] },
    ],
    ["a port of the node that no Service has", outside, node, 22, ["accept", [], KEEP]],
    [
      // iptables mode has none on ::1.
      "localhost to a node port",
      loopback,
      loopback,
      nodePort(20),
      family === 4 ? ["dnat", ALL, MASQ] : ["accept", [], KEEP],
      { ipvs: ["accept", [], KEEP], nftables: ["accept", [], KEEP], userspace: ["dnat", ALL, MASQ] },
    ],
  ];
}

const MODES = ["iptables", "ipvs", "nftables", "userspace"] as const;

const CASES = MODES.flatMap((mode) => [[mode, 4] as const, [mode, 6] as const]);

describe.each(CASES)("FlowEvaluator in %s mode, IPv%d: the first packet", (mode, family) => {
  const { pod, outside, service: ip } = ADDRESSES[family];
  for (const [name, from, to, toPort, usual, others] of rowsOf(family))
    it(name, async () => {
      const [verdict, endpoints, masquerade] = others?.[mode] ?? usual;
      const said = (await evaluator(family, { mode })).evaluate(flow(from, to, toPort));
      expect(said).toMatchObject({ verdict, endpoints, masquerade });
    });

  it("masquerades pods too with masqueradeAll, and nobody's ClusterIP traffic without a local detector (userspace mode: always)", async () => {
    const all = await evaluator(family, { mode, masqueradeAll: true });
    expect(all.evaluate(flow(pod, ip(20), 80)).masquerade).toBe(true);
    const none = await evaluator(family, { mode, clusterCIDR: "" });
    expect(none.evaluate(flow(outside, ip(20), 80)).masquerade).toBe(mode === "userspace");
  });

  it("answers the same flow the same way again, whatever the other family was asked", async () => {
    const e = await evaluator(family, { mode });
    const said = e.evaluate(flow(pod, ip(20), 80));
    const other = ADDRESSES[family === 4 ? 6 : 4];
    const ask = (): string => e.evaluate(flow(other.pod, other.service(20), 80)).verdict;
    if (mode === "userspace") expect(ask).toThrow(`expected an IPv${family} flow`);
    else expect(ask()).toBe("dnat");
    expect(e.evaluate(flow(pod, ip(20), 80))).toEqual(said);
  });
});

describe("FlowEvaluator of rules", () => {
  it("takes those of ip6tables, for flows of IPv6 alone", async () => {
    const text =
      "*nat\n-A PREROUTING -d fd00:96::9/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::5]:8080\nCOMMIT\n";
    const e = await FlowEvaluator.ofRules(text, [], DEFAULT_PROXY_CONFIG, { family: 6 });
    expect(e.evaluate(flow("fd00::1", "fd00:96::9", 80))).toMatchObject({
      verdict: "dnat",
      endpoints: ["[fd00::5]:8080"],
    });
    expect(() => e.evaluate(flow("10.0.0.1", "10.96.0.9", 80))).toThrow(
      "expected an IPv6 flow: the rules are of one family",
    );
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
    "TCP [10.0.0.1]:1 > [10.0.0.2]:2",
    "TCP [fd00:::1]:1 > [fd00::2]:2",
    "TCP 10.0.0.1:0 > 10.0.0.2:2",
    "TCP 10.0.0.1:1 > 10.0.0.2:70000",
  ])("refuses %j with its line", (text) => {
    expect(() => parseFlow(text, "flows.txt", 7)).toThrow(/^flows\.txt:7: flow: found/);
  });
});
