/** The lab on the emulator. */
import { Capture } from "../../dataplane/dev/capture.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { Underlay } from "../../dataplane/host/underlay.ts";
import { World } from "../../dataplane/host/world.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener, TcpSocket } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { ipv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { mac } from "../../dataplane/wire/mac-addr.ts";
import type { Frame, Frames, Lab } from "./lab.ts";
import { NODES, nodeOps, PLACES, type Place, PODS } from "./layout.ts";

export class EmulatedLab implements Lab {
  readonly world: World;
  readonly #hosts: Readonly<Record<"node-1" | "node-2", Host>>;
  readonly #capture = new Capture();
  readonly #sockets = new Map<string, UdpSocket>();
  /** How many frames had passed at the end of each `wait`: the other lab waits for as many. */
  readonly counts: number[] = [];

  constructor(seed = 1) {
    this.world = new World(seed);
    const underlay = new Underlay(this.world);
    const host = (name: "node-1" | "node-2"): Host => {
      const h = new Host(this.world, name);
      h.addNic("eth0", underlay, mac(NODES[name].mac), 1500);
      return h;
    };
    this.#hosts = { "node-1": host("node-1"), "node-2": host("node-2") };
    for (const [pod, plan] of Object.entries(PODS)) this.#hosts[plan.node].addNetns(pod);
    for (const node of ["node-1", "node-2"] as const) applyOps(this.#hosts[node], named(nodeOps(node)));
    this.#watch();
  }

  /** Also devices that came after. */
  #watch(): void {
    for (const place of PLACES) {
      for (const dev of this.ns(place).devs.values()) {
        if (dev.name !== "lo" && dev.taps === null) this.#capture.attach(dev);
      }
    }
  }

  ns(place: Place): NetNs {
    if (place === "node-1" || place === "node-2") return this.#hosts[place].root;
    return this.#hosts[PODS[place].node].netns(`/var/run/netns/${place}`);
  }

  async apply(node: "node-1" | "node-2", ops: readonly RtnlOp[]): Promise<void> {
    applyOps(this.#hosts[node], named(ops));
    this.#watch();
  }

  async send(place: Place, frame: Uint8Array, dev = "eth0"): Promise<void> {
    const skb = this.world.pool.alloc(frame.length);
    skb.buf.set(frame, skb.data);
    skb.end = skb.data + frame.length;
    skb.mac = skb.data;
    skb.network = skb.data + 14;
    (this.ns(place).dev(dev) as NetDev).transmit(skb);
    this.world.loop.runNow();
  }

  async wait(ms: number): Promise<void> {
    this.world.loop.run({ deadline: this.world.loop.time + ms });
    this.counts.push(this.#capture.frames.length);
  }

  async udpBind(place: Place, port: number, echo: boolean): Promise<void> {
    const socket = UdpSocket.bind(this.ns(place), ANY, port, {
      datagram(s, bytes, off, len, from, fromPort) {
        // By route, as a socket without IP_PKTINFO: the answer may leave from another address than was asked.
        if (echo) s.send(from, fromPort, bytes.slice(off, off + len), 0, len);
      },
    });
    if (socket === null) throw new Error(`port ${port} is taken`);
    this.#sockets.set(`${place} ${port}`, socket);
  }

  async udpSend(place: Place, port: number, to: string, toPort: number, text: string): Promise<void> {
    const bytes = Buffer.from(text);
    this.#sockets.get(`${place} ${port}`)?.send(ipv4(to), toPort, bytes, 0, bytes.length);
    this.world.loop.runNow();
  }

  async tcpServe(place: Place, port: number, response: string): Promise<void> {
    const bytes = Buffer.from(response);
    const world = this.world;
    TcpListener.listen(this.ns(place), ANY, port, () => ({
      data(socket) {
        socket.write(bytes);
        // In Linux the octets are on their way before the program closes.
        world.loop.schedule(0.01, () => socket.close());
      },
    }));
  }

  async tcpRequest(place: Place, port: number, to: string, toPort: number, request: string): Promise<string> {
    let got = "";
    let done = false;
    const end = (text: string): void => {
      got = text;
      done = true;
    };
    const socket = TcpSocket.connect(
      this.ns(place),
      ipv4(to),
      toPort,
      {
        connected: (s) => s.write(Buffer.from(request)),
        data: (_s, bytes, off, len) => {
          got += Buffer.from(bytes.buffer, bytes.byteOffset + off, len).toString();
        },
        ended: (s) => {
          s.close();
          end(got);
        },
        failed: (_s, why) => end(why),
      },
      { port },
    );
    if (typeof socket === "string") return socket;
    this.world.loop.run({ done: () => done, deadline: this.world.loop.time + 20_000 });
    return done ? got : "no end";
  }

  frames(): Frames {
    const byPort = new Map<string, Frame[]>();
    for (const f of this.#capture.frames) {
      const key = `${f.netns === "host" ? f.node : f.netns}/${f.dev}`;
      const list = byPort.get(key);
      if (list === undefined) byPort.set(key, [f]);
      else list.push(f);
    }
    return byPort;
  }

  async close(): Promise<void> {
    this.#capture.detach();
  }
}

/** The layout names pods; the emulator knows them by path. */
function named(ops: readonly RtnlOp[]): RtnlOp[] {
  return ops.map((op) => (op.netns === "host" ? op : { ...op, netns: `/var/run/netns/${op.netns}` }));
}
