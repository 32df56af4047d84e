/**
 * Connections of userspace mode: the client is accepted first, then an endpoint is dialled, another if that takes too long,
 * and octets go both ways until one side ends (proxysocket.go). The endpoint sees the node's address.
 */
import type { NetNs } from "../../../dataplane/netns/netns.ts";
import { ANY } from "../../../dataplane/sock/port-table.ts";
import { type TcpHandler, TcpListener, TcpSocket } from "../../../dataplane/sock/tcp.ts";
import type { RoundRobin } from "./balancer.ts";
import { newBalancer, type Relay, splitEndpoint } from "./relay.ts";

/** Milliseconds that each try to reach an endpoint may take (EndpointDialTimeouts). */
const DIAL_TIMEOUTS: readonly number[] = [250, 500, 1_000, 2_000];

export class TcpRelay implements Relay {
  readonly port: number;
  readonly balancer: RoundRobin;
  readonly #listener: TcpListener;

  private constructor(listener: TcpListener, balancer: RoundRobin) {
    this.port = listener.port;
    this.balancer = balancer;
    this.#listener = listener;
  }

  /** On a free port of the node. */
  static open(ns: NetNs, name: string): TcpRelay {
    const balancer = newBalancer(ns, `tcp ${name}`);
    const port = ns.tcpListeners.ephemeral(ns.sysctls.localPortMin, ns.sysctls.localPortMax);
    const listener = TcpListener.listen(ns, ANY, port, (client) => new Splice(ns, client, balancer));
    if (listener === null) throw new Error(`no free port for the relay of ${name}`);
    return new TcpRelay(listener, balancer);
  }

  /** Connections that are open stay so. */
  close(): void {
    this.#listener.close();
  }
}

/** One client and its endpoint. As a handler it is the client's. */
class Splice implements TcpHandler {
  readonly #ns: NetNs;
  readonly #client: TcpSocket;
  readonly #balancer: RoundRobin;
  #server: TcpSocket | null = null;
  /** What the client said before there was an endpoint to tell. */
  #early: Uint8Array[] = [];
  #clientEnded = false;
  #over = false;

  constructor(ns: NetNs, client: TcpSocket, balancer: RoundRobin) {
    this.#ns = ns;
    this.#client = client;
    this.#balancer = balancer;
  }

  connected(): void {
    this.#dial(0);
  }

  data(_client: TcpSocket, bytes: Uint8Array, off: number, len: number): void {
    const heard = bytes.slice(off, off + len);
    if (this.#server === null) this.#early.push(heard);
    else this.#server.write(heard);
  }

  ended(): void {
    this.#clientEnded = true;
    if (this.#server !== null) this.#close();
  }

  failed(): void {
    this.#over = true;
    this.#server?.abort();
  }

  #dial(attempt: number): void {
    const { loop } = this.#ns.world;
    const wait = DIAL_TIMEOUTS[attempt];
    const endpoint = this.#balancer.choose(this.#client.remote | 0, loop.time, attempt > 0);
    if (this.#over || wait === undefined || endpoint === undefined) {
      this.#client.close();
      return;
    }
    const { address, port } = splitEndpoint(endpoint);
    let tried = false;
    const next = (): void => {
      if (tried) return;
      tried = true;
      timer.cancel();
      this.#dial(attempt + 1);
    };
    const timer = loop.schedule(wait, () => {
      if (typeof server !== "string") server.abort();
      next();
    });
    const server = TcpSocket.connect(this.#ns, address, port, {
      connected: (socket) => {
        tried = true;
        timer.cancel();
        this.#join(socket);
      },
      data: (_socket, bytes, off, len) => this.#client.write(bytes.slice(off, off + len)),
      ended: () => this.#close(),
      failed: () => (tried ? this.#client.abort() : next()),
    });
    if (typeof server === "string") next();
  }

  #join(server: TcpSocket): void {
    if (this.#over) {
      server.abort();
      return;
    }
    this.#server = server;
    for (const heard of this.#early) server.write(heard);
    this.#early = [];
    if (this.#clientEnded) this.#close();
  }

  /** Whoever ends first ends it for both. */
  #close(): void {
    this.#server?.close();
    this.#client.close();
  }
}
