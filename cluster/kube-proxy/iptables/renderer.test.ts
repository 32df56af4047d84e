import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import type { Service, ServiceSpec } from "../../api/service.ts";
import { DEFAULT_PROXY_CONFIG } from "../config.ts";
import { iptablesFor } from "../render.ts";
import { NODE, render, service, slice, walk } from "../testing.ts";
import { probability } from "./port-rules.ts";

const svc1 = service("ns1/svc1", {
  clusterIP: "172.30.0.41",
  selector: { a: "b" },
  ports: [{ name: "p80", port: 80, protocol: "TCP" }],
});
const ports = (nodePort: number): NonNullable<ServiceSpec["ports"]> => [
  { name: "p80", port: 80, protocol: "TCP", nodePort },
];
const svc5: Service = service(
  "ns5/svc5",
  {
    type: "LoadBalancer",
    clusterIP: "172.30.0.45",
    ports: ports(3002),
    externalIPs: ["192.168.99.22"],
    externalTrafficPolicy: "Local",
    healthCheckNodePort: 30000,
    loadBalancerSourceRanges: [" 203.0.113.0/25", "192.168.0.0/24"],
    sessionAffinity: "ClientIP",
  },
  { loadBalancer: { ingress: [{ ip: "5.6.7.8" }, { ip: "5.6.7.9", ipMode: "Proxy" }, { hostname: "lb" }] } },
);
const RULES_OF = (text: string, chain: string): string[] =>
  text.split("\n").filter((l) => l.startsWith(`-A ${chain} `));

describe("the rules of a service", () => {
  it("are those of kube-proxy for a ClusterIP", () => {
    const text = render([svc1], [slice("ns1/svc1", "p80", 80, ["10.180.0.1"])]).renderer.full([]);
    expect(text).toBe(`*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]
:KUBE-SEP-SXIVWICOYRO3J4NJ - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "ns1/svc1:p80 -> 10.180.0.1:80" -j KUBE-SEP-SXIVWICOYRO3J4NJ
-A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -s 10.180.0.1 -j KUBE-MARK-MASQ
-A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`);
  });

  it("are those of kube-proxy for a load balancer with source ranges, affinity and policy Local", () => {
    const text = render(
      [svc5],
      [slice("ns5/svc5", "p80", 80, ["10.180.0.3@test-node", "10.180.1.3@other"])],
    ).renderer.full([]);
    const hash = /KUBE-SVC-(\w+)/.exec(text)?.[1];
    const seps = [...text.matchAll(/^:(KUBE-SEP-\w+)/gm)].map((m) => m[1]);
    expect(RULES_OF(text, "KUBE-SERVICES").slice(0, 3)).toEqual([
      `-A KUBE-SERVICES -m comment --comment "ns5/svc5:p80 cluster IP" -m tcp -p tcp -d 172.30.0.45 --dport 80 -j KUBE-SVC-${hash}`,
      `-A KUBE-SERVICES -m comment --comment "ns5/svc5:p80 external IP" -m tcp -p tcp -d 192.168.99.22 --dport 80 -j KUBE-EXT-${hash}`,
      `-A KUBE-SERVICES -m comment --comment "ns5/svc5:p80 loadbalancer IP" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j KUBE-FW-${hash}`,
    ]);
    expect(RULES_OF(text, `KUBE-EXT-${hash}`)).toEqual([
      `-A KUBE-EXT-${hash} -m comment --comment "pod traffic for ns5/svc5:p80 external destinations" -s 10.0.0.0/8 -j KUBE-SVC-${hash}`,
      `-A KUBE-EXT-${hash} -m comment --comment "masquerade LOCAL traffic for ns5/svc5:p80 external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ`,
      `-A KUBE-EXT-${hash} -m comment --comment "route LOCAL traffic for ns5/svc5:p80 external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-${hash}`,
      `-A KUBE-EXT-${hash} -j KUBE-SVL-${hash}`,
    ]);
    expect(RULES_OF(text, `KUBE-FW-${hash}`)).toEqual([
      `-A KUBE-FW-${hash} -m comment --comment "ns5/svc5:p80 loadbalancer IP" -s 203.0.113.0/25 -j KUBE-EXT-${hash}`,
      `-A KUBE-FW-${hash} -m comment --comment "ns5/svc5:p80 loadbalancer IP" -s 192.168.0.0/24 -j KUBE-EXT-${hash}`,
      `-A KUBE-FW-${hash} -m comment --comment "ns5/svc5:p80 loadbalancer IP" -s 5.6.7.8 -j KUBE-EXT-${hash}`,
      `-A KUBE-FW-${hash} -m comment --comment "other traffic to ns5/svc5:p80 will be dropped by KUBE-PROXY-FIREWALL"`,
    ]);
    expect(RULES_OF(text, "KUBE-PROXY-FIREWALL")).toEqual([
      `-A KUBE-PROXY-FIREWALL -m comment --comment "ns5/svc5:p80 traffic not accepted by KUBE-FW-${hash}" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j DROP`,
    ]);
    expect(RULES_OF(text, "KUBE-NODEPORTS")).toEqual([
      '-A KUBE-NODEPORTS -m comment --comment "ns5/svc5:p80 health check node port" -m tcp -p tcp --dport 30000 -j ACCEPT',
      `-A KUBE-NODEPORTS -m comment --comment ns5/svc5:p80 -m tcp -p tcp --dport 3002 -j KUBE-EXT-${hash}`,
    ]);
    expect(RULES_OF(text, `KUBE-SVC-${hash}`).slice(1)).toEqual([
      `-A KUBE-SVC-${hash} -m comment --comment "ns5/svc5:p80 -> 10.180.0.3:80" -m recent --name ${seps[0]} --rcheck --seconds 10800 --reap -j ${seps[0]}`,
      `-A KUBE-SVC-${hash} -m comment --comment "ns5/svc5:p80 -> 10.180.1.3:80" -m recent --name ${seps[1]} --rcheck --seconds 10800 --reap -j ${seps[1]}`,
      `-A KUBE-SVC-${hash} -m comment --comment "ns5/svc5:p80 -> 10.180.0.3:80" -m statistic --mode random --probability 0.5000000000 -j ${seps[0]}`,
      `-A KUBE-SVC-${hash} -m comment --comment "ns5/svc5:p80 -> 10.180.1.3:80" -j ${seps[1]}`,
    ]);
    expect(RULES_OF(text, `KUBE-SVL-${hash}`)).toHaveLength(2);
    expect(RULES_OF(text, seps[0] ?? "")[1]).toBe(
      `-A ${seps[0]} -m comment --comment ns5/svc5:p80 -m recent --name ${seps[0]} --set -m tcp -p tcp -j DNAT --to-destination 10.180.0.3:80`,
    );
  });

  it("count 2 + 3E in nat for a ClusterIP port with E endpoints", () => {
    const count = (e: number): number =>
      render(
        [svc1],
        [
          slice(
            "ns1/svc1",
            "p80",
            80,
            Array.from({ length: e }, (_, i) => `10.180.0.${i + 1}`),
          ),
        ],
      )
        .renderer.full([])
        .split("*nat")[1]
        ?.split("\n")
        .filter((l) => l.startsWith("-A")).length ?? 0;
    expect([1, 2, 5].map((e) => count(e) - 5)).toEqual([5, 8, 17]);
  });

  it("are not written for headless, ExternalName and foreign services", () => {
    const text = render(
      [
        service("n/headless", { clusterIP: "None", ports: [{ port: 80 }] }),
        service("n/name", { type: "ExternalName", externalName: "a.example" }),
        { ...svc1, metadata: { ...svc1.metadata, labels: { "service.kubernetes.io/service-proxy-name": "other" } } },
      ],
      [],
    ).renderer.full([]);
    expect(text).not.toMatch(/KUBE-SVC|has no endpoints/);
  });

  it("match the ports of slices by name", () => {
    const two = service("n/s", {
      clusterIP: "10.9.9.9",
      ports: [
        { name: "a", port: 80 },
        { name: "b", port: 81 },
      ],
    });
    const text = render(
      [two],
      [slice("n/s", "b", 8080, ["10.180.0.1"]), slice("n/s", "b", 9090, ["10.180.0.2"], "2")],
    ).renderer.full();
    expect(walk(text, { src: "10.180.0.9", dst: "10.9.9.9", port: 81 })).toBe("10.180.0.1:8080 10.180.0.2:9090");
    expect(walk(text, { src: "10.180.0.9", dst: "10.9.9.9", port: 80 })).toBe("REJECT");
  });

  it("lose their comments in a large cluster, and get them back", () => {
    const many = Array.from({ length: 1001 }, (_, i) => `10.181.${i >> 8}.${i & 255}`);
    const big = service("big/svc", { clusterIP: "172.30.0.50", ports: [{ name: "p80", port: 80 }] });
    const { renderer, endpoints } = render(
      [svc1, big],
      [slice("ns1/svc1", "p80", 80, ["10.180.0.1"]), slice("big/svc", "p80", 80, many)],
    );
    expect(RULES_OF(renderer.full(), "KUBE-SVC-XPGD46QRK7WJZT7O")[1]).toBe(
      "-A KUBE-SVC-XPGD46QRK7WJZT7O -j KUBE-SEP-SXIVWICOYRO3J4NJ",
    );
    endpoints.delete(slice("big/svc", "p80", 80, many));
    renderer.update();
    expect(RULES_OF(renderer.partial().text(), "KUBE-SVC-XPGD46QRK7WJZT7O")[1]).toContain("--comment");
  });

  it("print the probability as kube-proxy does", () => {
    expect([2, 3, 100_001].map(probability)).toEqual(["0.5000000000", "0.3333333333", "0.0000099999"]);
  });
});

describe("where a first packet goes", () => {
  const POD = "10.180.5.5";
  const OUTSIDE = "8.8.8.8";
  const [NODE_IP] = NODE.ips as [string];
  const make = (more: ServiceSpec, endpoints: string[], config = {}): string => {
    const s = service(
      "n/s",
      { type: "LoadBalancer", clusterIP: "172.30.0.9", ports: ports(30080), externalIPs: ["192.0.2.9"], ...more },
      { loadBalancer: { ingress: [{ ip: "5.5.5.5" }] } },
    );
    return render([s], endpoints.length === 0 ? [] : [slice("n/s", "p80", 80, endpoints)], config).renderer.full();
  };
  const BOTH = "10.180.0.1:80 10.180.1.1:80";
  const MINE = "10.180.0.1:80";
  const EPS = ["10.180.0.1@test-node", "10.180.1.1@other"];
  const REMOTE = ["10.180.1.1@other"];
  const etp: ServiceSpec = { externalTrafficPolicy: "Local" };
  const none = { clusterCIDR: "" };

  it.each([
    // source, policy and endpoints, config → ClusterIP, NodePort, LB IP, external IP
    ["a pod, Cluster", POD, {}, EPS, {}, BOTH, `${BOTH}, masq`],
    ["a pod, Local", POD, etp, EPS, {}, BOTH, BOTH],
    ["a pod without a local detector, Cluster", POD, {}, EPS, none, BOTH, `${BOTH}, masq`],
    ["a pod without a local detector, Local", POD, etp, EPS, none, BOTH, MINE],
    ["the node, Cluster", NODE_IP, {}, EPS, {}, `${BOTH}, masq`, `${BOTH}, masq`],
    ["the node, Local", NODE_IP, etp, EPS, {}, `${BOTH}, masq`, `${BOTH}, masq`],
    ["outside, Cluster", OUTSIDE, {}, EPS, {}, `${BOTH}, masq`, `${BOTH}, masq`],
    ["outside, Local", OUTSIDE, etp, EPS, {}, `${BOTH}, masq`, MINE],
    ["outside, Local, none here", OUTSIDE, etp, REMOTE, {}, "10.180.1.1:80, masq", "DROP"],
    ["a pod, Local, none here", POD, etp, REMOTE, {}, "10.180.1.1:80", "10.180.1.1:80"],
    ["outside, internal Local", OUTSIDE, { internalTrafficPolicy: "Local" }, EPS, {}, `${MINE}, masq`, `${BOTH}, masq`],
    [
      "a pod, internal Local, none here",
      POD,
      { internalTrafficPolicy: "Local" },
      REMOTE,
      {},
      "DROP",
      "10.180.1.1:80, masq",
    ],
    ["a pod, masqueradeAll", POD, {}, EPS, { masqueradeAll: true }, `${BOTH}, masq`, `${BOTH}, masq`],
    ["a pod, no endpoints", POD, {}, [], {}, "REJECT", "REJECT"],
    ["outside, no endpoints", OUTSIDE, etp, [], {}, "REJECT", "REJECT"],
  ] as [string, string, ServiceSpec, string[], object, string, string][])(
    "from %s",
    (_, src, more, endpoints, config, inside, external) => {
      const text = make(more, endpoints, config);
      expect(walk(text, { src, dst: "172.30.0.9", port: 80 })).toBe(inside);
      expect(walk(text, { src, dst: NODE_IP, port: 30080 })).toBe(external);
      expect(walk(text, { src, dst: "5.5.5.5", port: 80 })).toBe(external);
      expect(walk(text, { src, dst: "192.0.2.9", port: 80 })).toBe(external);
      expect(walk(text, { src, dst: "172.30.0.9", port: 81 })).toBe("");
    },
  );

  it("masquerades a pod that draws itself", () => {
    expect(walk(make({}, ["10.180.0.1@test-node"]), { src: "10.180.0.1", dst: "172.30.0.9", port: 80 })).toBe(
      "10.180.0.1:80, masq",
    );
  });

  it("lets source ranges guard the load balancer address and nothing else", () => {
    const text = make({ loadBalancerSourceRanges: ["203.0.113.0/24"] }, EPS);
    expect(walk(text, { src: "203.0.113.7", dst: "5.5.5.5", port: 80 })).toBe(`${BOTH}, masq`);
    expect(walk(text, { src: OUTSIDE, dst: "5.5.5.5", port: 80 })).toBe("DROP");
    expect(walk(text, { src: OUTSIDE, dst: NODE_IP, port: 30080 })).toBe(`${BOTH}, masq`);
  });

  it("serves node ports on localhost unless told otherwise", () => {
    expect(walk(make({}, EPS), { src: "127.0.0.1", dst: "127.0.0.1", port: 30080 })).toBe(`${BOTH}, masq`);
    const off = make({}, EPS, { localhostNodePorts: false });
    expect(walk(off, { src: "127.0.0.1", dst: "127.0.0.1", port: 30080 })).toBe("");
    expect(off).not.toContain("KUBE-FIREWALL");
  });

  it.each([
    ["CIDRs that hold one address", ["192.168.0.0/24"], `${BOTH}, masq`, ""],
    ["CIDRs that hold the other", ["10.50.0.0/16"], "", `${BOTH}, masq`],
    ["primary", ["primary"], `${BOTH}, masq`, ""],
    ["everything", ["0.0.0.0/0"], `${BOTH}, masq`, `${BOTH}, masq`],
  ])("takes node ports on %s", (_, nodePortAddresses, first, second) => {
    const node = { ...NODE, ips: ["192.168.0.2", "10.50.0.2"] };
    const s = service("n/s", { type: "NodePort", clusterIP: "172.30.0.9", ports: ports(30080) });
    const text = render([s], [slice("n/s", "p80", 80, EPS)], { nodePortAddresses }, 4, node).renderer.full();
    expect(walk(text, { src: OUTSIDE, dst: "192.168.0.2", port: 30080 }, node)).toBe(first);
    expect(walk(text, { src: OUTSIDE, dst: "10.50.0.2", port: 30080 }, node)).toBe(second);
  });
});

describe("a partial text", () => {
  it("holds the shared chains whole and only the changed services' chains", () => {
    const other = service("ns2/svc2", { clusterIP: "172.30.0.42", ports: [{ port: 80 }] });
    const { renderer, endpoints, services } = render(
      [svc1, other],
      [slice("ns1/svc1", "p80", 80, ["10.180.0.1"]), slice("ns2/svc2", "", 80, ["10.180.0.2"])],
    );
    renderer.full();
    endpoints.set(slice("ns1/svc1", "p80", 80, ["10.180.0.3"]));
    expect(renderer.update()).toBe(1);
    const text = renderer.partial().text();
    expect(text).toContain("ns2/svc2 cluster IP");
    expect(text).not.toContain("10.180.0.2");
    expect(text).not.toContain("*mangle");
    expect(text).toMatch(/:KUBE-SEP-SXIVWICOYRO3J4NJ - \[0:0\]\n/);
    expect(text).toMatch(/-X KUBE-SEP-SXIVWICOYRO3J4NJ\nCOMMIT/);
    expect(renderer.partial().text()).not.toMatch(/^(-A KUBE-SVC|-X)/m);
    services.delete("ns1", "svc1");
    renderer.update();
    expect(
      renderer
        .partial()
        .text()
        .match(/^-X KUBE-(SVC|SEP)-\w+$/gm),
    ).toHaveLength(2);
  });

  it("followed by others leads to the same rules as a full one", () => {
    const { renderer, endpoints } = render([svc1], [slice("ns1/svc1", "p80", 80, ["10.180.0.1"])]);
    renderer.full();
    endpoints.set(slice("ns1/svc1", "p80", 80, ["10.180.0.2", "10.180.0.3"]));
    renderer.update();
    renderer.partial().text();
    expect(renderer.full()).toBe(
      render([svc1], [slice("ns1/svc1", "p80", 80, ["10.180.0.3", "10.180.0.2"])]).renderer.full(),
    );
  });
});

it("renders for given objects without a cluster", () => {
  const objects = [
    svc1,
    slice("ns1/svc1", "p80", 80, ["10.180.0.1"]),
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "x" } },
  ];
  const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.0.0.0/8" };
  const text = iptablesFor(objects, { node: NODE, config }).full();
  expect(text).toBe(render([svc1], [slice("ns1/svc1", "p80", 80, ["10.180.0.1"])]).renderer.full());
});

describe("the object behind a rule", () => {
  it("is found by chain and by comment", () => {
    const withTarget = slice("ns1/svc1", "p80", 80, [
      {
        addresses: ["10.180.0.1"],
        conditions: { ready: true },
        targetRef: { kind: "Pod", namespace: "ns1", name: "pod-a" },
      },
    ]);
    const { renderer } = render([svc1], [withTarget]);
    expect(renderer.originOf("KUBE-SVC-XPGD46QRK7WJZT7O")).toEqual({
      kind: "Service",
      namespace: "ns1",
      name: "svc1",
      detail: "port p80, all endpoints",
    });
    expect(renderer.originOf("KUBE-SEP-SXIVWICOYRO3J4NJ")).toEqual({
      kind: "Pod",
      namespace: "ns1",
      name: "pod-a",
      detail: "endpoint 10.180.0.1:80, 1 of 1",
    });
    expect(renderer.originOf("KUBE-SERVICES", "ns1/svc1:p80 cluster IP")).toEqual({
      kind: "Service",
      namespace: "ns1",
      name: "svc1",
      detail: "port p80, cluster IP",
    });
    expect(renderer.originOf("KUBE-NODEPORTS", "ns1/svc1")).toMatchObject({ name: "svc1", detail: "node port" });
    expect(renderer.originOf("KUBE-POSTROUTING", "kubernetes service traffic requiring SNAT")).toMatchObject({
      kind: "kube-proxy",
    });
    expect(renderer.originOf("FORWARD")).toBeUndefined();
  });
});

describe("IPv6", () => {
  it("is the same with brackets and without localhost", () => {
    const s = service("n/s", {
      clusterIP: "10.9.9.9",
      clusterIPs: ["10.9.9.9", "fd01::9"],
      type: "NodePort",
      ports: ports(30080),
    });
    const node = { ...NODE, ips: ["fd00:1::2"] };
    const text = render([s], [slice("n/s", "p80", 80, ["fd00:2::1"])], {}, 6, node).renderer.full();
    expect(text).toContain("-j DNAT --to-destination [fd00:2::1]:80");
    expect(text).toContain("-d fd01::9 --dport 80 ! -s fd00::/8 -j KUBE-MARK-MASQ");
    expect(text).toContain("--dst-type LOCAL ! -d ::1/128 -j KUBE-NODEPORTS");
    expect(text).not.toContain("KUBE-FIREWALL");
    expect(walk(text, { src: "fd00:2::9", dst: "fd01::9", port: 80 }, node)).toBe("[fd00:2::1]:80");
  });
});

/** Why the real tool cannot be asked here; empty if it can. */
function whyNoTool(tool: string): string {
  if (process.getuid?.() !== 0) return "needs root";
  const probe = spawnSync("unshare", ["-n", tool, "--test"], {
    input: "*nat\n:T - [0:0]\n-A T -m comment --comment x -j RETURN\nCOMMIT\n",
    encoding: "utf8",
  });
  return probe.error !== undefined || probe.status !== 0
    ? `${tool} does not work here: ${(probe.error?.message ?? probe.stderr).split("\n")[0]}`
    : "";
}

describe.each(["iptables-restore", "ip6tables-restore"])("the real %s", (tool) => {
  const why = whyNoTool(tool);
  it.skipIf(why !== "")(`accepts a full and a partial text${why === "" ? "" : ` [skipped: ${why}]`}`, () => {
    const six = tool.startsWith("ip6");
    const eps = six ? ["fd00:2::1@test-node", "fd00:2::2"] : ["10.180.0.1@test-node", "10.180.0.2"];
    const all = six
      ? [service("n/s", { clusterIP: "fd01::9", type: "NodePort", ports: ports(30080), externalIPs: ["2001:db8::9"] })]
      : [svc1, svc5, service("n/s", { type: "NodePort", clusterIP: "172.30.0.9", ports: ports(30080) })];
    const slices = six
      ? [slice("n/s", "p80", 80, eps)]
      : [slice("ns1/svc1", "p80", 80, eps), slice("ns5/svc5", "p80", 80, eps)];
    const node = six ? { ...NODE, ips: ["fd00:1::2"] } : NODE;
    const { renderer, endpoints } = render(all, slices, DEFAULT_PROXY_CONFIG, six ? 6 : 4, node);
    const full = renderer.full();
    endpoints.set(slice(six ? "n/s" : "ns1/svc1", "p80", 80, eps.slice(1)));
    renderer.update();
    const partial = renderer.partial().text();
    const script = `printf %s "$FULL" | ${tool} --noflush --counters && printf %s "$PARTIAL" | ${tool} --noflush --counters && ${tool.replace("restore", "save")} -t nat`;
    const run = spawnSync("unshare", ["-n", "sh", "-c", script], {
      encoding: "utf8",
      env: { ...process.env, FULL: full, PARTIAL: partial },
    });
    expect(run.stderr.replace(/^#.*\n/gm, "")).toBe("");
    expect(run.status).toBe(0);
    const chains = [...run.stdout.matchAll(/^:(KUBE-S\w+-\w{16})/gm)].map((m) => m[1]);
    const expected = [
      ...(renderer
        .full()
        .split("*nat")[1]
        ?.matchAll(/^:(KUBE-S\w+-\w{16})/gm) ?? []),
    ].map((m) => m[1]);
    expect(new Set(chains)).toEqual(new Set(expected));
  });
});
