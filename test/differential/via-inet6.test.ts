/** Routes of IPv4 whose gateway is one of IPv6 (RFC 8950): the frames on the wires are Linux's. */
import { describe, it } from "vitest";
import { echoPacket, ether, pattern } from "./frames.ts";
import { enableIpv6 } from "./kernel-commands.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;

/** Node n is fd00::1n; node 2 has 10.99.0.1, and node 1 knows the way there and to others. */
async function bothWays(lab: Lab): Promise<void> {
  const netns = "host";
  const dev = "eth0";
  await lab.apply("node-2", [
    ...enableIpv6(netns, dev),
    { op: "addr.add", netns, dev, address: "fd00::12/64" },
    { op: "addr.add", netns, dev, address: "fe80::12/64" },
    { op: "addr.add", netns, dev: "cni0", address: "10.99.0.1/32" },
    { op: "addr.add", netns, dev: "cni0", address: "10.97.0.1/32" },
    { op: "route.replace", netns, dst: "10.244.1.0/24", via: "fd00::11", dev },
  ]);
  await lab.apply("node-1", [
    ...enableIpv6(netns, dev),
    { op: "addr.add", netns, dev, address: "fd00::11/64" },
    { op: "addr.add", netns, dev, address: "fe80::11/64" },
    { op: "route.add", netns, dst: "10.99.0.0/24", via: "fd00::12", dev },
    { op: "route.add", netns, dst: "10.97.0.0/24", via: "fe80::12", dev },
    { op: "route.add", netns, dst: "10.98.0.0/24", via: "fd00::77" },
  ]);
}

async function ping(lab: Lab, dst: string, ms: number, size = 20, ttl = 64): Promise<void> {
  const packet = echoPacket({ src: A.address, dst, ttl }, 3, 1, pattern(size));
  await lab.send("a", ether(GATEWAY_MAC["node-1"], A.mac, 0x0800, packet));
  await lab.wait(ms);
}

describe("routes of IPv4 by gateways of IPv6 as Linux follows them", () => {
  it("ask for the gateway by neighbour discovery, and answer from where they lead", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await bothWays(lab);
        for (const size of [0, 1, 1_400]) await ping(lab, "10.99.0.1", 10, size);
        await ping(lab, "10.99.0.1", 10, 20, 1);
        await ping(lab, "10.97.0.1", 10);
      },
      { atLeast: 20 },
    ));

  it("tell the sender where the gateway does not answer", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await bothWays(lab);
        await ping(lab, "10.98.0.1", 4_000);
      },
      { atLeast: 3 },
    ));

  it("hide the sender behind an address of IPv4", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await bothWays(lab);
        const text = "*nat\n-A POSTROUTING -s 10.244.1.0/24 -j MASQUERADE\nCOMMIT\n";
        await lab.apply("node-1", [{ op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: false }]);
        await ping(lab, "10.99.0.1", 10);
      },
      { atLeast: 6 },
    ));
});
