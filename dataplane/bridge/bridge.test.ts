import { describe, expect, it } from "vitest";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpFdb } from "../netns/rtnl-dump.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { BROADCAST_MAC, formatMac, type Mac, mac } from "../wire/mac-addr.ts";
import type { Bridge } from "./bridge.ts";

const MACS = ["0a:00:00:00:00:01", "0a:00:00:00:00:02", "0a:00:00:00:00:03"] as const;
const STRANGER = mac("0a:00:00:00:00:99");

/** A bridge with three pods. `say` sends a frame from a pod; it answers which pods got it, and whether the host did. */
function bridged(attrs: object = {}) {
  const world = new World(1);
  const host = new Host(world, "node");
  const ops: RtnlOp[] = [
    { op: "link.add", netns: "host", name: "br0", kind: "bridge", mac: "0a:00:00:00:00:ff", up: true },
  ];
  MACS.forEach((address, i) => {
    const netns = host.addNetns(`pod${i}`);
    const peer = { name: `v${i}`, netns: "host", master: "br0", up: true, ...attrs };
    ops.push({ op: "link.add", netns, name: "eth0", kind: "veth", mac: address, up: true, peer });
  });
  applyOps(host, ops);
  const pods = MACS.map((_, i) => host.netns(`/var/run/netns/pod${i}`).dev("eth0") as NetDev);
  const br = host.root.dev("br0") as NetDev;
  const capture = new Capture();
  for (const dev of [...pods, br]) capture.attach(dev);
  const say = (from: number, to: Mac, source: Mac = (pods[from] as NetDev).mac, size = 46): string => {
    const before = capture.frames.length;
    const skb = world.pool.alloc(14 + size);
    ethernet.write(skb.buf, skb.data, to, source, 0x88b5);
    skb.end = skb.data + 14 + size;
    skb.mac = skb.data;
    (pods[from] as NetDev).transmit(skb);
    world.loop.runNow();
    const got = capture.frames.slice(before).filter((f) => f.direction === "in");
    return got
      .map((f) => (f.netns === "host" ? "host" : f.netns.slice(3)))
      .sort()
      .join(" ");
  };
  const set = (name: string, rest: object): void => applyOps(host, [{ op: "link.set", netns: "host", name, ...rest }]);
  const learned = (): string[] =>
    dumpFdb(host.root)
      .filter((e) => e.state === "")
      .map((e) => `${e.mac} ${e.dev}`)
      .sort();
  const pass = (ms: number): void => world.loop.run({ deadline: world.loop.time + ms });
  return { world, host, pods, br, say, set, learned, pass };
}

describe("a bridge", () => {
  it("floods an unknown MAC, learns the sender, and sends straight after", () => {
    const { say, learned } = bridged();
    expect(say(0, mac(MACS[1]))).toBe("1 2");
    expect(learned()).toEqual([`${MACS[0]} v0`]);
    expect(say(1, mac(MACS[0]))).toBe("0");
    expect(say(0, mac(MACS[1]))).toBe("1");
  });

  it("gives broadcasts and multicasts to every other port and to the host", () => {
    const { say } = bridged();
    expect(say(0, BROADCAST_MAC)).toBe("1 2 host");
    expect(say(1, mac("01:00:5e:00:00:05"))).toBe("0 2 host");
  });

  it("takes frames for its own MAC for the host alone", () => {
    const { say } = bridged();
    expect(say(0, mac("0a:00:00:00:00:ff"))).toBe("host");
  });

  it("moves an entry with the sender, and forgets it after five minutes without a frame", () => {
    const { say, learned, pass } = bridged();
    say(0, BROADCAST_MAC, STRANGER);
    expect(say(2, STRANGER)).toBe("0");
    say(1, BROADCAST_MAC, STRANGER);
    expect(say(2, STRANGER)).toBe("1");
    expect(learned()).toContain(`${formatMac(STRANGER)} v1`);
    pass(299_999);
    expect(say(2, STRANGER)).toBe("1");
    pass(1);
    expect(say(2, STRANGER)).toBe("0 1");
  });

  it("forgets what it learned at a port that leaves", () => {
    const { say, set, learned } = bridged();
    say(0, BROADCAST_MAC);
    say(1, BROADCAST_MAC);
    set("v0", { master: null });
    expect(learned()).toEqual([`${MACS[1]} v1`]);
    expect(say(1, mac(MACS[0]))).toBe("2");
  });

  it("does not learn at a port where learning is off, and not over a configured entry", () => {
    const { say, set, learned, host } = bridged();
    set("v0", { learning: false });
    say(0, BROADCAST_MAC);
    expect(learned()).toEqual([]);
    applyOps(host, [{ op: "fdb.replace", netns: "host", dev: "v2", mac: formatMac(STRANGER) }]);
    say(1, BROADCAST_MAC, STRANGER);
    expect(say(0, STRANGER)).toBe("2");
  });

  it("sends a frame back only by a hairpin port", () => {
    const { say, set } = bridged();
    say(0, BROADCAST_MAC, STRANGER);
    expect(say(0, STRANGER)).toBe("");
    set("v0", { hairpin: true });
    expect(say(0, STRANGER)).toBe("0");
    expect(say(0, BROADCAST_MAC)).toBe("0 1 2 host");
  });

  it("keeps isolated ports from each other, and from nobody else", () => {
    const { say, set } = bridged();
    set("v0", { isolated: true });
    set("v1", { isolated: true });
    expect(say(0, BROADCAST_MAC)).toBe("2 host");
    say(1, BROADCAST_MAC);
    expect(say(0, mac(MACS[1]))).toBe("");
    expect(say(2, BROADCAST_MAC)).toBe("0 1 host");
  });

  it("drops frames from multicast and zero MACs, counted as such", () => {
    const { say, host } = bridged();
    expect(say(0, BROADCAST_MAC, mac("01:00:00:00:00:01"))).toBe("");
    expect(say(0, BROADCAST_MAC, mac("00:00:00:00:00:00"))).toBe("");
    expect(host.root.drops[DropReason.MAC_INVALID_SOURCE]).toBe(2);
  });

  it("drops what is longer than a port takes with a VLAN tag", () => {
    const { say, set } = bridged();
    set("v1", { mtu: 1000 });
    say(1, BROADCAST_MAC);
    expect(say(0, mac(MACS[1]), mac(MACS[0]), 1004)).toBe("1");
    expect(say(0, mac(MACS[1]), mac(MACS[0]), 1005)).toBe("");
  });

  it("passes nothing while it is down, and sends by no port that is", () => {
    const { say, set } = bridged();
    set("v2", { up: false });
    expect(say(0, BROADCAST_MAC)).toBe("1 host");
    set("br0", { up: false });
    expect(say(0, BROADCAST_MAC)).toBe("");
  });

  it("has the lowest MAC of its ports unless one was set", () => {
    const world = new World(1);
    const host = new Host(world, "node");
    const add = (name: string, address: string): RtnlOp => ({
      op: "link.add",
      netns: "host",
      name,
      kind: "dummy",
      mac: address,
      master: "br0",
    });
    applyOps(host, [
      { op: "link.add", netns: "host", name: "br0", kind: "bridge" },
      add("d1", "0a:00:00:00:00:05"),
      add("d2", "0a:00:00:00:00:02"),
    ]);
    const br = host.root.dev("br0") as NetDev;
    expect(formatMac(br.mac)).toBe("0a:00:00:00:00:02");
    applyOps(host, [{ op: "link.del", netns: "host", name: "d2" }]);
    expect(formatMac(br.mac)).toBe("0a:00:00:00:00:05");
    applyOps(host, [
      { op: "link.set", netns: "host", name: "br0", mac: "0a:00:00:00:00:77" },
      add("d3", "0a:00:00:00:00:01"),
    ]);
    expect(formatMac(br.mac)).toBe("0a:00:00:00:00:77");
    expect((br.driver as Bridge).ports).toHaveLength(2);
  });

  it("loses no packet buffer over many frames", () => {
    const { world, say } = bridged();
    for (let i = 0; i < 200; i++) say(i % 3, i % 2 === 0 ? BROADCAST_MAC : mac(MACS[(i + 1) % 3] as string));
    expect(world.pool.live).toBe(0);
  });
});
