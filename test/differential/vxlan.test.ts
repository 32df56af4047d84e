import { describe, it } from "vitest";
import * as vxlan from "../../dataplane/wire/vxlan.ts";
import { arpFrame, echoPacket, ether, pattern, udpPacket } from "./frames.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, NODES, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;
const INNER = ether(
  "0a:00:00:00:00:01",
  "0a:00:00:00:00:02",
  0x0800,
  echoPacket({ src: "10.244.2.2", dst: "10.244.1.1", ttl: 63 }, 3, 1, pattern(20)),
);

/** A VXLAN packet from node 2's card to node 1. */
function tunnelled(
  inner: Uint8Array,
  o: { vni?: number; flags?: number; port?: number; tos?: number; checksum?: boolean } = {},
): Uint8Array {
  const b = new Uint8Array(vxlan.HEADER_LEN + inner.length);
  vxlan.write(b, 0, o.vni ?? 1);
  if (o.flags !== undefined) vxlan.setFlags(b, 0, o.flags);
  b.set(inner, vxlan.HEADER_LEN);
  const packet = udpPacket(
    { src: "192.168.0.12", dst: "192.168.0.11", tos: o.tos ?? 0 },
    45678,
    o.port ?? 8472,
    b,
    o.checksum ?? true,
  );
  return ether(NODES["node-1"].mac, NODES["node-2"].mac, 0x0800, packet);
}

async function arrive(lab: Lab, frame: Uint8Array): Promise<void> {
  await lab.send("node-2", frame);
  await lab.wait(10);
}

const ping = (dst: string, tos = 0): Uint8Array =>
  ether(GATEWAY_MAC["node-1"], A.mac, 0x0800, echoPacket({ src: A.address, dst, tos }, 3, 1, pattern(20)));

describe("VXLAN as Linux does it", () => {
  it("takes what is for its VNI, with an outer checksum or without, and nothing else", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await arrive(lab, tunnelled(INNER));
        await arrive(lab, tunnelled(INNER, { checksum: false }));
        await arrive(lab, tunnelled(INNER, { vni: 2 }));
        await arrive(lab, tunnelled(INNER, { flags: 0 }));
        await arrive(lab, tunnelled(INNER, { port: 4789 }));
        await arrive(lab, tunnelled(INNER.subarray(0, 10)));
        const broken = tunnelled(INNER);
        broken[80] = (broken[80] ?? 0) ^ 1;
        await arrive(lab, broken);
      },
      { atLeast: 15 },
    ));

  it("drops inner frames from its own MAC, for other hosts, and with bad headers", (context) =>
    sameAsLinux(context, async (lab) => {
      const inner = (to: string, from: string): Uint8Array => ether(to, from, 0x0800, INNER.subarray(14));
      await arrive(lab, tunnelled(inner("0a:00:00:00:00:01", "0a:00:00:00:00:01")));
      await arrive(lab, tunnelled(inner("0a:00:00:00:00:77", "0a:00:00:00:00:02")));
      await arrive(lab, tunnelled(arpFrame({ sha: "0a:00:00:00:00:02", spa: "10.244.2.0", tpa: "10.244.1.0" })));
    }));

  // Linux writes the mark into octets that the packet sockets at the cards still share: there a changed packet is seen.
  const cards = ["node-1/eth0", "node-2/eth0"];

  it("carries congestion marks in", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        const inner = (tos: number): Uint8Array =>
          ether(
            "0a:00:00:00:00:01",
            "0a:00:00:00:00:02",
            0x0800,
            echoPacket({ src: "10.244.2.2", dst: "10.244.1.1", tos }, 3, 1, pattern(9)),
          );
        for (const outer of [0, 1, 2, 3]) {
          for (const tos of [0, 1, 2, 3]) await arrive(lab, tunnelled(inner(tos), { tos: outer }));
        }
      },
      { without: cards, atLeast: 30 },
    ));

  it("carries congestion marks out", (context) =>
    sameAsLinux(context, async (lab) => {
      for (const tos of [0, 1, 2, 3, 0xb8]) {
        await lab.send("a", ping("10.244.2.2", tos));
        await lab.wait(10);
      }
    }));

  it("has no way to a MAC that is not in its database, and asks nobody", (context) =>
    sameAsLinux(context, async (lab) => {
      const netns = "host";
      await lab.apply("node-1", [{ op: "fdb.del", netns, dev: "flannel.1", mac: "0a:00:00:00:00:02" }]);
      await lab.send("a", ping("10.244.2.2"));
      await lab.wait(10);
      await lab.apply("node-1", [
        { op: "neigh.del", netns, dev: "flannel.1", address: "10.244.2.0" },
        { op: "fdb.replace", netns, dev: "flannel.1", mac: "00:00:00:00:00:00", dst: "192.168.0.12" },
      ]);
      await lab.send("a", ping("10.244.2.2"));
      await lab.wait(10);
    }));

  it("has an underlay that is not there", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.apply("node-1", [
        { op: "fdb.replace", netns: "host", dev: "flannel.1", mac: "0a:00:00:00:00:02", dst: "203.0.113.1" },
      ]);
      await lab.send("a", ping("10.244.2.2"));
      await lab.wait(10);
    }));

  it("learns where MACs are while learning is on", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        const netns = "host";
        for (const node of ["node-1", "node-2"] as const) {
          const n = node === "node-1" ? 1 : 2;
          await lab.apply(node, [
            {
              op: "link.add",
              netns,
              name: "vx2",
              kind: "vxlan",
              vni: 9,
              local: `192.168.0.1${n}`,
              dev: "eth0",
              mac: `0a:09:00:00:00:0${n}`,
              port: 8472,
              up: true,
            },
            { op: "addr.add", netns, dev: "vx2", address: `172.16.0.${n}/24` },
            { op: "fdb.replace", netns, dev: "vx2", mac: "00:00:00:00:00:00", dst: `192.168.0.1${3 - n}` },
          ]);
        }
        await lab.udpBind("node-1", 40000, false);
        await lab.udpBind("node-2", 5353, true);
        await lab.udpSend("node-1", 40000, "172.16.0.2", 5353, "hello");
        await lab.wait(10);
        await lab.apply("node-1", [{ op: "fdb.del", netns, dev: "vx2", mac: "00:00:00:00:00:00" }]);
        await lab.udpSend("node-1", 40000, "172.16.0.2", 5353, "again");
        await lab.wait(10);
      },
      { atLeast: 10 },
    ));

  it("without outer checksums and with a TTL of its own, when told so", (context) =>
    sameAsLinux(context, async (lab) => {
      const netns = "host";
      await lab.apply("node-1", [
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
          ttl: 9,
          udpCsum: false,
          up: true,
        },
        { op: "addr.add", netns, dev: "flannel.1", address: "10.244.1.0/32" },
        { op: "neigh.replace", netns, dev: "flannel.1", address: "10.244.2.0", mac: "0a:00:00:00:00:02" },
        { op: "fdb.replace", netns, dev: "flannel.1", mac: "0a:00:00:00:00:02", dst: "192.168.0.12" },
        { op: "route.add", netns, dst: "10.244.2.0/24", via: "10.244.2.0", dev: "flannel.1", onlink: true },
      ]);
      await lab.send("a", ping("10.244.2.2"));
      await lab.wait(10);
    }));
});
