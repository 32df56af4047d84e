import { beforeEach, describe, expect, it } from "vitest";
import type { Host } from "../host/host.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpAddrs, dumpNeighs, dumpRoutes } from "../netns/rtnl-dump.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { PingSocket } from "../sock/ping.ts";
import { ANY } from "../sock/port-table.ts";
import { TcpListener, TcpSocket } from "../sock/tcp.ts";
import { UdpSocket } from "../sock/udp.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { formatIp, ipKey, parseIp } from "../wire/ip-key.ts";
import { A, B, routed } from "./testing.ts";

describe("IPv6", () => {
  let host: Host;
  beforeEach(() => {
    host = routed();
  });

  /** What an echo request got back. */
  function ping(from: string, to: string, options: { ttl?: number; size?: number } = {}): string {
    const ns = host.netns(from);
    let got = "nothing";
    const socket = new PingSocket(ns, ipKey(to), {
      reply: (_seq, peer, hops, _b, _off, len) => {
        got = `reply ${formatIp(peer)} hops ${hops} ${len} octets`;
      },
      error: (type, code, peer, info) => {
        got = `error ${type}/${code} ${formatIp(peer)} ${info}`;
      },
    });
    const sent = socket.send(parseIp(to) as never, 1, new Uint8Array(options.size ?? 56), {
      ...(options.ttl === undefined ? {} : { ttl: options.ttl }),
    });
    const { loop } = host.world;
    loop.run({ deadline: loop.time + 5_000 });
    socket.close();
    return sent ? got : "not sent";
  }

  it("finds its neighbours and is answered, on the link and beyond", () => {
    expect(ping(A, "fd00:0::1")).toBe("reply fd00::1 hops 64 56 octets");
    expect(ping(A, "fd00:1::2")).toBe("reply fd00:1::2 hops 63 56 octets");
    expect(dumpNeighs(host.netns(A))).toMatchObject([{ address: "fd00::1", mac: "02:00:00:00:00:01" }]);
    expect(host.world.pool.live).toBe(0);
  });

  it("carries UDP, and says where nobody listens", () => {
    const heard: string[] = [];
    const say = (socket: UdpSocket, bytes: Uint8Array, off: number, len: number, from: number, port: number): void => {
      heard.push(`${formatIp(from)} ${port} ${new TextDecoder().decode(bytes.subarray(off, off + len))}`);
      if (socket.port === 53) socket.send(from as never, port, bytes, off, len);
    };
    UdpSocket.bind(host.netns(B), ANY, 53, { datagram: say });
    const errors: string[] = [];
    const socket = UdpSocket.bind(host.netns(A), ANY, 4000, {
      datagram: say,
      error: (_s, type, code, from) => void errors.push(`${type}/${code} ${formatIp(from)}`),
    });
    const question = new TextEncoder().encode("question");
    for (const port of [53, 54]) {
      socket?.send(parseIp("fd00:1::2") as never, port, question, 0, question.length);
      host.world.loop.run();
    }
    expect(heard).toEqual(["fd00::2 4000 question", "fd00:1::2 53 question"]);
    expect(errors).toEqual(["3/3 fd00:1::2"]);
    expect(host.world.pool.live).toBe(0);
  });

  it("carries TCP, and refuses where nobody listens", () => {
    let heard = "";
    TcpListener.listen(host.netns(B), ANY, 80, () => ({
      data: (socket, bytes, off, len) => {
        heard += new TextDecoder().decode(bytes.subarray(off, off + len));
        socket.write(new TextEncoder().encode("answer"));
        socket.close();
      },
    }));
    const events: string[] = [];
    const handler = {
      connected: (socket: TcpSocket) => socket.write(new Uint8Array(5_000).fill(0x61)),
      data: (_s: TcpSocket, bytes: Uint8Array, off: number, len: number) =>
        void events.push(new TextDecoder().decode(bytes.subarray(off, off + len))),
      ended: (socket: TcpSocket) => socket.close(),
      failed: (_s: TcpSocket, why: string) => void events.push(why),
    };
    for (const port of [80, 81]) TcpSocket.connect(host.netns(A), parseIp("fd00:1::2") as never, port, handler);
    host.world.loop.run();
    expect(heard).toBe("a".repeat(5_000));
    expect(events.sort()).toEqual(["ECONNREFUSED", "answer"]);
    expect(host.world.pool.live).toBe(0);
  });

  it("tells who sent what went wrong", () => {
    expect(ping(A, "fd00:1::2", { ttl: 1 })).toBe(`error ${icmpv6.TIME_EXCEED}/0 fd00::1 0`);
    expect(ping(A, "fd00:9::2")).toBe(`error ${icmpv6.DEST_UNREACH}/${icmpv6.NOROUTE} fd00::1 0`);
    expect(ping(A, "fd00:1::77")).toBe(`error ${icmpv6.DEST_UNREACH}/${icmpv6.ADDR_UNREACH} fd00::1 0`);
    applyOps(host, [{ op: "link.set", netns: "host", name: "v1", mtu: 1280 }]);
    expect(ping(A, "fd00:1::2", { size: 1300 })).toBe(`error ${icmpv6.PKT_TOOBIG}/0 fd00::1 1280`);
    expect(ping(B, "2001:db8::1")).toContain("error");
  });

  it("is no router while forwarding is off, and nothing where it is disabled", () => {
    applyOps(host, [{ op: "sysctl.set", netns: "host", key: "net.ipv6.conf.all.forwarding", value: "0" }]);
    expect(ping(A, "fd00:1::2")).toBe("nothing");
    applyOps(host, [{ op: "sysctl.set", netns: A, key: "net.ipv6.conf.eth0.disable_ipv6", value: "1" }]);
    expect(() => applyOps(host, [{ op: "addr.add", netns: A, dev: "eth0", address: "fd00::9/64" }])).toThrow(
      /disabled/,
    );
  });

  it("has the routes that its addresses bring, and loses them with the link", () => {
    expect(dumpRoutes(host.netns(A))).toEqual([
      { dst: "fd00::/64", dev: "eth0", metric: 256, scope: "global", proto: "kernel" },
      { dst: "::/0", via: "fd00::1", dev: "eth0", metric: 1024, scope: "global", proto: "boot" },
    ]);
    applyOps(host, [{ op: "link.set", netns: A, name: "lo", up: true }]);
    expect(dumpAddrs(host.netns(A)).map((a) => a.address)).toContain("::1/128");
    applyOps(host, [{ op: "link.set", netns: A, name: "eth0", up: false }]);
    expect(dumpRoutes(host.netns(A))).toEqual([]);
    expect(dumpAddrs(host.netns(A)).map((a) => a.address)).toEqual(["127.0.0.1/8", "::1/128"]);
  });

  it("is undone as a whole", () => {
    const before = [dumpAddrs(host.netns(A)), dumpRoutes(host.netns(A))];
    const ops: RtnlOp[] = [
      { op: "addr.add", netns: A, dev: "eth0", address: "fd00:5::2/64" },
      { op: "route.add", netns: A, dst: "fd00:6::/64", via: "fd00:5::1" },
      { op: "addr.del", netns: A, dev: "eth0", address: "fd00:0::2/64" },
      { op: "link.set", netns: A, name: "eth0", up: false },
      { op: "link.del", netns: A, name: "missing" },
    ];
    expect(() => applyOps(host, ops)).toThrow(/missing/);
    expect([dumpAddrs(host.netns(A)), dumpRoutes(host.netns(A))]).toEqual(before);
    expect(ping(A, "fd00:1::2")).toContain("reply");
  });

  it("makes a link-local address from the MAC where it is asked to", () => {
    applyOps(host, [
      { op: "sysctl.set", netns: A, key: "net.ipv6.conf.default.addr_gen_mode", value: "0" },
      { op: "link.add", netns: A, name: "d0", kind: "dummy", mac: "02:11:22:33:44:55", up: true },
    ]);
    expect(dumpAddrs(host.netns(A)).find((a) => a.dev === "d0")).toMatchObject({
      address: "fe80::11:22ff:fe33:4455/64",
      scope: "link",
    });
  });
});
