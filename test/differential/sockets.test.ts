import { describe, it } from "vitest";
import * as tcp from "../../dataplane/wire/tcp.ts";
import { ether, pattern, tcpPacket, udpPacket } from "./frames.ts";
import type { Lab } from "./lab.ts";
import { GATEWAY_MAC, PODS } from "./layout.ts";
import { sameAsLinux } from "./same-as-linux.ts";

const A = PODS.a;
const REQUEST = "GET / HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n";
const RESPONSE = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";
const text = (length: number): string => "0123456789abcdef".repeat(Math.ceil(length / 16)).slice(0, length);

const segment = (
  lab: Lab,
  dst: string,
  flags: number,
  more: object = {},
  data: Uint8Array = new Uint8Array(0),
): Promise<void> =>
  lab.send(
    "a",
    ether(
      GATEWAY_MAC["node-1"],
      A.mac,
      0x0800,
      tcpPacket({ src: A.address, dst, df: true }, { from: 40000, to: 81, flags, ...more }, data),
    ),
  );

describe("UDP as Linux does it", () => {
  it("question and answer between pods of two nodes, of one node, and with a node", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await lab.udpBind("c", 5353, true);
        await lab.udpBind("b", 5353, true);
        await lab.udpBind("node-2", 5353, true);
        await lab.udpBind("a", 40000, false);
        for (const to of ["10.244.2.2", "10.244.1.3", "192.168.0.12", "10.244.2.1"]) {
          await lab.udpSend("a", 40000, to, 5353, "hello");
          await lab.wait(10);
        }
        await lab.udpSend("a", 40000, "10.244.2.2", 5353, "");
        await lab.wait(10);
      },
      { atLeast: 60 },
    ));

  it("from a node to a pod of the other, and to a port that nobody has", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.udpBind("node-1", 40000, false);
      await lab.udpBind("c", 5353, true);
      await lab.udpSend("node-1", 40000, "10.244.2.2", 5353, "hello");
      await lab.wait(10);
      await lab.udpSend("node-1", 40000, "10.244.1.3", 9, "hello");
      await lab.wait(10);
    }));

  it("a datagram longer than the MTU leaves in fragments and arrives whole", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        await lab.udpBind("c", 5353, true);
        await lab.udpBind("a", 40000, false);
        await lab.udpSend("a", 40000, "10.244.2.2", 5353, text(1422));
        await lab.wait(10);
        await lab.udpSend("a", 40000, "10.244.2.2", 5353, text(1423));
        await lab.wait(10);
        await lab.udpSend("a", 40000, "10.244.2.2", 5353, text(4000));
        await lab.wait(10);
      },
      { atLeast: 40 },
    ));

  it("learns the path MTU and cuts by it after", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.apply("node-1", [{ op: "link.set", netns: "host", name: "flannel.1", mtu: 1400 }]);
      await lab.udpBind("a", 40000, false);
      await lab.udpBind("c", 5353, false);
      for (let i = 0; i < 3; i++) {
        await lab.udpSend("a", 40000, "10.244.2.2", 5353, text(1400));
        await lab.wait(10);
      }
    }));

  it("a datagram whose checksum is wrong is not delivered, one without is", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.udpBind("c", 5353, true);
      const fields = { src: A.address, dst: "10.244.2.2" };
      const good = udpPacket(fields, 40000, 5353, pattern(10));
      const bad = good.slice();
      bad[30] = (bad[30] ?? 0) ^ 0xff;
      for (const packet of [bad, udpPacket(fields, 40000, 5353, pattern(10), false), good]) {
        await lab.send("a", ether(GATEWAY_MAC["node-1"], A.mac, 0x0800, packet));
        await lab.wait(10);
      }
    }));
});

describe("TCP as Linux does it", () => {
  it("answers segments for a closed port with resets", (context) =>
    sameAsLinux(
      context,
      async (lab) => {
        for (const to of ["10.244.1.1", "10.244.2.2"]) {
          await segment(lab, to, tcp.SYN, { seq: 7000 });
          await segment(lab, to, tcp.SYN, { seq: 7000 }, pattern(9));
          await segment(lab, to, tcp.ACK, { seq: 7000, ack: 5555 }, pattern(3));
          await segment(lab, to, tcp.FIN | tcp.ACK, { seq: 7000, ack: 5555 });
          await segment(lab, to, tcp.FIN, { seq: 7000 });
          await segment(lab, to, tcp.RST, { seq: 7000 });
          await segment(lab, to, 0, { seq: 0xfffffff0 }, pattern(32));
          await lab.wait(10);
        }
      },
      { atLeast: 30 },
    ));

  it("opens, and answers what is out of order while it does", (context) =>
    sameAsLinux(context, async (lab) => {
      await lab.tcpServe("c", 81, RESPONSE);
      await segment(lab, "10.244.2.2", tcp.ACK, { seq: 1, ack: 77 });
      await segment(lab, "10.244.2.2", tcp.FIN, { seq: 1 });
      await lab.wait(10);
    }));

  for (const [what, from, to, address] of [
    ["between pods of two nodes", "a", "c", "10.244.2.2"],
    ["between pods of one node", "a", "b", "10.244.1.3"],
    ["from a node to a pod elsewhere", "node-1", "c", "10.244.2.2"],
    ["from a pod to a node", "a", "node-2", "192.168.0.12"],
  ] as const) {
    it(`an HTTP exchange ${what}`, (context) =>
      sameAsLinux(
        context,
        async (lab) => {
          await lab.tcpServe(to, 80, RESPONSE);
          const got = await lab.tcpRequest(from, 40001, address, 80, REQUEST);
          await lab.wait(30);
          return got;
        },
        { atLeast: 30, sockets: true },
      ));
  }

  it("a connection that nobody takes", (context) =>
    sameAsLinux(context, async (lab) => {
      const refused = await lab.tcpRequest("a", 40001, "10.244.2.2", 80, REQUEST);
      await lab.wait(10);
      return refused;
    }));

  it("a connection to a host without a route", (context) =>
    sameAsLinux(context, async (lab) => {
      const refused = await lab.tcpRequest("a", 40001, "203.0.113.1", 80, REQUEST);
      await lab.wait(10);
      return refused;
    }));
});
