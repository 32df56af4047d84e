/** Tables of family bridge, as the bridge plugin writes them to hold a port to its MAC. */
import { describe, expect, it } from "vitest";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";

const MACS = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"] as const;

/** Two pods on a bridge of a host with these rules; sends a frame of pod a and answers whether pod b had it. */
function lab(text: string): (source: number, etherType: number) => boolean {
  const world = new World(1);
  const host = new Host(world, "node");
  const netns = "host";
  const pods = ["a", "b"].map((name) => host.addNetns(name));
  const ops: RtnlOp[] = [{ op: "link.add", netns, name: "br0", kind: "bridge", up: true }];
  for (const [i, pod] of pods.entries()) {
    const peer = { name: "eth0", netns: pod, mac: MACS[i] ?? "", up: true };
    ops.push({ op: "link.add", netns, name: `veth${i}`, kind: "veth", master: "br0", up: true, peer });
  }
  applyOps(host, [...ops, { op: "nft.apply", netns, text }]);
  const [a, b] = pods.map((pod) => host.netns(pod).dev("eth0") as NetDev) as [NetDev, NetDev];
  const capture = new Capture();
  capture.attach(b);
  return (source, etherType) => {
    const before = capture.frames.length;
    const skb = world.pool.alloc(60);
    const frame = [2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, source, etherType >> 8, etherType & 255];
    skb.buf.fill(0, skb.data, skb.data + 60);
    skb.buf.set(frame, skb.data);
    skb.end = skb.data + 60;
    skb.mac = skb.data;
    skb.network = skb.data + 14;
    skb.protocol = etherType;
    a.transmit(skb);
    world.loop.runNow();
    return capture.frames.length > before;
  };
}

describe("tables of family bridge", () => {
  it("drop frames with another source MAC at prerouting", () => {
    const arrives = lab(
      `table bridge f { chain p { type filter hook prerouting priority -300; iifname "veth0" jump a; }; chain a { ether saddr ${MACS[0]} return; drop; }; }`,
    );
    expect(arrives(0x0a, 0x0806)).toBe(true);
    expect(arrives(0x0c, 0x0806)).toBe(false);
  });

  it("tell protocols apart, and ports where frames are forwarded", () => {
    const arrives = lab(
      'table bridge f { chain p { type filter hook forward priority 0; ether type arp oifname "veth1" drop; }; }',
    );
    expect(arrives(0x0a, 0x0806)).toBe(false);
    expect(arrives(0x0a, 0x88b5)).toBe(true);
  });
});
