import { describe, expect, it } from "vitest";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpVlans } from "../netns/rtnl-dump.ts";
import type { RtnlOp, VlanOp } from "../netns/rtnl-ops.ts";
import { setU16, u16 } from "../wire/bytes.ts";
import * as ethernet from "../wire/ethernet.ts";
import { BROADCAST_MAC, type Mac, mac } from "../wire/mac-addr.ts";

const TYPE = 0x88b5;
const OCTETS = 60;

/** A bridge that filters, with four pods on ports v0 to v3. */
function bridged(vlans: readonly (Omit<VlanOp, "op" | "netns"> & { readonly op: VlanOp["op"] })[], more: object = {}) {
  const world = new World(1);
  const host = new Host(world, "node");
  const ops: RtnlOp[] = [
    {
      op: "link.add",
      netns: "host",
      name: "br0",
      kind: "bridge",
      mac: "0a:00:00:00:00:ff",
      vlanFiltering: true,
      up: true,
      ...more,
    },
  ];
  for (let i = 0; i < 4; i++) {
    const netns = host.addNetns(`pod${i}`);
    const peer = { name: `v${i}`, netns: "host", master: "br0", up: true };
    ops.push({ op: "link.add", netns, name: "eth0", kind: "veth", mac: `0a:00:00:00:00:0${i + 1}`, up: true, peer });
  }
  applyOps(host, [...ops, ...vlans.map((op) => ({ ...op, netns: "host" }) as VlanOp)]);
  const pods = [0, 1, 2, 3].map((i) => host.netns(`/var/run/netns/pod${i}`).dev("eth0") as NetDev);
  const br = host.root.dev("br0") as NetDev;
  const capture = new Capture();
  for (const dev of [...pods, br]) capture.attach(dev);
  /** A frame from a device, with this tag control information or without a tag; who got it, and with which tag. */
  const say = (from: NetDev, to: Mac, tci: number | null = null): string => {
    const before = capture.frames.length;
    const skb = world.pool.alloc(OCTETS);
    const at = skb.data;
    ethernet.write(skb.buf, at, to, from.mac, tci === null ? TYPE : ethernet.ETH_P_8021Q);
    if (tci !== null) {
      setU16(skb.buf, at + 14, tci);
      setU16(skb.buf, at + 16, TYPE);
    }
    skb.end = at + OCTETS;
    skb.mac = at;
    skb.protocol = tci === null ? TYPE : ethernet.ETH_P_8021Q;
    skb.network = at + 14;
    from.transmit(skb);
    world.loop.runNow();
    expect(world.pool.live).toBe(0);
    return capture.frames
      .slice(before)
      .filter((f) => f.direction === "in")
      .map((f) => {
        const tagged = u16(f.bytes, 12) === ethernet.ETH_P_8021Q;
        expect(f.bytes.length).toBe(OCTETS + (tagged ? 4 : 0) - (tci === null ? 0 : 4));
        expect(u16(f.bytes, tagged ? 16 : 12)).toBe(TYPE);
        return `${f.netns === "host" ? "host" : f.netns.slice(3)}${tagged ? `:${u16(f.bytes, 14).toString(16)}` : ""}`;
      })
      .sort()
      .join(" ");
  };
  const own = (i: number): NetDev => pods[i] as NetDev;
  return { host, br, own, say };
}

const access = (dev: string, vid: number) =>
  [
    { op: "vlan.flush", dev },
    { op: "vlan.add", dev, vid, pvid: true, untagged: true },
  ] as const;

describe("a bridge that filters VLANs", () => {
  it("begins with all in VLAN 1, without tags", () => {
    const { host, own, say } = bridged([]);
    expect(dumpVlans(host.root)).toHaveLength(5);
    expect(dumpVlans(host.root)[0]).toEqual({ dev: "br0", vid: 1, pvid: true, untagged: true });
    expect(say(own(0), BROADCAST_MAC)).toBe("1 2 3 host");
  });

  it("keeps frames without a tag to the VLAN of their port", () => {
    const { own, say } = bridged([...access("v0", 100), ...access("v1", 100), ...access("v2", 200)]);
    expect(say(own(0), BROADCAST_MAC)).toBe("1");
    expect(say(own(2), BROADCAST_MAC)).toBe("");
    expect(say(own(3), BROADCAST_MAC)).toBe("host");
    expect(say(own(1), own(0).mac)).toBe("0");
    // known in VLAN 100, not in 1: flooded there
    expect(say(own(3), own(0).mac)).toBe("");
  });

  it("puts tags on for a trunk, takes them off for others, and keeps their priority", () => {
    const { own, say } = bridged([
      ...access("v0", 100),
      ...access("v1", 200),
      { op: "vlan.add", dev: "v3", vid: 100, vidEnd: 200 },
    ] as never);
    expect(say(own(0), BROADCAST_MAC)).toBe("3:64");
    expect(say(own(1), BROADCAST_MAC)).toBe("3:c8");
    expect(say(own(3), BROADCAST_MAC, 0x6064)).toBe("0");
    expect(say(own(3), BROADCAST_MAC, 200)).toBe("1");
    // of a VLAN between that nobody else is in, and without a tag: VLAN 1
    expect(say(own(3), BROADCAST_MAC, 150)).toBe("");
    expect(say(own(3), BROADCAST_MAC)).toBe("2 host");
    // priority alone
    expect(say(own(3), BROADCAST_MAC, 0x6000)).toBe("2 host");
  });

  it("refuses tags of VLANs that a port is not in, and frames without one where there is no PVID", () => {
    const { own, say } = bridged([
      { op: "vlan.flush", dev: "v0" },
      { op: "vlan.add", dev: "v0", vid: 7 },
    ] as never);
    expect(say(own(0), BROADCAST_MAC)).toBe("");
    expect(say(own(0), BROADCAST_MAC, 8)).toBe("");
    expect(say(own(1), BROADCAST_MAC, 7)).toBe("");
    // a tag of the port's own VLAN is taken off
    expect(say(own(1), BROADCAST_MAC, 1)).toBe("2 3 host");
  });

  it("has a MAC in each VLAN apart", () => {
    const { own, say } = bridged([
      ...access("v1", 100),
      { op: "vlan.add", dev: "v2", vid: 100, untagged: true },
      { op: "vlan.add", dev: "v3", vid: 100 },
    ] as never);
    const stranger = mac("0a:00:00:00:00:77");
    const as = (dev: NetDev, tci: number | null): void => {
      const real = dev.mac;
      dev.mac = stranger;
      say(dev, BROADCAST_MAC, tci);
      dev.mac = real;
    };
    as(own(3), 100);
    as(own(0), null);
    expect(say(own(1), stranger)).toBe("3:64");
    expect(say(own(2), stranger)).toBe("0");
  });

  it("is a member of VLANs itself", () => {
    const { br, own, say } = bridged([
      ...access("v0", 100),
      { op: "vlan.add", dev: "br0", vid: 100, pvid: true, untagged: true },
      { op: "vlan.del", dev: "br0", vid: 1 },
    ] as never);
    expect(say(own(0), br.mac)).toBe("host");
    expect(say(own(1), br.mac)).toBe("2 3");
    expect(say(br, BROADCAST_MAC)).toBe("0");
    expect(say(br, own(0).mac)).toBe("0");
  });

  it("leaves tags alone while it does not filter", () => {
    const { own, say } = bridged([...access("v0", 100)], { vlanFiltering: false });
    const tagged = say(own(0), BROADCAST_MAC, 7).split(" ");
    expect(tagged.map((got) => got.split(":")[1])).toEqual(["7", "7", "7", "7"]);
  });

  it("forgets who was in a VLAN that a port leaves", () => {
    const { host, own, say } = bridged([...access("v0", 100), ...access("v1", 100), ...access("v2", 100)]);
    say(own(0), BROADCAST_MAC);
    expect(say(own(1), own(0).mac)).toBe("0");
    applyOps(host, [
      { op: "vlan.del", netns: "host", dev: "v0", vid: 100 },
      { op: "vlan.add", netns: "host", dev: "v0", vid: 100, pvid: true, untagged: true },
    ]);
    expect(say(own(1), own(0).mac)).toBe("0 2");
  });
});
