/** Redirects of IPv6, where a packet leaves by the interface that it came in on. */
import { describe, it } from "vitest";
import { echo6Packet, ether, pattern, udp6Packet } from "./frames.ts";
import { enableIpv6 } from "./kernel-commands.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;
const FROM = "fd00:10:244:1::2";
const KNOWN = "fd00:10:244:1::3";
const UNKNOWN = "fd00:10:244:1::4";

/** Node 1 is a router of the pods' link; fe80::99 is one, too, and the way to fd00:1::/32. */
async function routerOfPods(lab: Lab): Promise<void> {
  const netns = "host";
  const dev = "cni0";
  const neigh = (address: string, mac: string) => ({ op: "neigh.replace", netns, dev, address, mac }) as const;
  await lab.apply("node-1", [
    ...enableIpv6(netns, dev),
    { op: "sysctl.set", netns, key: "net.ipv6.conf.all.forwarding", value: "1" },
    { op: "addr.add", netns, dev, address: "fd00:10:244:1::1/64" },
    { op: "addr.add", netns, dev, address: "fe80::1/64" },
    neigh(FROM, A.mac),
    neigh("fd00:77::1", A.mac),
    neigh(KNOWN, PODS.b.mac),
    neigh("fe80::99", PODS.b.mac),
    neigh("fd00:10:244:1::9", PODS.b.mac),
    { op: "route.add", netns, dst: "fd00:1::/32", via: "fe80::99", dev },
    { op: "route.add", netns, dst: "fd00:2::/32", via: "fd00:10:244:1::9", dev },
    { op: "route.add", netns, dst: "fd00:77::/32", via: "fe80::99", dev },
  ]);
}

async function send(lab: Lab, packet: Uint8Array, ms = 10): Promise<void> {
  await lab.send("a", ether(GATEWAY_MAC["node-1"], A.mac, 0x86dd, packet));
  await lab.wait(ms);
}

const ping = (dst: string, size = 20, src = FROM): Uint8Array => echo6Packet({ src, dst }, 3, 1, pattern(size));

describe("redirects of IPv6 as Linux sends them", () => {
  it("to neighbours and to routers, quoting whole eights of what fits", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await routerOfPods(lab);
        for (const size of [0, 5]) await send(lab, ping(KNOWN, size));
        await send(lab, ping("fd00:1::7", 1_300));
        await send(lab, ping("fd00:1::8", 1_180));
      },
      { atLeast: 16 },
    ));

  it("without a MAC that is not known", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await routerOfPods(lab);
        await send(lab, udp6Packet({ src: FROM, dst: UNKNOWN }, 4000, 9, pattern(3)));
      },
      { atLeast: 4 },
    ));

  it("to who is a neighbour alone, and not to routers by other addresses than link-local ones", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await routerOfPods(lab);
        await send(lab, ping("fd00:2::1"));
        await send(lab, ping(KNOWN, 20, "fd00:77::1"));
        await send(lab, ping("fd00:10:244:1::9"));
      },
      { atLeast: 8 },
    ));

  it("none without a link-local address of its own", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await routerOfPods(lab);
        await lab.apply("node-1", [{ op: "addr.del", netns: "host", dev: "cni0", address: "fe80::1/64" }]);
        await send(lab, ping(KNOWN));
      },
      { atLeast: 4 },
    ));

  it("six at once of one source or about one destination, and another after a second", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await routerOfPods(lab);
        for (let i = 0; i < 9; i++) await send(lab, ping(KNOWN, i), 1);
        await lab.wait(1_100);
        for (let i = 0; i < 3; i++) await send(lab, ping(KNOWN, i), 1);
        await lab.wait(20);
      },
      { atLeast: 30 },
    ));
});
