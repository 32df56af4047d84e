/**
 * Datagrams of userspace mode: each client gets a socket of its own towards one endpoint, for as long as one of the two
 * says something often enough (proxysocket.go).
 */
import type { NetNs } from "../../../dataplane/netns/netns.ts";
import type { Timer } from "../../../dataplane/sim/event-loop.ts";
import { ANY } from "../../../dataplane/sock/port-table.ts";
import { UdpSocket } from "../../../dataplane/sock/udp.ts";
import type { IpKey } from "../../../dataplane/wire/ip-key.ts";
import type { RoundRobin } from "./balancer.ts";
import { newBalancer, type Relay, splitEndpoint } from "./relay.ts";

/** Milliseconds of silence after which a client is forgotten (udpIdleTimeout). */
export const UDP_IDLE = 250;

type Client = {
  readonly socket: UdpSocket;
  readonly to: { readonly address: IpKey; readonly port: number };
  idle: Timer;
};

export class UdpRelay implements Relay {
  readonly balancer: RoundRobin;
  readonly #ns: NetNs;
  readonly #socket: UdpSocket;
  readonly #clients: Map<string, Client> = new Map();

  private constructor(ns: NetNs, name: string) {
    this.#ns = ns;
    this.balancer = newBalancer(ns, `udp ${name}`);
    const socket = UdpSocket.bind(ns, ANY, 0, {
      datagram: (_socket, bytes, off, len, from, fromPort) => this.#heard(bytes, off, len, from, fromPort),
    });
    if (socket === null) throw new Error(`no free port for the relay of ${name}`);
    this.#socket = socket;
  }

  /** On a free port of the node. */
  static open(ns: NetNs, name: string): UdpRelay {
    return new UdpRelay(ns, name);
  }

  get port(): number {
    return this.#socket.port;
  }

  close(): void {
    this.#socket.close();
    for (const key of [...this.#clients.keys()]) this.#forget(key);
  }

  #heard(bytes: Uint8Array, off: number, len: number, from: IpKey, fromPort: number): void {
    const key = `${from}:${fromPort}`;
    const client = this.#clients.get(key) ?? this.#begin(key, from, fromPort);
    if (client === undefined) return;
    this.#awake(key, client);
    client.socket.send(client.to.address, client.to.port, bytes, off, len);
  }

  #begin(key: string, from: IpKey, fromPort: number): Client | undefined {
    const endpoint = this.balancer.choose(from | 0, this.#ns.world.loop.time, false);
    if (endpoint === undefined) return undefined;
    const socket = UdpSocket.bind(this.#ns, ANY, 0, {
      datagram: (_socket, bytes, off, len) => {
        const known = this.#clients.get(key);
        if (known !== undefined) this.#awake(key, known);
        this.#socket.send(from, fromPort, bytes, off, len);
      },
      error: () => this.#forget(key),
    });
    if (socket === null) return undefined;
    const client = { socket, to: splitEndpoint(endpoint), idle: this.#timer(key) };
    this.#clients.set(key, client);
    return client;
  }

  #awake(key: string, client: Client): void {
    client.idle.cancel();
    client.idle = this.#timer(key);
  }

  #timer(key: string): Timer {
    return this.#ns.world.loop.schedule(UDP_IDLE, () => this.#forget(key));
  }

  #forget(key: string): void {
    const client = this.#clients.get(key);
    client?.idle.cancel();
    client?.socket.close();
    this.#clients.delete(key);
  }
}
