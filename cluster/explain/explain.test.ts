import { describe, expect, it } from "vitest";
import { formatInputIssue } from "../manifests/input-error.ts";
import { parseFlow } from "../trace/first-packet.ts";
import type { TraceResult } from "../trace/result.ts";
import { type Dumps, opsOf } from "./dumps.ts";
import { ExplainedNode } from "./explain.ts";

const ADDRS = JSON.stringify([
  { ifname: "lo", flags: ["LOOPBACK", "UP"], addr_info: [{ family: "inet", local: "127.0.0.1", prefixlen: 8 }] },
  { ifname: "eth0", flags: ["UP"], mtu: 1500, addr_info: [{ family: "inet", local: "192.168.0.11", prefixlen: 24 }] },
  { ifname: "cni0", flags: ["UP"], mtu: 1450, addr_info: [{ family: "inet", local: "10.244.1.1", prefixlen: 24 }] },
  {},
]);
const ROUTES = JSON.stringify([
  { dst: "default", gateway: "192.168.0.1", dev: "eth0" },
  { dst: "192.168.0.0/24", dev: "eth0", protocol: "kernel", scope: "link", prefsrc: "192.168.0.11" },
  { dst: "10.244.2.0/24", gateway: "10.244.2.0", dev: "flannel.1", flags: ["onlink"] },
  { type: "blackhole", dst: "10.66.0.0/16", flags: [] },
  { type: "local", dst: "192.168.0.11", table: "local", dev: "eth0" },
]);
const RULES = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -m comment --comment "the API" -j DNAT --to-destination 10.244.2.5:6443
-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 ! -s 192.168.0.0/24 -j DROP
-A FORWARD -d 10.244.2.9/32 -j REJECT --reject-with icmp-admin-prohibited
COMMIT
`;

const DUMPS: Dumps = {
  addrs: { file: "addrs.json", text: ADDRS },
  routes: { file: "routes.json", text: ROUTES },
  iptables: { file: "rules.v4", text: RULES },
};

async function explain(flow: string): Promise<TraceResult> {
  return (await ExplainedNode.load(DUMPS)).explain(parseFlow(flow, "test", 1));
}

describe("ExplainedNode", () => {
  it("follows DNAT and the route to the device that the packet leaves by", async () => {
    const result = await explain("TCP 10.244.1.9:4000 > 10.96.0.1:443");
    expect(result).toMatchObject({
      verdict: "delivered",
      masqueraded: false,
      deliveredTo: { kind: "Device", name: "flannel.1", ip: "10.244.2.5", port: 6443 },
    });
    expect(result.hops.find((h) => h.rule?.chain === "PREROUTING")?.rule).toMatchObject({
      number: 1,
      origin: "the API",
    });
  });

  it("sees a pod leave masqueraded", async () => {
    const result = await explain("TCP 10.244.1.9:4000 > 8.8.8.8:53");
    expect(result).toMatchObject({ verdict: "delivered", masqueraded: true, deliveredTo: { name: "eth0" } });
    expect(result.hops.at(-1)?.packet).toMatch(/^192\.168\.0\.11:\d+ → 8\.8\.8\.8:53$/);
  });

  it.each([
    ["TCP 192.168.0.50:4000 > 192.168.0.11:22", "delivered", "Node"],
    ["TCP 203.0.113.5:4000 > 192.168.0.11:22", "dropped", undefined],
    ["UDP 203.0.113.5:4000 > 192.168.0.11:22", "delivered", "Node"],
    ["TCP 10.244.1.9:4000 > 10.244.2.9:80", "rejected", undefined],
    ["TCP 10.244.1.9:4000 > 10.66.1.1:80", "dropped", undefined],
    ["TCP 192.168.0.11:4000 > 10.244.2.5:80", "delivered", "Device"],
  ])("%s: %s", async (flow, verdict, kind) => {
    const result = await explain(flow);
    expect([result.verdict, result.deliveredTo?.kind]).toEqual([verdict, kind]);
  });

  it("takes the packet in where it is told to", async () => {
    const node = await ExplainedNode.load(DUMPS);
    const flow = parseFlow("TCP 10.244.1.9:4000 > 8.8.8.8:53", "test", 1);
    expect(node.explain(flow, { input: "eth0" }).hops[0]).toMatchObject({ device: "eth0", step: "in" });
    expect(() => node.explain(flow, { input: "nope" })).toThrow(
      /^command line: --in: found nope, expected one of eth0/,
    );
  });
});

describe("sets, virtual services and neighbours", () => {
  const load = (more: Dumps): Promise<ExplainedNode> => ExplainedNode.load({ ...DUMPS, ...more });
  const ask = (node: ExplainedNode, flow: string): TraceResult => node.explain(parseFlow(flow, "test", 1));

  it("asks the sets of the dump", async () => {
    const rules = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set BAD src,dst -j DROP\nCOMMIT\n";
    const sets = "create BAD hash:ip,port family inet hashsize 1024 maxelem 65536\nadd BAD 10.244.1.9,udp:53\n";
    const node = await load({ iptables: { file: "r", text: rules }, ipsets: { file: "s", text: sets } });
    expect(ask(node, "UDP 10.244.1.9:4000 > 10.244.2.5:53").verdict).toBe("dropped");
    expect(ask(node, "UDP 10.244.1.9:4000 > 10.244.2.5:54").verdict).toBe("delivered");
    await expect(load({ iptables: { file: "r", text: rules } })).rejects.toThrow(
      /^r:3:31: rules: found set: set BAD does not exist, expected what iptables-save prints$/,
    );
    await expect(load({ ipsets: { file: "s", text: "create BAD hash:what\n" } })).rejects.toThrow(
      /^s:1:12: sets: found ipset: set BAD: type "hash:what"/,
    );
  });

  it("sends what is for a virtual service to its real server", async () => {
    const text = "-A -t 192.168.0.11:80 -s rr\n-a -t 192.168.0.11:80 -r 10.244.2.7:8080 -m -w 1\n";
    const result = ask(await load({ ipvs: { file: "v", text } }), "TCP 192.168.0.50:4000 > 192.168.0.11:80");
    expect(result).toMatchObject({
      verdict: "delivered",
      deliveredTo: { kind: "Device", name: "flannel.1", ip: "10.244.2.7", port: 8080 },
    });
  });

  it("follows nft rules", async () => {
    const text =
      "table ip t {\n\tchain f {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tudp dport 53 drop\n\t}\n}\n";
    const node = await ExplainedNode.load({
      ...(DUMPS.addrs === undefined ? {} : { addrs: DUMPS.addrs }),
      ...(DUMPS.routes === undefined ? {} : { routes: DUMPS.routes }),
      nft: { file: "n", text },
    });
    expect(ask(node, "UDP 10.244.1.9:4000 > 10.244.2.5:53").verdict).toBe("dropped");
    expect(ask(node, "UDP 10.244.1.9:4000 > 10.244.2.5:54").verdict).toBe("delivered");
  });

  it("knows a neighbour that did not answer", async () => {
    const list = [
      { dst: "192.168.0.1", dev: "eth0", lladdr: "02:00:00:00:00:01", state: ["REACHABLE"] },
      { dst: "192.168.0.66", dev: "eth0", state: ["FAILED"] },
    ];
    const node = await load({ neighs: { file: "neigh.json", text: JSON.stringify(list) } });
    expect(ask(node, "UDP 10.244.1.9:4000 > 8.8.8.8:53").verdict).toBe("delivered");
    expect(ask(node, "UDP 10.244.1.9:4000 > 192.168.0.67:53").verdict).toBe("delivered");
    expect(ask(node, "UDP 10.244.1.9:4000 > 192.168.0.66:53")).toMatchObject({
      // The node says so to the sender.
      verdict: "rejected",
      reason: { code: "SKB_DROP_REASON_NEIGH_FAILED" },
    });
  });
});

describe("gateways of the other family", () => {
  const addrs = [
    { ifname: "eth0", addr_info: [{ family: "inet", local: "192.168.0.11", prefixlen: 24 }] },
    { ifname: "swp1", addr_info: [] },
  ];
  const of = (...routes: readonly object[]): Dumps => ({
    addrs: { file: "a", text: JSON.stringify(addrs) },
    routes: { file: "r", text: JSON.stringify(routes) },
  });
  const flow = parseFlow("UDP 192.168.0.50:4000 > 10.1.2.3:53", "test", 1);

  it.each(["10.1.0.0/16", "default"])("lead IPv4 to %s", async (dst) => {
    const dumps = of({ dst, via: { family: "inet6", host: "fe80::1" }, dev: "swp1", flags: [] });
    const said = (await ExplainedNode.load(dumps)).explain(flow);
    expect([said.verdict, said.deliveredTo?.name]).toEqual(["delivered", "swp1"]);
    expect(said.hops.map((hop) => hop.action).join("\n")).toMatch(/via inet6 fe80::1 dev swp1/);
  });

  it("are named where they are no addresses", async () => {
    await expect(ExplainedNode.load(of({ dst: "10.1.0.0/16", via: { family: "mpls" }, dev: "swp1" }))).rejects.toThrow(
      /^r: \[0\]\.via: found \{"family":"mpls"\}/,
    );
  });
});

describe("IPv6", () => {
  const addrs = [
    { ifname: "lo", addr_info: [{ family: "inet6", local: "::1", prefixlen: 128 }] },
    { ifname: "eth0", addr_info: [{ family: "inet6", local: "fd00:192::11", prefixlen: 64 }] },
    { ifname: "cni0", addr_info: [{ family: "inet6", local: "fd00:244:1::1", prefixlen: 64 }] },
  ];
  const routes = [
    { dst: "default", gateway: "fd00:192::1", dev: "eth0", metric: 1024 },
    { dst: "fe80::/64", dev: "eth0", protocol: "kernel", metric: 256 },
    { type: "unreachable", dst: "fd00:66::/64", dev: "lo", metric: 1024 },
  ];
  const rules = [
    "*nat",
    ":PREROUTING ACCEPT [0:0]",
    "-A PREROUTING -d fd00:96::1/128 -p tcp -m tcp --dport 443 -j DNAT --to-destination [fd00:244:1::5]:6443",
    "COMMIT",
    "",
  ].join("\n");
  const dumps: Dumps = {
    addrs: { file: "a", text: JSON.stringify(addrs) },
    routes6: { file: "r", text: JSON.stringify(routes) },
    ip6tables: { file: "rules.v6", text: rules },
    neighs: { file: "n", text: JSON.stringify([{ dst: "fd00:192::66", dev: "eth0", state: ["FAILED"] }]) },
  };

  it.each([
    ["TCP [fd00:192::50]:4000 > [fd00:96::1]:443", "delivered", "cni0", "fd00:244:1::5"],
    ["UDP [fd00:244:1::5]:4000 > [2001:db8::1]:53", "delivered", "eth0", "2001:db8::1"],
    ["TCP [fd00:192::50]:4000 > [fd00:192::11]:22", "delivered", "node", "fd00:192::11"],
    ["UDP [fd00:244:1::5]:4000 > [fd00:66::1]:53", "rejected", undefined, undefined],
    ["UDP [fd00:244:1::5]:4000 > [fd00:192::66]:53", "rejected", undefined, undefined],
  ])("%s: %s", async (flow, verdict, name, ip) => {
    const { verdict: said, deliveredTo } = (await ExplainedNode.load(dumps)).explain(parseFlow(flow, "test", 1));
    expect([said, deliveredTo?.name, deliveredTo?.ip]).toEqual([verdict, name, ip]);
  });

  it("names the file of a rule or a route that is wrong", async () => {
    const ip6tables = { file: "rules.v6", text: "*filter\n-A INPUT -s 10.0.0.1/32 -j DROP\nCOMMIT\n" };
    await expect(ExplainedNode.load({ ...dumps, ip6tables })).rejects.toThrow(
      /^rules\.v6:2:13: rules: found option -s: "10.0.0.1\/32" is not an IPv6/,
    );
    const routes6 = { file: "r", text: JSON.stringify([{ dst: "fd00::/300", dev: "eth0" }]) };
    await expect(ExplainedNode.load({ ...dumps, routes6 })).rejects.toThrow(/^r: route\.replace/);
    const neighs = { file: "n", text: JSON.stringify([{ dst: "fd00::x", dev: "eth0" }]) };
    await expect(ExplainedNode.load({ ...dumps, neighs })).rejects.toThrow(/^n: \[0\]\.dst: found "fd00::x"/);
  });
});

describe("rules that are not known", () => {
  const text = [
    "*filter",
    ":FORWARD ACCEPT [0:0]",
    ":LOOP - [0:0]",
    "-A FORWARD -m sorcery --spell 3 -j DROP",
    "-A FORWARD -j SYNPROXY --mss 1460",
    "-A FORWARD -j NOWHERE",
    "-A FORWARD -p udp -m udp --dport 53 -j DROP",
    "COMMIT",
    "",
  ].join("\n");
  const iptables = { file: "r", text };

  it("match nothing where they are read leniently, and are named", async () => {
    const node = await ExplainedNode.load({ ...DUMPS, iptables }, { lenient: true });
    const verdict = (port: number): string =>
      node.explain(parseFlow(`UDP 10.244.1.9:4000 > 10.244.2.5:${port}`, "test", 1)).verdict;
    expect([verdict(54), verdict(53)]).toEqual(["delivered", "dropped"]);
    expect(node.warnings.map(formatInputIssue)).toEqual(
      [
        [4, 'match "sorcery" is not known'],
        [5, "unknown option --mss"],
        [6, "chain or target NOWHERE does not exist"],
      ].map(
        ([line, found]) => `r:${line}: rules: found ${found}, expected a rule that is known; this one matches nothing`,
      ),
    );
  });

  it("of nftables match nothing where they are read leniently, and are named", async () => {
    const rules = [
      "table inet t {",
      "\tchain c {",
      "\t\ttype filter hook forward priority 0; policy accept;",
      "\t\tip daddr 10.244.2.5 synproxy mss 1460 wscale 7",
      "\t\tudp dport 53 meta cgroup 5 drop",
      "\t\tudp dport { 54, 55 } drop",
      "\t}",
      "}",
      "",
    ];
    const nft = { file: "n", text: rules.join("\n") };
    const node = await ExplainedNode.load({ ...DUMPS, nft }, { lenient: true });
    const verdict = (port: number): string =>
      node.explain(parseFlow(`UDP 10.244.1.9:4000 > 10.244.2.5:${port}`, "test", 1)).verdict;
    expect([verdict(53), verdict(54)]).toEqual(["delivered", "dropped"]);
    expect(node.warnings.map(formatInputIssue)).toEqual(
      [
        ["4:23", "synproxy: the statement is not supported"],
        ["5:21", 'meta: "cgroup" is not supported'],
      ].map(
        ([place, found]) =>
          `n:${place}: rules: found ${found}, expected a rule that is known; this one matches nothing`,
      ),
    );
    await expect(ExplainedNode.load({ ...DUMPS, nft })).rejects.toThrow(/^n:4:23: rules: found synproxy/);
    const bad = { file: "n", text: nft.text.replace("54, 55", "54, 555555") };
    await expect(ExplainedNode.load({ ...DUMPS, nft: bad }, { lenient: true })).rejects.toThrow(/^n:6:19: /);
  });

  it("are refused otherwise, and what is malformed is refused leniently too", async () => {
    await expect(ExplainedNode.load({ ...DUMPS, iptables })).rejects.toThrow(/^r:4:15: rules: found match "sorcery"/);
    const bad = { file: "r", text: "*filter\n-A FORWARD -s 10.0.0.300 -j DROP\nCOMMIT\n" };
    await expect(ExplainedNode.load({ ...DUMPS, iptables: bad }, { lenient: true })).rejects.toThrow(/^r:2:15: /);
  });

  it("name the line of the jump where chains lead in a circle", async () => {
    const circle = ["*filter", ":A - [0:0]", ":B - [0:0]", "-A A -p udp", "-A A -j B", "-A B -j A", "COMMIT", ""];
    const rules = { file: "r", text: circle.join("\n") };
    await expect(ExplainedNode.load({ ...DUMPS, iptables: rules })).rejects.toThrow(
      /^r:5:\d+: rules: found chain A leads back to itself by B/,
    );
  });
});

describe("what two dumps show", () => {
  const chain = "\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy accept;";
  const nft = {
    file: "n",
    text: `table ip filter {\n${chain}\n\t\tudp dport 53 counter packets 0 bytes 0 drop\n\t}\n}\ntable ip own {\n${chain}\n\t\tudp dport 54 drop\n\t}\n}\n`,
  };
  const saved = (by: string): Dumps => ({
    iptables: { file: "r", text: `# Generated by iptables-save v1.8.9${by}\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n` },
  });

  it.each([
    ["iptables-nft's rules once", saved(" (nf_tables)"), ["delivered", "dropped"]],
    ["nftables' rules beside iptables-legacy's", saved(""), ["dropped", "dropped"]],
    ["nftables' rules alone", {}, ["dropped", "dropped"]],
  ] as const)("reads %s", async (_, dumps, verdicts) => {
    const { iptables: _own, ...rest } = DUMPS;
    const node = await ExplainedNode.load({ ...rest, ...dumps, nft });
    const ask = (port: number): string =>
      node.explain(parseFlow(`UDP 10.244.1.9:4000 > 10.244.2.5:${port}`, "test", 1)).verdict;
    expect([ask(53), ask(54)]).toEqual(verdicts);
  });

  it("has addresses on loopback", async () => {
    const lo = { ifname: "lo", addr_info: [{ family: "inet", local: "192.168.0.200", prefixlen: 32 }] };
    const addrs = { file: "a", text: JSON.stringify([...JSON.parse(ADDRS), lo]) };
    const node = await ExplainedNode.load({ ...DUMPS, addrs });
    const flow = parseFlow("UDP 192.168.0.50:4000 > 192.168.0.200:53", "test", 1);
    expect(node.explain(flow).deliveredTo).toMatchObject({ kind: "Node", ip: "192.168.0.200" });
  });
});

describe("opsOf", () => {
  it.each([
    [{ addrs: { file: "a.json", text: "nonsense" } }, /^a\.json: JSON: found/],
    [{ addrs: { file: "a.json", text: "{}" } }, /^a\.json: document: found \{\}/],
    [{ addrs: { file: "a.json", text: '[{"mtu": 1}]' } }, /^a\.json: \[0\]\.ifname: found nothing/],
    [{ routes: { file: "r.json", text: '[{"dev": "eth0"}]' } }, /^r\.json: \[0\]\.dst: found nothing/],
  ])("refuses %j", (dumps, message) => {
    expect(() => opsOf(dumps)).toThrow(message);
  });

  it("names file, line and module of a rule that it does not know", async () => {
    const iptables = { file: "rules.v4", text: "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m sorcery -j DROP\nCOMMIT\n" };
    await expect(ExplainedNode.load({ iptables })).rejects.toThrow(/^rules\.v4:3:13: .*sorcery/);
  });
});
