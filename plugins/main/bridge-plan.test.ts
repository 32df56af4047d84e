import { describe, expect, it } from "vitest";
import { EMPTY_RESULT } from "../cni/types.ts";
import { parseBridgeConf } from "./bridge-conf.ts";
import { type BridgeWorld, planAdd } from "./bridge-plan.ts";

const PLACE = { netns: "/run/netns/a", ifname: "eth0", containerId: "c1" };
const NAMES = {
  hostIfname: "veth00000001",
  hostMac: "02:00:00:00:00:01",
  containerMac: "02:00:00:00:00:02",
  bridgeMac: "02:00:00:00:00:03",
};
const EMPTY: BridgeWorld = {
  bridge: undefined,
  gateway: false,
  bridgeAddrs: [],
  ipv6: false,
  forwards4: false,
  forwards6: false,
  sandboxRoutes: [],
};
const BRIDGE = {
  ifindex: 2,
  name: "br0",
  kind: "bridge",
  mac: "0a:00:00:00:00:09",
  mtu: 1500,
  up: true,
  carrier: true,
  promisc: false,
  master: null,
  hairpin: false,
  isolated: false,
  alias: "",
  peerIfindex: null,
} as const;
const IPAM = { ...EMPTY_RESULT, ips: [{ address: "10.1.0.2/24" }], routes: [{ dst: "10.0.0.0/8" }] };
const conf = (more: Record<string, string | number | boolean> = {}) =>
  parseBridgeConf({ bridge: "br0", isGateway: true, ipam: { type: "host-local" }, ...more }, "net", "");

describe("the plan of a bridge", () => {
  it("is one list, from the bridge to the routes", () => {
    expect(planAdd(conf({ mtu: 1450 }), PLACE, EMPTY, IPAM, NAMES)).toEqual([
      { op: "link.add", netns: "host", name: "br0", kind: "bridge", mac: "02:00:00:00:00:03", mtu: 1450, up: true },
      { op: "addr.add", netns: "host", dev: "br0", address: "10.1.0.1/24" },
      { op: "sysctl.set", netns: "host", key: "net.ipv4.ip_forward", value: "1" },
      {
        op: "link.add",
        netns: "/run/netns/a",
        name: "eth0",
        kind: "veth",
        mac: "02:00:00:00:00:02",
        mtu: 1450,
        peer: { name: "veth00000001", netns: "host", mac: "02:00:00:00:00:01", mtu: 1450, master: "br0", up: true },
      },
      { op: "link.set", netns: "host", name: "veth00000001", alias: "podwire:net:c1:eth0" },
      { op: "sysctl.set", netns: "/run/netns/a", key: "net.ipv4.conf.eth0.arp_notify", value: "1" },
      { op: "addr.add", netns: "/run/netns/a", dev: "eth0", address: "10.1.0.2/24" },
      { op: "link.set", netns: "/run/netns/a", name: "eth0", up: true },
      { op: "route.add", netns: "/run/netns/a", dst: "10.0.0.0/8", dev: "eth0", via: "10.1.0.1" },
    ]);
  });

  it("leaves a bridge alone that is as it should be", () => {
    const world = { ...EMPTY, bridge: BRIDGE, bridgeAddrs: ["10.1.0.1/24"], forwards4: true };
    expect(planAdd(conf(), PLACE, world, IPAM, NAMES)[0]).toMatchObject({ op: "link.add", kind: "veth" });
  });

  it("brings up a bridge that is down, and pins its MAC before its first address", () => {
    const world = { ...EMPTY, bridge: { ...BRIDGE, up: false }, forwards4: true };
    expect(planAdd(conf(), PLACE, world, IPAM, NAMES).slice(0, 3)).toEqual([
      { op: "link.set", netns: "host", name: "br0", up: true },
      { op: "link.set", netns: "host", name: "br0", mac: "0a:00:00:00:00:09" },
      { op: "addr.add", netns: "host", dev: "br0", address: "10.1.0.1/24" },
    ]);
  });

  it("gives a route a worse metric where another interface has its place", () => {
    const world = {
      ...EMPTY,
      sandboxRoutes: [
        { dst: "10.0.0.0/8", dev: "eth1" },
        { dst: "10.0.0.0/8", dev: "eth2", metric: 1 },
      ],
    };
    expect(planAdd(conf(), PLACE, world, IPAM, NAMES).at(-1)).toMatchObject({ dst: "10.0.0.0/8", metric: 2 });
  });

  it("knows the fields of routes of 1.1.0", () => {
    const routes = [{ dst: "10.9.0.0/16", mtu: 1300, priority: 7, table: 100, scope: 253 }];
    expect(planAdd(conf(), PLACE, EMPTY, { ...IPAM, routes }, NAMES).at(-1)).toEqual({
      op: "route.add",
      netns: "/run/netns/a",
      dst: "10.9.0.0/16",
      dev: "eth0",
      metric: 7,
      table: 100,
      mtu: 1300,
      scope: "link",
    });
  });

  it("writes a dot in a device's name as sysctl does", () => {
    const ops = planAdd(
      conf({ bridge: "br0.7" }),
      { ...PLACE, ifname: "eth0.5" },
      { ...EMPTY, ipv6: true },
      IPAM,
      NAMES,
    );
    const keys = ops.flatMap((op) => (op.op === "sysctl.set" ? [op.key] : []));
    expect(keys).toContain("net.ipv6.conf.br0/7.accept_ra");
    expect(keys).toContain("net.ipv4.conf.eth0/5.arp_notify");
  });
});
