import { describe, expect, it } from "vitest";
import type { NetDev } from "../dev/netdev.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpQdiscs } from "../netns/rtnl-dump.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { mac } from "../wire/mac-addr.ts";

const OCTETS = 1000;
const FAR = mac("0a:00:00:00:00:02");

/** A veth whose near end is shaped: 1000 octets a second, three packets at once, two that wait. */
function shaped(more: readonly RtnlOp[] = []) {
  const world = new World(1);
  const host = new Host(world, "node");
  const netns = host.addNetns("pod");
  applyOps(host, [
    {
      op: "link.add",
      netns: "host",
      name: "v0",
      kind: "veth",
      up: true,
      peer: { name: "eth0", netns, mac: "0a:00:00:00:00:02", up: true },
    },
    { op: "qdisc.add", netns: "host", dev: "v0", kind: "tbf", rate: 1000, burst: 3000, limit: 2000 },
    ...more,
  ]);
  const [near, far] = [host.root.dev("v0") as NetDev, host.netns(netns).dev("eth0") as NetDev];
  const send = (count: number, from: NetDev = near, size = OCTETS): void => {
    for (let i = 0; i < count; i++) {
      const skb = world.pool.alloc(size);
      ethernet.write(skb.buf, skb.data, FAR, from.mac, 0x88b5);
      skb.end = skb.data + size;
      skb.mac = skb.data;
      from.transmit(skb);
    }
    world.loop.runNow();
  };
  const pass = (ms: number): void => world.loop.run({ deadline: world.loop.time + ms });
  return { world, host, netns, near, far, send, pass };
}

describe("a token bucket", () => {
  it("lets the burst through at once, holds what its queue takes, and drops the rest", () => {
    const { world, host, near, far, send, pass } = shaped();
    send(10);
    expect(far.rxPackets).toBe(3);
    expect(near.qdisc?.backlog).toBe(2000);
    expect(dumpQdiscs(host.root)).toMatchObject([{ sent: 3, drops: 5 }]);
    expect(host.root.drops[DropReason.QDISC_DROP]).toBe(5);
    pass(999);
    expect(far.rxPackets).toBe(3);
    pass(2);
    expect(far.rxPackets).toBe(4);
    pass(1000);
    expect(far.rxPackets).toBe(5);
    expect(world.pool.live).toBe(0);
  });

  it("sends at its rate over time", () => {
    const { far, send, pass } = shaped();
    for (let i = 0; i < 100; i++) {
      send(1);
      pass(100);
    }
    // three at once, one a second for ten, and what still waits
    expect(far.rxPackets).toBeGreaterThanOrEqual(12);
    expect(far.rxPackets).toBeLessThanOrEqual(13);
  });

  it("collects no more tokens than its burst", () => {
    const { far, send, pass } = shaped();
    pass(60_000);
    send(10);
    expect(far.rxPackets).toBe(3);
  });

  it("drops what is longer than its burst", () => {
    const { far, near, send, pass } = shaped();
    send(1, near, 3001);
    pass(10_000);
    expect(far.rxPackets).toBe(0);
    expect(near.qdisc?.drops).toBe(1);
  });

  it("forgets what waits when the device goes down or the qdisc is removed", () => {
    for (const op of [
      { op: "link.set", netns: "host", name: "v0", up: false },
      { op: "qdisc.del", netns: "host", dev: "v0", kind: "tbf" },
    ] as const) {
      const { world, host, far, send, pass } = shaped();
      send(5);
      applyOps(host, [op]);
      expect(world.pool.live).toBe(0);
      pass(10_000);
      expect(far.rxPackets).toBe(3);
    }
  });
});

describe("an ifb device", () => {
  const REDIRECTED: readonly RtnlOp[] = [
    { op: "link.add", netns: "host", name: "ifb0", kind: "ifb", up: true },
    { op: "qdisc.add", netns: "host", dev: "v0", kind: "ingress" },
    { op: "filter.add", netns: "host", dev: "v0", redirect: "ifb0" },
    { op: "qdisc.add", netns: "host", dev: "ifb0", kind: "tbf", rate: 1000, burst: 2000, limit: 1000 },
  ];

  it("holds up what comes in by another device, which then goes on there", () => {
    const { world, host, near, far, send, pass } = shaped(REDIRECTED);
    const passed = (): number => host.root.drops[DropReason.UNHANDLED_PROTO] ?? 0;
    send(5, far);
    // the protocol of the frames is nobody's: it is dropped where protocols are looked up
    expect([near.rxPackets, passed(), host.root.dev("ifb0")?.txPackets]).toEqual([5, 2, 2]);
    pass(1001);
    expect(passed()).toBe(3);
    expect(host.root.dev("ifb0")?.qdisc?.drops).toBe(2);
    expect(world.pool.live).toBe(0);
  });

  it("drops what waits for a device that went away, and nothing passes without it", () => {
    const { world, host, far, send, pass } = shaped(REDIRECTED);
    send(3, far);
    applyOps(host, [{ op: "link.del", netns: "host", name: "v0" }]);
    pass(5000);
    expect(world.pool.live).toBe(0);
    const other = shaped(REDIRECTED);
    applyOps(other.host, [{ op: "link.del", netns: "host", name: "ifb0" }]);
    other.send(1, other.far);
    expect(other.host.root.drops[DropReason.TC_INGRESS]).toBe(1);
  });

  it("takes nothing else", () => {
    const { host, send } = shaped(REDIRECTED);
    send(1, host.root.dev("ifb0") as NetDev);
    expect(host.root.drops[DropReason.NOT_SPECIFIED]).toBe(1);
  });
});
