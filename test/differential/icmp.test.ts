import { describe, it } from "vitest";
import * as tcp from "../../dataplane/wire/tcp.ts";
import { BROADCAST, cut, echoPacket, ether, icmpPacket, ipPacket, pattern, tcpPacket, udpPacket } from "./frames.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const IP = 0x0800;
const GATEWAY = GATEWAY_MAC["node-1"];
const A = PODS.a;
const fromA = { src: A.address };

/** Sends an IP packet of pod a to the gateway, or to another MAC. */
async function send(lab: Lab, packet: Uint8Array, to: string = GATEWAY, ms = 10): Promise<void> {
  await lab.send("a", ether(to, A.mac, IP, packet));
  await lab.wait(ms);
}

const hello = Buffer.from("hello");
const udpTo = (dst: string, fields: Partial<Parameters<typeof udpPacket>[0]> = {}, port = 33434): Uint8Array =>
  udpPacket({ ...fromA, dst, ...fields }, 40000, port, hello);

describe("ping as Linux answers it", () => {
  it("from the gateway, a neighbour, the node, another node and a pod there", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        const targets = [
          "10.244.1.1",
          "192.168.0.11",
          "10.244.1.0",
          "192.168.0.12",
          "10.244.2.0",
          "10.244.2.1",
          "10.244.2.2",
        ];
        for (const [seq, dst] of targets.entries()) await send(lab, echoPacket({ ...fromA, dst }, 7, seq, pattern(56)));
        await send(lab, echoPacket({ ...fromA, dst: PODS.b.address }, 7, 9, pattern(56)), PODS.b.mac);
      },
      { atLeast: 80 },
    ));

  it("with the type of service of the request, whatever DF and TTL it had, and an odd length", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(
        lab,
        echoPacket({ ...fromA, dst: "10.244.2.2", tos: 0xb8, df: true, ttl: 3, id: 0 }, 7, 1, pattern(13)),
      );
      await send(lab, echoPacket({ ...fromA, dst: "10.244.2.2", tos: 0x03, id: 99 }, 7, 2, pattern(0)));
    }));

  it("not where the checksum of either header is wrong, and not a broadcast", (context) =>
    sameAsLinux(context, async (lab) => {
      const good = echoPacket({ ...fromA, dst: "10.244.1.1" }, 7, 1, pattern(8));
      const badIcmp = good.slice();
      badIcmp[22] = (badIcmp[22] ?? 0) ^ 1;
      const badIp = good.slice();
      badIp[10] = (badIp[10] ?? 0) ^ 1;
      await send(lab, badIcmp);
      await send(lab, badIp);
      await send(lab, echoPacket({ ...fromA, dst: "10.244.1.255" }, 7, 2, pattern(8)), BROADCAST);
      await send(lab, echoPacket({ ...fromA, dst: "224.0.0.1" }, 7, 3, pattern(8)), "01:00:5e:00:00:01");
      await send(lab, good);
    }));

  it("from a packet with trailing octets that Ethernet put there", (context) =>
    sameAsLinux(context, async (lab) => {
      const packet = echoPacket({ ...fromA, dst: "10.244.2.2" }, 7, 1, pattern(4));
      const padded = new Uint8Array(46);
      padded.set(packet);
      await send(lab, padded);
    }));

  it("in fragments when the request came in fragments", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        const whole = echoPacket({ ...fromA, dst: "10.244.2.2", id: 77 }, 7, 1, pattern(2000));
        for (const part of cut(whole, 1400)) await send(lab, part);
        const other = echoPacket({ ...fromA, dst: "10.244.1.1", id: 78 }, 7, 2, pattern(2000));
        const [first, last] = cut(other, 1000);
        await send(lab, last);
        await send(lab, first);
      },
      { atLeast: 40 },
    ));

  it("not by other messages than those it must answer", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.1.1" }, 0, 0, 0x70001, pattern(8)));
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.1.1" }, 13, 0, 0x70001, new Uint8Array(12)));
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.1.1" }, 17, 0, 0x70001, pattern(4)));
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.1.1" }, 42, 0, 0, pattern(4)));
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.1.1" }, 3, 3, 0, udpTo("10.244.1.1")));
    }));
});

describe("ICMP errors as Linux sends them", () => {
  it("TTL expiry at the first and at the second node, of UDP, TCP and echo", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        for (const ttl of [1, 2]) {
          await send(lab, udpTo("10.244.2.2", { ttl, tos: 0x48 }));
          await send(
            lab,
            tcpPacket({ ...fromA, dst: "10.244.2.2", ttl, df: true }, { from: 40000, to: 80, flags: tcp.SYN }),
          );
          await send(lab, echoPacket({ ...fromA, dst: "10.244.2.2", ttl }, 7, ttl, pattern(56)));
        }
      },
      { atLeast: 30 },
    ));

  it("never about an ICMP error, and not about a fragment that is not the first", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.2.2", ttl: 1 }, 11, 0, 0, udpTo("10.244.2.2")));
      await send(lab, icmpPacket({ ...fromA, dst: "10.244.2.2", ttl: 1 }, 3, 3, 0, udpTo("10.244.2.2")));
      const [first, last] = cut(udpPacket({ ...fromA, dst: "10.244.2.2", ttl: 1 }, 40000, 9, pattern(1600)), 800);
      await send(lab, last);
      await send(lab, first);
    }));

  it("oversize with DF, by the MTU of the next device and of the route", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "flannel.1", mtu: 1400 }]);
        await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2", df: true }, 40000, 9, pattern(1400)));
        await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2", df: true }, 40000, 9, pattern(1372)));
        await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2", df: false }, 40000, 9, pattern(1400)));
        await lab.apply("node-1", [
          {
            op: "route.replace",
            netns: "host",
            dst: "10.244.2.0/24",
            via: "10.244.2.0",
            dev: "flannel.1",
            onlink: true,
            mtu: 1300,
          },
        ]);
        await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2", df: true, tos: 0x10 }, 40000, 9, pattern(1300)));
        await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2", df: false }, 40000, 9, pattern(1300)));
      },
      { atLeast: 20 },
    ));

  it("fragments of fragments keep their places", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "flannel.1", mtu: 700 }]);
      const whole = udpPacket({ ...fromA, dst: "10.244.2.2", id: 4321 }, 40000, 9, pattern(2600));
      for (const part of cut(whole, 1400)) await send(lab, part);
    }));

  it("a closed UDP port, with the head of a long datagram", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, udpTo("10.244.1.1"));
      await send(lab, udpPacket({ ...fromA, dst: "10.244.1.1", tos: 0xff, df: true }, 40000, 9, pattern(1200)));
      await send(lab, udpTo("10.244.2.2"));
      await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2" }, 40000, 9, pattern(528)));
      await send(lab, udpPacket({ ...fromA, dst: "10.244.2.2" }, 40000, 9, hello, false));
    }));

  it("a protocol that nobody handles", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, ipPacket({ ...fromA, dst: "10.244.1.1" }, 253, pattern(24)));
      await send(lab, ipPacket({ ...fromA, dst: "10.244.2.2" }, 253, pattern(24)));
    }));

  it("no route, and routes that refuse", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, udpTo("203.0.113.1"));
      const netns = "host";
      await lab.apply("node-1", [
        { op: "route.add", netns, dst: "203.0.113.1/32", type: "unreachable" },
        { op: "route.add", netns, dst: "203.0.113.2/32", type: "prohibit" },
        { op: "route.add", netns, dst: "203.0.113.3/32", type: "blackhole" },
      ]);
      for (const n of [1, 2, 3]) await send(lab, udpTo(`203.0.113.${n}`));
    }));

  it("a host that does not answer ARP, once for each packet that waited", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await send(lab, udpTo("192.168.0.77"));
        await send(lab, udpTo("192.168.0.77", { id: 2 }), GATEWAY, 3_400);
        await send(lab, udpTo("192.168.0.77", { id: 3 }));
      },
      { atLeast: 10 },
    ));

  it("a host that does not answer ARP on the sender's own bridge", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, udpTo("10.244.1.77"), GATEWAY, 3_400);
    }));

  it("at most six at once to one host", (context) =>
    sameAsLinux(context, async (lab) => {
      for (let i = 0; i < 9; i++)
        await lab.send("a", ether(GATEWAY, A.mac, IP, udpTo("10.244.2.2", { ttl: 1, id: 100 + i })));
      await lab.wait(20);
    }));

  it("the fragments that came when the rest does not, after thirty seconds: nothing before", (context) =>
    sameAsLinux(context, async (lab) => {
      const [first] = cut(udpPacket({ ...fromA, dst: "10.244.1.1" }, 40000, 9, pattern(1600)), 800);
      await send(lab, first, GATEWAY, 500);
    }));

  it("redirects, when a packet leaves the way it came", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await lab.send("a", ether(GATEWAY, A.mac, IP, udpTo(PODS.b.address)));
        await lab.send("a", ether(GATEWAY, A.mac, IP, udpTo(PODS.b.address, { id: 2, tos: 8 })));
        await lab.wait(120);
        await send(lab, udpTo(PODS.b.address, { id: 3 }));
      },
      { atLeast: 10 },
    ));

  it("nothing about packets from addresses that cannot be here", (context) =>
    sameAsLinux(context, async (lab) => {
      for (const src of ["127.0.0.1", "10.244.1.1", "0.0.0.0", "224.0.0.5", "255.255.255.255", "240.0.0.1"]) {
        await send(lab, udpPacket({ src, dst: "10.244.2.2" }, 40000, 9, hello));
      }
      for (const dst of ["127.0.0.1", "0.0.0.0", "240.0.0.1", "255.255.255.255"]) await send(lab, udpTo(dst));
      await send(lab, udpPacket({ src: "203.0.113.9", dst: "10.244.2.2" }, 40000, 9, hello));
    }));

  it("forwards or discards IP options and odd headers", (context) =>
    sameAsLinux(context, async (lab) => {
      await send(lab, udpTo("10.244.2.2", { options: [1, 1, 1, 0] }));
      await send(lab, echoPacket({ ...fromA, dst: "10.244.2.2", options: [1, 1, 1, 0], id: 5 }, 7, 1, pattern(8)));
      const short = udpTo("10.244.2.2").slice();
      short[0] = 0x44;
      await send(lab, short);
      const six = udpTo("10.244.2.2").slice();
      six[0] = 0x65;
      await send(lab, six);
      await send(lab, udpTo("10.244.2.2", { ttl: 0 }));
    }));
});
