import { describe, expect, it } from "vitest";
import { type TwoNodes, twoNodes } from "../../bench/layouts/two-nodes.ts";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpFdb } from "../netns/rtnl-dump.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as ip from "../wire/ipv4.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";
import * as udp from "../wire/udp.ts";
import * as vxlan from "../wire/vxlan.ts";

const TO = ipv4("10.244.2.2");
const OUTER = 14;
const UDP = OUTER + 20;
const INNER = UDP + 8 + 8;

/** Sends one datagram from a port of pod 1 to pod 2; answers whether it arrived. */
function send(layout: TwoNodes, port = 4000, size = 20): boolean {
  let arrived = false;
  const server = UdpSocket.bind(layout.pods[1], ANY, 9, {
    datagram: () => {
      arrived = true;
    },
  });
  const client = UdpSocket.bind(layout.pods[0], ANY, port, { datagram: () => {} });
  client?.send(TO, 9, new Uint8Array(size), 0, size);
  layout.world.loop.runNow();
  server?.close();
  client?.close();
  return arrived;
}

/** What leaves node 1's card as VXLAN. */
function outer(layout: TwoNodes): { frames: () => Uint8Array[] } {
  const capture = new Capture().attach(layout.nodes[0].root.dev("eth0") as NetDev);
  const tunnelled = (b: Uint8Array): boolean =>
    ethernet.etherType(b, 0) === ethernet.ETH_P_IP && ip.protocol(b, OUTER) === 17;
  return {
    frames: () => capture.frames.filter((f) => f.direction === "out" && tunnelled(f.bytes)).map((f) => f.bytes),
  };
}

function recreate(layout: TwoNodes, attrs: object): void {
  const netns = "host";
  applyOps(layout.nodes[0], [
    { op: "link.del", netns, name: "flannel.1" },
    {
      op: "link.add",
      netns,
      name: "flannel.1",
      kind: "vxlan",
      vni: 1,
      local: "192.168.0.11",
      dev: "eth0",
      mac: "0a:00:00:00:00:01",
      learning: false,
      up: true,
      ...attrs,
    },
    { op: "addr.add", netns, dev: "flannel.1", address: "10.244.1.0/32" },
    { op: "neigh.replace", netns, dev: "flannel.1", address: "10.244.2.0", mac: "0a:00:00:00:00:02" },
    { op: "fdb.replace", netns, dev: "flannel.1", mac: "0a:00:00:00:00:02", dst: "192.168.0.12" },
    { op: "route.add", netns, dst: "10.244.2.0/24", via: "10.244.2.0", dev: "flannel.1", onlink: true },
  ]);
}

describe("a VXLAN device", () => {
  it("puts frames into UDP with right checksums, outside and inside, TTL 64 and no don't-fragment", () => {
    const layout = twoNodes();
    const seen = outer(layout);
    for (const size of [0, 1, 20, 1_422]) expect(send(layout, 4000, size)).toBe(true);
    const frames = seen.frames();
    expect(frames).toHaveLength(4);
    for (const b of frames) {
      expect([ip.ttl(b, OUTER), ip.dontFragment(b, OUTER), ip.tos(b, OUTER)]).toEqual([64, false, 0]);
      expect(udp.verify4(b, UDP, b.length - UDP, ip.src(b, OUTER), ip.dst(b, OUTER))).toBe(true);
      expect([udp.dstPort(b, UDP), vxlan.vni(b, UDP + 8)]).toEqual([8472, 1]);
      const at = INNER + 14;
      expect(udp.verify4(b, at + 20, b.length - at - 20, ip.src(b, at), ip.dst(b, at))).toBe(true);
      expect(ip.ttl(b, at)).toBe(63);
    }
  });

  it("keeps a flow on one source port, and spreads flows over the ephemeral range", () => {
    const layout = twoNodes();
    const seen = outer(layout);
    for (let flow = 0; flow < 200; flow++) for (let i = 0; i < 2; i++) send(layout, 4000 + flow);
    const ports = seen.frames().map((b) => udp.srcPort(b, UDP));
    for (let flow = 0; flow < 200; flow++) expect(ports[2 * flow]).toBe(ports[2 * flow + 1]);
    expect(new Set(ports).size).toBeGreaterThan(190);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(32_768);
    expect(Math.max(...ports)).toBeLessThanOrEqual(60_999);
    expect(Math.max(...ports) - Math.min(...ports)).toBeGreaterThan(25_000);
  });

  it("drops frames for a VNI that the other side does not have", () => {
    const layout = twoNodes();
    recreate(layout, { vni: 7 });
    expect(send(layout)).toBe(false);
    expect(layout.nodes[1].root.drops[DropReason.VXLAN_VNI_NOT_FOUND]).toBe(1);
  });

  it("drops what its database has no VTEP for", () => {
    const layout = twoNodes();
    applyOps(layout.nodes[0], [{ op: "fdb.del", netns: "host", dev: "flannel.1", mac: "0a:00:00:00:00:02" }]);
    expect(send(layout)).toBe(false);
    expect(layout.nodes[0].root.drops[DropReason.VXLAN_NO_REMOTE]).toBe(1);
  });

  it("learns senders while learning is on, and not while it is off", () => {
    const layout = twoNodes();
    recreate(layout, { learning: true });
    const socket = UdpSocket.bind(layout.pods[1], ANY, 0, { datagram: () => {} });
    socket?.send(ipv4("10.244.1.2"), 9, new Uint8Array(1), 0, 1);
    layout.world.loop.runNow();
    const macs = (node: 0 | 1): string[] =>
      dumpFdb(layout.nodes[node].root)
        .filter((e) => e.dev === "flannel.1" && e.state === "")
        .map((e) => `${e.mac} ${e.dst}`);
    expect(macs(0)).toEqual([]);
    applyOps(layout.nodes[0], [{ op: "fdb.del", netns: "host", dev: "flannel.1", mac: "0a:00:00:00:00:02" }]);
    socket?.send(ipv4("10.244.1.2"), 9, new Uint8Array(1), 0, 1);
    layout.world.loop.runNow();
    expect(macs(0)).toEqual(["0a:00:00:00:00:02 192.168.0.12"]);
    expect(macs(1)).toEqual([]);
  });

  it("sends with a TTL of its own, and without outer checksums, when told so", () => {
    const layout = twoNodes();
    recreate(layout, { ttl: 9, udpCsum: false });
    const seen = outer(layout);
    expect(send(layout)).toBe(true);
    const b = seen.frames()[0] as Uint8Array;
    expect([ip.ttl(b, OUTER), udp.checksum(b, UDP)]).toEqual([9, 0]);
    const at = INNER + 14;
    expect(udp.verify4(b, at + 20, b.length - at - 20, ip.src(b, at), ip.dst(b, at))).toBe(true);
  });

  it("has fifty octets less MTU than its underlay, and fragments outside where it has more without one", () => {
    const layout = twoNodes();
    expect((layout.nodes[0].root.dev("flannel.1") as NetDev).mtu).toBe(1_450);
    recreate(layout, { mtu: 1_500 });
    expect((layout.nodes[0].root.dev("flannel.1") as NetDev).mtu).toBe(1_450);
    recreate(layout, { mtu: 1_500, dev: undefined });
    applyOps(layout.nodes[0], [
      { op: "link.set", netns: "/var/run/netns/pod", name: "eth0", mtu: 1_500 },
      { op: "link.set", netns: "host", name: "veth0", mtu: 1_500 },
      { op: "link.set", netns: "host", name: "cni0", mtu: 1_500 },
    ]);
    const seen = outer(layout);
    expect(send(layout, 4000, 1_400)).toBe(true);
    expect(seen.frames()).toHaveLength(1);
    expect(send(layout, 4000, 1_450)).toBe(false);
    expect(seen.frames()).toHaveLength(3);
  });

  it("shares its port with devices of other VNIs, and gives it back with the last", () => {
    const layout = twoNodes();
    const root = layout.nodes[0].root;
    const vx = { op: "link.add", netns: "host", kind: "vxlan", local: "192.168.0.11" } as const;
    applyOps(layout.nodes[0], [{ ...vx, name: "vx2", vni: 2 }]);
    expect(() => applyOps(layout.nodes[0], [{ ...vx, name: "vx3", vni: 2 }])).toThrow("vni 2");
    applyOps(layout.nodes[0], [{ op: "link.del", netns: "host", name: "flannel.1" }]);
    expect(root.udp.inUse(8472)).toBe(true);
    applyOps(layout.nodes[0], [{ op: "link.del", netns: "host", name: "vx2" }]);
    expect(root.udp.inUse(8472)).toBe(false);
  });
});
