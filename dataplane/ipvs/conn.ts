/**
 * Connections through ipvs (ip_vs_conn.c): found by the client's address and port, from both sides, in one hash that grows
 * and counts its probes. Time is looked at when an entry is met, and a few chains are swept with each new entry.
 */
import type { Destination, VirtualService } from "./service.ts";
import { isActive } from "./state.ts";

const MIN_BUCKETS = 256;
const SWEEP = 4;

export class IpvsConn {
  readonly proto: number;
  readonly client: number;
  readonly clientPort: number;
  readonly virtual: number;
  readonly virtualPort: number;
  readonly service: VirtualService;
  readonly destination: Destination;
  /** A template of persistence: it stands for a client, not for a connection. */
  readonly template: boolean;
  /** The template that this connection was made by, and how many connections a template has made that live. */
  readonly control: IpvsConn | null;
  controlled = 0;
  state = 0;
  expires = 0;
  dead = false;
  next: IpvsConn | null = null;

  constructor(
    proto: number,
    client: number,
    clientPort: number,
    virtual: number,
    virtualPort: number,
    service: VirtualService,
    destination: Destination,
    template: boolean,
    control: IpvsConn | null,
  ) {
    this.proto = proto;
    this.client = client;
    this.clientPort = clientPort;
    this.virtual = virtual;
    this.virtualPort = virtualPort;
    this.service = service;
    this.destination = destination;
    this.template = template;
    this.control = control;
  }

  get active(): boolean {
    return isActive(this.proto, this.state);
  }
}

function hash(client: number, port: number, proto: number): number {
  let h = Math.imul(client ^ (proto << 24), 0xcc9e2d51) ^ Math.imul(port, 0x1b873593);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return h ^ (h >>> 13);
}

export class ConnTable {
  #buckets: (IpvsConn | null)[] = new Array<IpvsConn | null>(MIN_BUCKETS).fill(null);
  #mask = MIN_BUCKETS - 1;
  #sweepAt = 0;
  count = 0;
  /** Entries looked at so far. */
  probes = 0;

  /** By what a client sends. */
  fromClient(
    proto: number,
    client: number,
    clientPort: number,
    virtual: number,
    virtualPort: number,
    template: boolean,
    now: number,
  ): IpvsConn | null {
    for (let c = this.#head(proto, client, clientPort); c !== null; c = c.next) {
      this.probes++;
      if (
        c.client === client &&
        c.clientPort === clientPort &&
        c.virtual === virtual &&
        c.virtualPort === virtualPort &&
        c.proto === proto &&
        c.template === template
      )
        return this.#living(c, now);
    }
    return null;
  }

  /** By what a real server answers. */
  fromServer(
    proto: number,
    server: number,
    serverPort: number,
    client: number,
    clientPort: number,
    now: number,
  ): IpvsConn | null {
    for (let c = this.#head(proto, client, clientPort); c !== null; c = c.next) {
      this.probes++;
      if (
        c.client === client &&
        c.clientPort === clientPort &&
        c.destination.address === server &&
        serverPortOf(c) === serverPort &&
        c.proto === proto &&
        !c.template
      )
        return this.#living(c, now);
    }
    return null;
  }

  #head(proto: number, client: number, port: number): IpvsConn | null {
    return this.#buckets[hash(client, port, proto) & this.#mask] as IpvsConn | null;
  }

  #living(c: IpvsConn, now: number): IpvsConn | null {
    if (c.expires > now) return c;
    // A template lives on with the connections that it made, some of which may be over without anybody having looked.
    if (c.controlled > 0) {
      this.expire(now);
      return c.dead ? null : c;
    }
    this.remove(c);
    return null;
  }

  add(c: IpvsConn, now: number): void {
    if (this.count > this.#mask) this.#grow();
    this.#link(c);
    this.count++;
    if (c.control !== null) c.control.controlled++;
    if (!c.template) {
      c.destination.inactive++;
      c.destination.recount();
    }
    for (let i = 0; i < SWEEP; i++) {
      this.#sweepAt = (this.#sweepAt + 1) & this.#mask;
      this.#sweep(this.#sweepAt, now);
    }
  }

  /** Gives a connection another state, and its destination's counts with it. */
  become(c: IpvsConn, state: number): void {
    const before = c.active;
    c.state = state;
    const after = c.active;
    if (before === after) return;
    c.destination.active += after ? 1 : -1;
    c.destination.inactive += after ? -1 : 1;
  }

  remove(c: IpvsConn): void {
    if (c.dead) return;
    c.dead = true;
    const at = hash(c.client, c.clientPort, c.proto) & this.#mask;
    let before = this.#buckets[at] as IpvsConn | null;
    if (before === c) this.#buckets[at] = c.next;
    else {
      while (before !== null && before.next !== c) before = before.next;
      if (before !== null) before.next = c.next;
    }
    this.count--;
    if (c.control !== null) c.control.controlled--;
    if (c.template) return;
    if (c.active) c.destination.active--;
    else c.destination.inactive--;
    c.destination.recount();
  }

  /** Takes out all that is over, so that counts are as of now. */
  expire(now: number): void {
    // Templates go after the connections that hold them.
    for (let i = 0; i <= this.#mask; i++) this.#sweep(i, now);
    for (let i = 0; i <= this.#mask; i++) this.#sweep(i, now);
  }

  *entries(): IterableIterator<IpvsConn> {
    for (let c of this.#buckets) for (; c !== null; c = c.next) yield c;
  }

  #sweep(at: number, now: number): void {
    let c = this.#buckets[at] as IpvsConn | null;
    while (c !== null) {
      const next: IpvsConn | null = c.next;
      if (c.expires <= now && c.controlled === 0) this.remove(c);
      c = next;
    }
  }

  #link(c: IpvsConn): void {
    const at = hash(c.client, c.clientPort, c.proto) & this.#mask;
    c.next = this.#buckets[at] as IpvsConn | null;
    this.#buckets[at] = c;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Array<IpvsConn | null>(old.length * 2).fill(null);
    this.#mask = this.#buckets.length - 1;
    for (let c of old)
      while (c !== null) {
        const next: IpvsConn | null = c.next;
        this.#link(c);
        c = next;
      }
  }
}

/** The port at the real server: that of the client's packet where the service is for every port. */
export function serverPortOf(c: IpvsConn): number {
  return c.destination.port === 0 ? c.virtualPort : c.destination.port;
}
