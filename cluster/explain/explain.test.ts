import { describe, expect, it } from "vitest";
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
    await expect(load({ iptables: { file: "r", text: rules } })).rejects.toThrow(/^r:3: .*set BAD does not exist/);
    await expect(load({ ipsets: { file: "s", text: "create BAD hash:what\n" } })).rejects.toThrow(
      /^s:1: ipset.restore/,
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

describe("opsOf", () => {
  it.each([
    [{ addrs: { file: "a.json", text: "nonsense" } }, /^a\.json: JSON: found/],
    [{ addrs: { file: "a.json", text: "{}" } }, /^a\.json: document: found \{\}/],
    [{ addrs: { file: "a.json", text: '[{"mtu": 1}]' } }, /^a\.json: \[0\]\.ifname: found nothing/],
    [{ routes: { file: "r.json", text: '[{"dev": "eth0"}]' } }, /^r\.json: \[0\]\.dst: found nothing/],
  ])("refuses %j", (dumps, message) => {
    expect(() => opsOf(dumps)).toThrow(message);
  });

  it("refuses a flow of IPv6", async () => {
    const node = await ExplainedNode.load(DUMPS);
    expect(() => node.explain(parseFlow("TCP [fd00::1]:4000 > [fd00::2]:80", "test", 1))).toThrow(
      /^flow: family: found TCP \[fd00::1\]:4000 > \[fd00::2\]:80, expected an IPv4 flow/,
    );
  });

  it("names file, line and module of a rule that it does not know", async () => {
    const iptables = { file: "rules.v4", text: "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m sorcery -j DROP\nCOMMIT\n" };
    await expect(ExplainedNode.load({ iptables })).rejects.toThrow(/^rules\.v4:3: .*sorcery/);
  });
});
