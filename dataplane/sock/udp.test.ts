import { describe, expect, it } from "vitest";
import { twoNodes } from "../../bench/layouts/two-nodes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import { formatIpv4, ipv4 } from "../wire/ipv4-addr.ts";
import { PingSocket } from "./ping.ts";
import { ANY } from "./port-table.ts";
import { UdpSocket } from "./udp.ts";

const TO = ipv4("10.244.2.2");

describe("a UDP socket", () => {
  it("gets what is sent to it, with the sender's address, whole at any size", () => {
    const { world, pods } = twoNodes();
    const got: string[] = [];
    UdpSocket.bind(pods[1], ANY, 9, {
      datagram: (_s, bytes, off, len, from, port, to) => {
        const good = bytes.subarray(off, off + len).every((octet, i) => octet === (i & 0xff));
        got.push(`${formatIpv4(from)}:${port} ${formatIpv4(to)} ${len} ${good}`);
      },
    });
    const socket = UdpSocket.bind(pods[0], ANY, 4000, { datagram: () => {} });
    for (const size of [0, 1, 1_422, 1_423, 9_000, 65_507]) {
      expect(
        socket?.send(
          TO,
          9,
          Uint8Array.from({ length: size }, (_, i) => i & 0xff),
          0,
          size,
        ),
      ).toBe(true);
      world.loop.runNow();
    }
    expect(got).toEqual([0, 1, 1_422, 1_423, 9_000, 65_507].map((size) => `10.244.1.2:4000 10.244.2.2 ${size} true`));
    world.loop.run();
    expect(world.pool.live).toBe(0);
  });

  it("is told of a port that nobody has", () => {
    const { world, pods } = twoNodes();
    const errors: string[] = [];
    const socket = UdpSocket.bind(pods[0], ANY, 4000, {
      datagram: () => {},
      error: (_s, type, code, from, to, port) => {
        errors.push(`${type} ${code} ${formatIpv4(from)} ${formatIpv4(to)}:${port}`);
      },
    });
    socket?.send(TO, 9, new Uint8Array(3), 0, 3);
    world.loop.runNow();
    expect(errors).toEqual([`${icmpv4.DEST_UNREACH} ${icmpv4.PORT_UNREACH} 10.244.2.2 10.244.2.2:9`]);
    expect(pods[1].drops[DropReason.NO_SOCKET]).toBe(1);
  });

  it("shares a port only on other addresses, and gives it back", () => {
    const { pods } = twoNodes();
    const receiver = { datagram: (): void => {} };
    const first = UdpSocket.bind(pods[1], TO, 9, receiver);
    expect(UdpSocket.bind(pods[1], TO, 9, receiver)).toBeNull();
    expect(UdpSocket.bind(pods[1], ANY, 9, receiver)).toBeNull();
    expect(UdpSocket.bind(pods[1], ipv4("127.0.0.1"), 9, receiver)).not.toBeNull();
    first?.close();
    expect(UdpSocket.bind(pods[1], TO, 9, receiver)).not.toBeNull();
  });

  it("has no way to where no route leads", () => {
    const { nodes } = twoNodes();
    const socket = UdpSocket.bind(nodes[0].root, ANY, 0, { datagram: () => {} });
    expect(socket?.send(ipv4("203.0.113.1"), 9, new Uint8Array(1), 0, 1)).toBe(false);
  });
});

describe("an echo", () => {
  it("comes back with its octets and the path's TTL, and an error says who sent it", () => {
    const { world, pods } = twoNodes();
    const heard: string[] = [];
    const socket = new PingSocket(pods[0], TO, {
      reply: (seq, from, ttl, _b, _off, len) => void heard.push(`${seq} ${formatIpv4(from)} ${ttl} ${len}`),
      error: (type, code, from, info) => void heard.push(`${type}/${code} ${formatIpv4(from)} ${info}`),
    });
    socket.send(TO, 1, new Uint8Array(56));
    world.loop.runNow();
    socket.send(TO, 2, new Uint8Array(0), { ttl: 1 });
    socket.send(TO, 3, new Uint8Array(0), { ttl: 2 });
    world.loop.runNow();
    socket.send(TO, 4, new Uint8Array(3_000));
    world.loop.runNow();
    expect(heard).toEqual(["1 10.244.2.2 62 56", "11/0 10.244.1.1 0", "11/0 10.244.2.0 0", "4 10.244.2.2 62 3000"]);
    socket.close();
    expect(pods[0].pingSockets.size).toBe(0);
  });
});
