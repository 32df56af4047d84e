/** VXLAN over an IPv6 underlay, with IPv6 and IPv4 inside, as flannel's dual stack lays it out: flannel-v6.1 on both nodes. */
import { describe, it } from "vitest";
import * as vxlan from "../../dataplane/wire/vxlan.ts";
import { echo6Packet, echoPacket, ether, pattern, udp6Packet } from "./frames.ts";
import { enableIpv6 } from "./kernel-commands.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, NODES, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;
const POD6 = "fd00:10:244:1::2";
const VTEP_MAC = { 1: "0a:06:00:00:00:01", 2: "0a:06:00:00:00:02" } as const;

/** Node n is fd00::1n, its pods are in fd00:10:244:n::/64; `vxlan` are further attributes of the tunnel on node 1. */
async function dualStack(lab: Lab, attrs: object = {}): Promise<void> {
  const netns = "host";
  for (const n of [1, 2] as const) {
    const other = n === 1 ? 2 : 1;
    const node = `node-${n}` as const;
    const dev = "flannel-v6.1";
    await lab.apply(node, [
      ...enableIpv6(netns, "eth0"),
      { op: "sysctl.set", netns, key: "net.ipv6.conf.all.forwarding", value: "1" },
      { op: "addr.add", netns, dev: "eth0", address: `fd00::1${n}/64` },
      {
        op: "link.add",
        netns,
        name: dev,
        kind: "vxlan",
        vni: 1,
        local: `fd00::1${n}`,
        dev: "eth0",
        mac: VTEP_MAC[n],
        learning: false,
        ...(n === 1 ? attrs : {}),
      },
      ...enableIpv6(netns, dev),
      { op: "link.set", netns, name: dev, up: true },
      { op: "addr.add", netns, dev, address: `fd00:10:244:${n}::/128` },
      { op: "addr.add", netns, dev, address: `10.245.${n}.0/32` },
      { op: "fdb.replace", netns, dev, mac: VTEP_MAC[other], dst: `fd00::1${other}` },
      { op: "neigh.replace", netns, dev, address: `fd00:10:244:${other}::`, mac: VTEP_MAC[other] },
      { op: "neigh.replace", netns, dev, address: `10.245.${other}.0`, mac: VTEP_MAC[other] },
      { op: "route.add", netns, dst: `fd00:10:244:${other}::/64`, via: `fd00:10:244:${other}::`, dev, onlink: true },
      { op: "route.add", netns, dst: `10.245.${other}.0/24`, via: `10.245.${other}.0`, dev, onlink: true },
    ]);
  }
  await lab.apply("node-1", [
    ...enableIpv6(netns, "cni0"),
    { op: "addr.add", netns, dev: "cni0", address: "fd00:10:244:1::1/64" },
    { op: "neigh.replace", netns, dev: "cni0", address: POD6, mac: A.mac },
  ]);
}

const ping6 = (dst: string, tclass = 0, size = 20, label = 0): Uint8Array =>
  ether(GATEWAY_MAC["node-1"], A.mac, 0x86dd, echo6Packet({ src: POD6, dst, tclass, label }, 3, 1, pattern(size)));

/** A VXLAN packet from node 2's card to node 1. */
function tunnelled(inner: Uint8Array, o: { vni?: number; tclass?: number; checksum?: boolean } = {}): Uint8Array {
  const b = new Uint8Array(vxlan.HEADER_LEN + inner.length);
  vxlan.write(b, 0, o.vni ?? 1);
  b.set(inner, vxlan.HEADER_LEN);
  const head = { src: "fd00::12", dst: "fd00::11", tclass: o.tclass ?? 0 };
  const packet = udp6Packet(head, 45678, 8472, b, o.checksum ?? true);
  return ether(NODES["node-1"].mac, NODES["node-2"].mac, 0x86dd, packet);
}

async function arrive(lab: Lab, frame: Uint8Array): Promise<void> {
  await lab.send("node-2", frame);
  await lab.wait(10);
}

const inner6 = (tclass = 0): Uint8Array =>
  ether(
    VTEP_MAC[1],
    VTEP_MAC[2],
    0x86dd,
    echo6Packet({ src: "fd00:10:244:2::", dst: "fd00:10:244:1::", tclass, hops: 63 }, 3, 1, pattern(20)),
  );

describe("VXLAN over IPv6 as Linux does it", () => {
  it("puts IPv6 and IPv4 into IPv6, and takes them out", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await dualStack(lab);
        for (const size of [0, 1, 20, 1_200]) {
          await lab.send("a", ping6("fd00:10:244:2::", 0, size));
          await lab.wait(10);
        }
        const ip4 = echoPacket({ src: "10.244.1.2", dst: "10.245.2.0" }, 3, 1, pattern(20));
        await lab.send("a", ether(GATEWAY_MAC["node-1"], A.mac, 0x0800, ip4));
        await lab.wait(10);
      },
      { atLeast: 40 },
    ));

  it("carries congestion marks out and in", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await dualStack(lab);
        for (const tclass of [0, 1, 2, 3, 0xb8]) {
          await lab.send("a", ping6("fd00:10:244:2::", tclass));
          await lab.wait(10);
        }
        for (const outer of [0, 1, 2, 3])
          for (const tclass of [0, 1, 2, 3]) await arrive(lab, tunnelled(inner6(tclass), { tclass: outer }));
      },
      // Linux writes the mark into octets that the packet sockets at the cards still share: there a changed packet is seen.
      { without: ["node-1/eth0", "node-2/eth0"], atLeast: 40 },
    ));

  it("takes what is for its VNI and has an outer checksum, and nothing else", (context) =>
    sameAsLinux(context, async (lab) => {
      await dualStack(lab);
      await arrive(lab, tunnelled(inner6()));
      await arrive(lab, tunnelled(inner6(), { checksum: false }));
      await arrive(lab, tunnelled(inner6(), { vni: 2 }));
      await arrive(lab, tunnelled(inner6().subarray(0, 10)));
      const broken = tunnelled(inner6());
      broken[100] = (broken[100] ?? 0) ^ 1;
      await arrive(lab, broken);
    }));

  it("has seventy octets less MTU than its underlay, also where more is asked for", (context) =>
    sameAsLinux(context, async (lab) => {
      await dualStack(lab, { mtu: 1_450 });
      for (const size of [1_382, 1_383, 1_402]) {
        await lab.send("a", ping6("fd00:10:244:2::", 0, size));
        await lab.wait(10);
      }
    }));

  it("drops what does not fit the underlay where it is bound to no device", (context) =>
    sameAsLinux(context, async (lab) => {
      await dualStack(lab, { mtu: 1_450, dev: undefined });
      for (const size of [1_382, 1_383]) {
        await lab.send("a", ping6("fd00:10:244:2::", 0, size));
        await lab.wait(10);
      }
    }));

  it("with a hop limit of its own, and without outer checksums of IPv4, when told so", (context) =>
    sameAsLinux(context, async (lab) => {
      await dualStack(lab, { ttl: 9, udpCsum: false });
      await lab.send("a", ping6("fd00:10:244:2::"));
      await lab.wait(10);
    }));
});
