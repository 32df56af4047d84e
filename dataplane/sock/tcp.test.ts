import { describe, expect, it } from "vitest";
import { type TwoNodes, twoNodes } from "../../bench/layouts/two-nodes.ts";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import * as ip from "../wire/ipv4.ts";
import { type Ipv4Addr, ipv4 } from "../wire/ipv4-addr.ts";
import * as tcp from "../wire/tcp.ts";
import { ANY } from "./port-table.ts";
import { type TcpFailure, type TcpHandler, TcpListener, TcpSocket } from "./tcp.ts";

const SERVER = ipv4("10.244.2.2");

const pattern = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 131 + (i >> 8)) & 0xff);

/** One end of a connection, and what it was told. */
class End implements TcpHandler {
  readonly got: number[] = [];
  readonly events: string[] = [];
  socket: TcpSocket | null = null;
  connected(socket: TcpSocket): void {
    this.socket = socket;
    this.events.push("connected");
  }
  data(_socket: TcpSocket, bytes: Uint8Array, off: number, len: number): void {
    for (let i = 0; i < len; i++) this.got.push(bytes[off + i] as number);
  }
  ended(): void {
    this.events.push("ended");
  }
  failed(_socket: TcpSocket, why: TcpFailure): void {
    this.events.push(why);
  }
}

type Pair = {
  readonly layout: TwoNodes;
  readonly client: End;
  readonly server: End;
  readonly socket: TcpSocket;
  readonly capture: Capture;
  run(ms: number): void;
};

function connect(options: Parameters<typeof twoNodes>[1] = {}, seed = 1, to: Ipv4Addr = SERVER): Pair {
  const layout = twoNodes(seed, options);
  const capture = new Capture().attach(layout.pods[0].dev("eth0") as NetDev);
  const [client, server] = [new End(), new End()];
  TcpListener.listen(layout.pods[1], ANY, 80, () => server);
  const socket = TcpSocket.connect(layout.pods[0], to, 80, client);
  if (typeof socket === "string") throw new Error(socket);
  const run = (ms: number): void => layout.world.loop.run({ deadline: layout.world.loop.time + ms });
  return { layout, client, server, socket, capture, run };
}

/** The segments that the client sent. */
function sent(capture: Capture): { time: number; flags: string; payload: number; window: number }[] {
  return capture.frames
    .filter((f) => f.direction === "out" && f.bytes[12] === 8 && f.bytes[13] === 0 && ip.protocol(f.bytes, 14) === 6)
    .map((f) => {
      const th = 14 + ip.headerLen(f.bytes, 14);
      const payload = 14 + ip.totalLen(f.bytes, 14) - th - tcp.dataOffset(f.bytes, th);
      const flags = tcp.formatFlags(tcp.flags(f.bytes, th));
      return { time: f.time, flags, payload, window: tcp.window(f.bytes, th) };
    });
}

describe("a TCP connection", () => {
  it("opens, carries octets both ways, and closes when both ends have", () => {
    const { client, server, socket, run } = connect();
    run(10);
    expect([socket.state, server.socket?.state]).toEqual(["ESTABLISHED", "ESTABLISHED"]);
    socket.write(pattern(5_000));
    run(10);
    server.socket?.write(pattern(70_000));
    run(1_000);
    expect(Uint8Array.from(server.got)).toEqual(pattern(5_000));
    expect(Uint8Array.from(client.got)).toEqual(pattern(70_000));
    socket.close();
    run(10);
    expect([socket.state, server.socket?.state]).toEqual(["FIN_WAIT_2", "CLOSE_WAIT"]);
    server.socket?.close();
    run(10);
    expect([socket.state, server.socket?.state]).toEqual(["TIME_WAIT", "CLOSED"]);
    run(60_000);
    expect(socket.state).toBe("CLOSED");
    expect([client.events, server.events]).toEqual([
      ["connected", "ended"],
      ["connected", "ended"],
    ]);
  });

  it("closes from the other end, and from both at once", () => {
    const first = connect();
    first.run(10);
    first.server.socket?.close();
    first.run(10);
    expect([first.socket.state, first.server.socket?.state]).toEqual(["CLOSE_WAIT", "FIN_WAIT_2"]);
    first.socket.close();
    first.run(10);
    expect([first.socket.state, first.server.socket?.state]).toEqual(["CLOSED", "TIME_WAIT"]);

    const both = connect({ delay: 5 });
    both.run(100);
    both.socket.close();
    both.server.socket?.close();
    both.run(100);
    expect([both.socket.state, both.server.socket?.state]).toEqual(["TIME_WAIT", "TIME_WAIT"]);
  });

  it("still takes data after it has sent its FIN", () => {
    const { client, server, socket, run } = connect();
    run(10);
    socket.close();
    run(10);
    server.socket?.write(pattern(3_000));
    server.socket?.close();
    run(10);
    expect(Uint8Array.from(client.got)).toEqual(pattern(3_000));
    expect(client.events).toEqual(["connected", "ended"]);
  });

  for (const loss of [0.05, 0.2]) {
    for (const seed of [1, 2, 3, 4, 5]) {
      it(`brings every octet over an underlay that loses ${loss * 100} of 100 frames (seed ${seed})`, () => {
        const { client, server, socket, run, layout } = connect({ delay: 3, loss }, seed);
        layout.world.loop.run({ done: () => socket.state === "ESTABLISHED", deadline: 600_000 });
        socket.write(pattern(40_000));
        socket.close();
        layout.world.loop.run({ done: () => server.events.includes("ended"), deadline: 600_000 });
        server.socket?.write(pattern(20_000));
        server.socket?.close();
        run(600_000);
        expect(Uint8Array.from(server.got)).toEqual(pattern(40_000));
        expect(Uint8Array.from(client.got)).toEqual(pattern(20_000));
        expect(layout.underlay.lost).toBeGreaterThan(0);
        expect([socket.state, server.socket?.state]).toEqual(["CLOSED", "CLOSED"]);
        expect(layout.world.pool.live).toBe(0);
      });
    }
  }

  it("repeats a SYN after 1, 3, 7, 15, 31 and 63 seconds, and gives up after 127", () => {
    const { client, capture, run, layout } = connect({ loss: 1 });
    applyOps(layout.nodes[0], [
      { op: "neigh.replace", netns: "host", dev: "eth0", address: "192.168.0.12", mac: "52:54:00:00:00:12" },
    ]);
    run(126_999);
    expect(client.events).toEqual([]);
    run(1);
    expect(client.events).toEqual(["ETIMEDOUT"]);
    expect(sent(capture).map((s) => s.time)).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000]);
  });

  it("is refused by a reset where nobody listens", () => {
    const layout = twoNodes();
    const client = new End();
    TcpSocket.connect(layout.pods[0], SERVER, 81, client);
    layout.world.loop.run({ deadline: 100 });
    expect(client.events).toEqual(["ECONNREFUSED"]);
  });

  it("is told of a network and of a host that cannot be reached", () => {
    const layout = twoNodes();
    const [net, host] = [new End(), new End()];
    TcpSocket.connect(layout.pods[0], ipv4("203.0.113.1"), 80, net);
    TcpSocket.connect(layout.pods[0], ipv4("192.168.0.99"), 80, host);
    layout.world.loop.run({ deadline: 5_000 });
    expect([net.events, host.events]).toEqual([["ENETUNREACH"], ["EHOSTUNREACH"]]);
  });

  it("fails at the other end when one aborts", () => {
    const { server, socket, run } = connect();
    run(10);
    socket.abort();
    run(10);
    expect(server.events).toEqual(["connected", "ECONNRESET"]);
    expect(server.socket?.state).toBe("CLOSED");
  });

  it("sends shorter segments once a router tells of a smaller MTU", () => {
    const { server, socket, capture, run, layout } = connect();
    run(10);
    applyOps(layout.nodes[0], [{ op: "link.set", netns: "host", name: "flannel.1", mtu: 1_000 }]);
    socket.write(pattern(20_000));
    run(5_000);
    expect(Uint8Array.from(server.got)).toEqual(pattern(20_000));
    const sizes = sent(capture).map((s) => s.payload);
    expect(Math.max(...sizes)).toBe(1_398);
    expect(Math.max(...sizes.slice(-8))).toBe(948);
  });

  it("offers a window of whole segments, and takes no more than it offered", () => {
    const { capture, run } = connect();
    run(10);
    expect(sent(capture)[0]).toMatchObject({ flags: "[S]", window: 64_860 });
  });

  it("answers a connection's port that is in use with nothing new", () => {
    const layout = twoNodes();
    expect(TcpListener.listen(layout.pods[1], ANY, 80, () => new End())).not.toBeNull();
    expect(TcpListener.listen(layout.pods[1], SERVER, 80, () => new End())).toBeNull();
  });
});
