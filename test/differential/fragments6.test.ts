/** Fragments of IPv6: cut at the source, put together where they are for, and by conntrack on the way. */
import { describe, it } from "vitest";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { cut6, echo6Packet, ether, pattern, udp6Packet } from "./frames.ts";
import { enableIpv6 } from "./kernel-commands.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, NODES, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const netns = "host";
const A6 = "fd00:a::2";
const NODE6 = "fd00:a::1";
const FAR6 = "fd00::12";

/** Pod a is fd00:a::2 behind node 1, which is fd00:a::1 and fd00::11; node 2 is fd00::12. Every neighbour is known. */
async function layout(lab: Lab, rules = ""): Promise<void> {
  const far = NODES["node-2"].mac;
  const ops: RtnlOp[] = [
    ...enableIpv6(netns, "eth0"),
    ...enableIpv6(netns, "cni0"),
    { op: "sysctl.set", netns, key: "net.ipv6.conf.all.forwarding", value: "1" },
    { op: "addr.add", netns, dev: "eth0", address: "fd00::11/64" },
    { op: "addr.add", netns, dev: "cni0", address: `${NODE6}/64` },
    { op: "neigh.replace", netns, dev: "cni0", address: A6, mac: PODS.a.mac },
    { op: "neigh.replace", netns, dev: "eth0", address: FAR6, mac: far },
  ];
  if (rules !== "") ops.push({ op: "nft.apply", netns, text: rules });
  await lab.apply("node-1", ops);
  await lab.apply("node-2", [
    ...enableIpv6(netns, "eth0"),
    { op: "addr.add", netns, dev: "eth0", address: `${FAR6}/64` },
    { op: "route.add", netns, dst: "fd00:a::/64", via: "fd00::11" },
    { op: "neigh.replace", netns, dev: "eth0", address: "fd00::11", mac: NODES["node-1"].mac },
  ]);
}

const from = (packet: Uint8Array): Uint8Array => ether(GATEWAY_MAC["node-1"], PODS.a.mac, 0x86dd, packet);

async function send(lab: Lab, ...packets: readonly Uint8Array[]): Promise<void> {
  for (const packet of packets) {
    await lab.send("a", from(packet));
    await lab.wait(10);
  }
}

const ping = (dst: string, size: number): Uint8Array => echo6Packet({ src: A6, dst }, 3, 1, pattern(size));
const TRACKED = `table ip6 t {
	chain f {
		type filter hook forward priority 0; policy accept;
		ct state invalid drop
	}
}
`;

describe("fragments of IPv6 as Linux does them", () => {
  it("put together where they are for, in any order, and the answer is cut", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await layout(lab);
        const [first, last] = cut6(ping(NODE6, 1_600), 1_232);
        await send(lab, first, last);
        const [head, tail] = cut6(ping(NODE6, 1_700), 1_000, 7);
        await send(lab, tail, head);
        const [tiny, rest] = cut6(ping(NODE6, 100), 48, 8);
        await send(lab, tiny, rest);
      },
      { atLeast: 10 },
    ));

  it("are forwarded as they come where nothing tracks, also by an atomic header", (context) =>
    sameAsLinux(context, async (lab) => {
      await layout(lab);
      const [first, last] = cut6(ping(FAR6, 1_300), 1_000);
      await send(lab, last, first);
      const whole = udp6Packet({ src: A6, dst: NODE6 }, 4_000, 9, pattern(10));
      const [atomic] = cut6(whole, whole.length - 40);
      atomic[43] = 0;
      await send(lab, atomic);
    }));

  it("are put together for conntrack, and go on as they came", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await layout(lab, TRACKED);
        const [first, last] = cut6(ping(FAR6, 1_600), 1_232);
        await send(lab, last, first);
        const [small, end] = cut6(ping(FAR6, 500), 304, 9);
        await send(lab, small, end);
      },
      { atLeast: 12, needs: ["nft"] },
    ));

  it("that overlap, have no right length, or come twice are not", (context) =>
    sameAsLinux(context, async (lab) => {
      await layout(lab);
      const [first, last] = cut6(ping(NODE6, 200), 104);
      await send(lab, first, first, last);
      const [again] = cut6(ping(NODE6, 200), 104, 5);
      const [, early] = cut6(ping(NODE6, 200), 96, 5);
      const [, end] = cut6(ping(NODE6, 200), 104, 5);
      await send(lab, again, early, end);
      const uneven = cut6(ping(NODE6, 200), 100, 6)[0];
      await send(lab, uneven);
    }));

  it("are not made on the way: what does not fit is answered", (context) =>
    sameAsLinux(context, async (lab) => {
      await layout(lab);
      await lab.apply("node-1", [{ op: "link.set", netns, name: "eth0", mtu: 1_300 }]);
      await send(lab, ping(FAR6, 1_252), ping(FAR6, 1_253), ping(FAR6, 1_300));
    }));
});
