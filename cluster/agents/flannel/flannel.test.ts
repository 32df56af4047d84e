import { describe, expect, it } from "vitest";
import { FakeBackend } from "../../../backend/fake.ts";
import type { RtnlOp } from "../../../dataplane/netns/rtnl-ops.ts";
import type { Node } from "../../api/node.ts";
import { Manager } from "../../client/manager.ts";
import { NodeIpamController } from "../../controllers/node-ipam.ts";
import { MemoryStore } from "../../store/store-memory.ts";
import { FlannelAgent } from "./agent.ts";
import { annotationsOf, drawVtepMac, type Lease, type LeaseSide, leaseOf, subnetOf } from "./lease.ts";
import { type FlannelConf, flannelConf, networksOf, parseFlannelConf } from "./net-conf.ts";
import { planDevices, planLease, planUnlease, podMtu } from "./plan.ts";
import { flannelRules } from "./rules.ts";
import { formatSubnetEnv } from "./subnet-env.ts";

const UNDERLAY = { dev: "eth0", addresses: ["192.168.0.11/24", "fd00:192:168::11/64"], mtu: 1500 };
const CONF = flannelConf("10.244.0.0/16");
const SIDE: LeaseSide = { subnet: "10.244.2.0/24", publicIp: "192.168.0.12", vtepMac: "02:00:00:00:00:02" };
const SIDE6: LeaseSide = {
  subnet: "fd00:10:244:2::/64",
  publicIp: "fd00:192:168::12",
  vtepMac: "02:00:00:00:06:02",
};
const PEER: Lease = { node: "node-2", backend: "vxlan", sides: [SIDE] };
const DUAL = flannelConf(["fd00:10:244::/56", "10.244.0.0/16"]);
const DUAL_PEER: Lease = { ...PEER, sides: [SIDE, SIDE6] };
const OWN: Lease = {
  ...PEER,
  node: "node-1",
  sides: [
    { subnet: "10.244.1.0/24", publicIp: "192.168.0.11", vtepMac: "02:00:00:00:00:01" },
    { subnet: "fd00:10:244:1::/64", publicIp: "fd00:192:168::11", vtepMac: "02:00:00:00:06:01" },
  ],
};
const node = (name: string, spec: Node["spec"] = {}): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name },
  spec,
});

/** An operation as ip(8) would say it, more or less. */
function say(op: RtnlOp): string {
  switch (op.op) {
    case "neigh.replace":
      return `neigh ${op.address} lladdr ${op.mac} dev ${op.dev} nud ${op.state}`;
    case "fdb.replace":
      return `fdb ${op.mac} dst ${op.dst} dev ${op.dev}`;
    case "route.replace":
      return `route ${op.dst} via ${op.via} dev ${op.dev}${op.onlink === true ? " onlink" : ""}`;
    case "addr.add":
      return `addr ${op.address} dev ${op.dev}`;
    default:
      return op.op;
  }
}

describe("flannel's plans", () => {
  it("lead to another node through the tunnel: neighbour, FDB, route, in this order", () => {
    expect(planLease(CONF, PEER, UNDERLAY).map(say)).toEqual([
      "neigh 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
      "fdb 02:00:00:00:00:02 dst 192.168.0.12 dev flannel.1",
      "route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    ]);
    expect(planLease(DUAL, DUAL_PEER, UNDERLAY).map(say).slice(3)).toEqual([
      "neigh fd00:10:244:2:: lladdr 02:00:00:00:06:02 dev flannel-v6.1 nud permanent",
      "fdb 02:00:00:00:06:02 dst fd00:192:168::12 dev flannel-v6.1",
      "route fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1 onlink",
    ]);
    expect(planUnlease(CONF, PEER, UNDERLAY).map((o) => o.op)).toEqual(["neigh.del", "fdb.del", "route.del"]);
  });

  it("make the device 50 octets smaller than the underlay", () => {
    const [add, addr, set, add6, addr6] = planDevices(DUAL, OWN, UNDERLAY);
    expect(add).toMatchObject({
      op: "link.add",
      name: "flannel.1",
      kind: "vxlan",
      vni: 1,
      port: 8472,
      mtu: 1450,
      learning: false,
      local: "192.168.0.11",
      dev: "eth0",
      mac: "02:00:00:00:00:01",
    });
    expect(add6).toMatchObject({ name: "flannel-v6.1", vni: 1, mtu: 1450, local: "fd00:192:168::11" });
    expect([addr, set, addr6].map((op) => say(op as RtnlOp))).toEqual([
      "addr 10.244.1.0/32 dev flannel.1",
      "link.set",
      "addr fd00:10:244:1::/128 dev flannel-v6.1",
    ]);
    expect(podMtu(flannelConf("10.244.0.0/16", "host-gw"), UNDERLAY)).toBe(1500);
    expect(podMtu({ ...CONF, mtu: 9000 }, UNDERLAY)).toBe(8950);
  });

  it("route directly where the peer is on the link, if that is wanted or the only way", () => {
    const direct = { ...CONF, directRouting: true };
    expect(planLease(direct, PEER, UNDERLAY).map(say)).toEqual(["route 10.244.2.0/24 via 192.168.0.12 dev eth0"]);
    expect(planLease(direct, { ...PEER, sides: [{ ...SIDE, publicIp: "172.16.0.2" }] }, UNDERLAY)).toHaveLength(3);
    const hostGw = flannelConf("10.244.0.0/16", "host-gw");
    expect(planDevices(hostGw, OWN, UNDERLAY)).toEqual([]);
    expect(planLease(hostGw, PEER, UNDERLAY).map(say)).toEqual(["route 10.244.2.0/24 via 192.168.0.12 dev eth0"]);
    expect(() => planLease(hostGw, { ...PEER, sides: [{ ...SIDE, publicIp: "172.16.0.2" }] }, UNDERLAY)).toThrow(
      'node "node-2": 172.16.0.2 is not on the link of eth0',
    );
  });

  it("write the rules in flannel's order", () => {
    const text = flannelRules({ network: "10.244.0.0/16", subnet: "10.244.1.0/24", ipMasq: true });
    expect(
      text
        .split("\n")
        .filter((l) => l.startsWith("-A FLANNEL-POSTRTG"))
        .map((l) => l.replace(/ ?-m comment --comment "flanneld masq"/, "").slice(19)),
    ).toEqual([
      "-m mark --mark 0x4000/0x4000 -j RETURN",
      "-s 10.244.1.0/24 -d 10.244.0.0/16 -j RETURN",
      "-s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
      "! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
      "-s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
      "! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully",
    ]);
    expect(flannelRules({ network: "10.244.0.0/16", subnet: "10.244.1.0/24", ipMasq: false })).not.toContain("*nat");
    expect(flannelRules({ network: "fd00:10:244::/56", subnet: "fd00:10:244:1::/64", ipMasq: true })).toContain(
      '-A FLANNEL-POSTRTG -s fd00:10:244::/56 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE',
    );
  });

  it("write subnet.env", () => {
    const four = { network: "10.244.0.0/16", subnet: "10.244.1.0/24" };
    const six = { network: "fd00:10:244::/56", subnet: "fd00:10:244:1::/64" };
    const [own4, own6] = [
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n",
      "FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n",
    ];
    const rest = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    const settings = { mtu: 1450, ipMasq: true };
    expect(formatSubnetEnv({ ...settings, sides: [four] })).toBe(own4 + rest);
    expect(formatSubnetEnv({ ...settings, sides: [four, six] })).toBe(own4 + own6 + rest);
    expect(formatSubnetEnv({ ...settings, sides: [six] })).toBe(own6 + rest);
  });
});

describe("flannel's leases", () => {
  it("come back from the annotations as they went in", () => {
    const annotated = (lease: Lease, conf: FlannelConf): Node => ({
      ...node("node-2", { podCIDRs: lease.sides.map((side) => side.subnet) }),
      metadata: { name: "node-2", annotations: annotationsOf(lease, conf) },
    });
    expect(leaseOf(annotated(PEER, CONF), CONF)).toEqual(PEER);
    expect(leaseOf(annotated(DUAL_PEER, DUAL), DUAL)).toEqual(DUAL_PEER);
    // An agent that serves both waits for both.
    expect(leaseOf(annotated(PEER, CONF), DUAL)).toBeNull();
    expect(annotationsOf(DUAL_PEER, DUAL)).toEqual({
      "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
      "flannel.alpha.coreos.com/backend-type": "vxlan",
      "flannel.alpha.coreos.com/backend-v6-data": '{"VNI":1,"VtepMAC":"02:00:00:00:06:02"}',
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/public-ip": "192.168.0.12",
      "flannel.alpha.coreos.com/public-ipv6": "fd00:192:168::12",
    });
    expect(leaseOf(node("x", { podCIDR: "10.244.1.0/24" }), CONF)).toBeNull();
  });

  it("need a podCIDR inside the network", () => {
    const [four, six] = networksOf(DUAL);
    if (four === undefined || six === undefined) throw new Error("no networks");
    expect(() => subnetOf(node("x"), four)).toThrow('node "x" pod cidr not assigned');
    expect(() => subnetOf(node("x", { podCIDR: "10.99.1.0/24" }), four)).toThrow(
      "podCIDR 10.99.1.0/24 is not in flannel's Network 10.244.0.0/16",
    );
    expect(() => subnetOf(node("x", { podCIDR: "10.244.1.0/24" }), six)).toThrow('node "x" ipv6 pod cidr not assigned');
    expect(() => subnetOf(node("x", { podCIDRs: ["10.244.1.0/24", "fd00:99::/64"] }), six)).toThrow(
      "podCIDR fd00:99::/64 is not in flannel's IPv6Network fd00:10:244::/56",
    );
  });

  it("have unicast, locally administered MACs", () => {
    for (const name of ["a", "b", "c"]) expect(Number.parseInt(drawVtepMac(1, name, 4).slice(0, 2), 16) & 3).toBe(2);
    expect(drawVtepMac(1, "a", 4)).not.toBe(drawVtepMac(1, "b", 4));
    expect(drawVtepMac(1, "a", 4)).not.toBe(drawVtepMac(1, "a", 6));
  });
});

describe("net-conf.json", () => {
  it("is read with the keys of Backend in any case", () => {
    expect(
      parseFlannelConf(
        '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "vni": 5, "DirectRouting": true}}',
        "f",
      ),
    ).toEqual({ ...CONF, vni: 5, directRouting: true });
  });

  it("is read for both families, or IPv6 alone", () => {
    const six = '"EnableIPv6": true, "IPv6Network": "fd00:10:244::/56", "Backend": {"Type": "vxlan"}';
    expect(parseFlannelConf(`{"Network": "10.244.0.0/16", ${six}}`, "f")).toEqual(DUAL);
    expect(parseFlannelConf(`{"EnableIPv4": false, ${six}}`, "f")).toEqual(flannelConf("fd00:10:244::/56"));
  });

  it.each([
    ["{", "f:1: JSON: found "],
    ['{\n "Backend": {}}', "f:1: Network: found nothing, expected a CIDR such as 10.244.0.0/16"],
    ['{"Network": "10.244.0.0/16",\n"EnableIPv6": true}', "f:1: IPv6Network: found nothing, expected a CIDR"],
    ['{"Network":\n"fd00::/56"}', 'f:1: Network: found "fd00::/56", expected a CIDR such as 10.244.0.0/16'],
    ['{\n"EnableIPv4": false}', "f:2: EnableIPv4: found false, expected true, or EnableIPv6"],
    ['{\n"EnableIPv6": 1}', "f:2: EnableIPv6: found 1, expected true or false"],
    [
      '{"Network": "10.244.0.0/16",\n"Backend": {"Type": "wireguard"}}',
      'f:2: Backend.Type: found "wireguard", expected vxlan or host-gw',
    ],
    [
      '{"Network": "10.244.0.0/16",\n"Backend": {"Type": "vxlan",\n"VNI": "x"}}',
      'f:3: Backend.VNI: found "x", expected an integer from 1 to 16777215',
    ],
  ])("refuses %j", (text, message) => {
    expect(() => parseFlannelConf(text, "f")).toThrow(message);
  });
});

describe("flannel's agents", () => {
  it("find each other, follow changes and forget nodes that are gone", async () => {
    const store = new MemoryStore({ now: () => 0 });
    const manager = new Manager(store, [new NodeIpamController(store, { clusterCidrs: ["10.244.0.0/16"] })]);
    const envs = new Map<string, string>();
    const backends: FakeBackend[] = [];
    for (const [i, name] of ["node-1", "node-2", "node-3"].entries()) {
      const backend = new FakeBackend();
      await backend.apply([
        { op: "link.add", netns: "host", name: "eth0", kind: "dummy", up: true },
        { op: "addr.add", netns: "host", dev: "eth0", address: `192.168.0.1${i + 1}/24` },
      ]);
      backends.push(backend);
      await store.create(node(name));
      const underlay = { ...UNDERLAY, addresses: [`192.168.0.1${i + 1}/24`] };
      manager.add(
        new FlannelAgent({
          nodeName: name,
          store,
          backend,
          conf: CONF,
          underlay,
          salt: 1,
          writeSubnetEnv: (text) => envs.set(name, text),
        }),
      );
    }
    await manager.settle();
    const [first] = backends;
    if (first === undefined) throw new Error("no backend");
    const routes = async (): Promise<string[]> =>
      (await first.routes("host"))
        .filter((r) => r.dev === "flannel.1" && r.via !== undefined)
        .map((r) => `${r.dst} ${r.via}`)
        .sort();
    expect(await routes()).toEqual(["10.244.2.0/24 10.244.2.0", "10.244.3.0/24 10.244.3.0"]);
    expect(envs.get("node-2")).toContain("FLANNEL_SUBNET=10.244.2.1/24");
    expect(await first.iptablesSave("host", "ipv4")).toMatch(/-A POSTROUTING .*-j FLANNEL-POSTRTG/);
    expect(store.get("Node", "", "node-1")?.status?.conditions?.[0]).toMatchObject({
      type: "NetworkUnavailable",
      status: "False",
    });
    await store.delete("Node", "", "node-3");
    await manager.settle();
    expect(await routes()).toEqual(["10.244.2.0/24 10.244.2.0"]);
    expect((await first.fdb("host")).map((f) => f.dst)).toEqual(["192.168.0.12"]);
    const peer = store.get("Node", "", "node-2");
    if (peer === undefined) throw new Error("no node");
    await store.update({
      ...peer,
      metadata: {
        ...peer.metadata,
        annotations: { ...peer.metadata.annotations, "flannel.alpha.coreos.com/public-ip-overwrite": "192.168.0.99" },
      },
    });
    await manager.settle();
    expect((await first.fdb("host")).map((f) => f.dst)).toEqual(["192.168.0.99"]);
  });
});
