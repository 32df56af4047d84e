/**
 * Connections through ipvs (ip_vs_conn.c): found by what the client sends and by what the real server answers, in one hash
 * that grows and counts the entries that it looks at. Time is looked at when an entry is met, and a few others are looked at
 * with each new entry.
 */
import { TwoWayTable } from "../netfilter/two-way-table.ts";
import type { EventLoop } from "../sim/event-loop.ts";
import type { Destination, VirtualService } from "./service.ts";
import { isActive } from "./state.ts";

/** As in conntrack. */
const SWEEP = 8;
/** Connections that are over and kept to be used again. */
const SPARE = 4096;

export class IpvsConn {
  proto = 0;
  client = 0;
  clientPort = 0;
  virtual = 0;
  virtualPort = 0;
  service: VirtualService;
  destination: Destination;
  /** A template of persistence: it stands for a client, not for a connection. */
  template = false;
  /** The template that this connection was made by, and how many connections a template has made that live. */
  control: IpvsConn | null = null;
  controlled = 0;
  state = 0;
  /** In whole milliseconds, as `Conn.expires`. */
  expires = 0;
  dead = false;
  /** Its number in the table. */
  slot = -1;

  constructor(service: VirtualService, destination: Destination) {
    this.service = service;
    this.destination = destination;
  }

  get active(): boolean {
    return isActive(this.proto, this.state);
  }
}

/** `far`: who the client talks to, the service as it sees it or the real server as it answers. */
function hash(client: number, port: number, far: number, farPort: number, proto: number): number {
  let h = Math.imul(client ^ (proto << 24), 0xcc9e2d51) ^ Math.imul(far, 0x1b873593);
  h = Math.imul((h << 13) | (h >>> 19), 0x85ebca6b) ^ ((port << 16) | farPort);
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  return h ^ (h >>> 13);
}

export class ConnTable {
  readonly #table: TwoWayTable<IpvsConn> = new TwoWayTable();
  readonly #spare: IpvsConn[] = [];
  readonly #clock: EventLoop;
  count = 0;
  /** Entries looked at so far. */
  probes = 0;

  constructor(clock: EventLoop) {
    this.#clock = clock;
  }

  /** A connection that is not in the table yet. */
  make(service: VirtualService, destination: Destination): IpvsConn {
    const c = this.#spare.pop();
    if (c === undefined) return new IpvsConn(service, destination);
    c.service = service;
    c.destination = destination;
    c.template = false;
    c.control = null;
    c.state = 0;
    c.dead = false;
    return c;
  }

  /** By what a client sends. */
  fromClient(
    proto: number,
    client: number,
    clientPort: number,
    virtual: number,
    virtualPort: number,
    template: boolean,
  ): IpvsConn | null {
    const table = this.#table;
    const wanted = hash(client, clientPort, virtual, virtualPort, proto);
    for (let cell = table.first(wanted); cell >= 0; cell = table.next(wanted, cell)) {
      if (table.way(cell) !== 0) continue;
      const c = table.item(cell);
      this.probes++;
      if (
        c.client === client &&
        c.clientPort === clientPort &&
        c.virtual === virtual &&
        c.virtualPort === virtualPort &&
        c.proto === proto &&
        c.template === template
      )
        return this.#living(c);
    }
    return null;
  }

  /** By what a real server answers. */
  fromServer(proto: number, server: number, serverPort: number, client: number, clientPort: number): IpvsConn | null {
    const table = this.#table;
    const wanted = hash(client, clientPort, server, serverPort, proto);
    for (let cell = table.first(wanted); cell >= 0; cell = table.next(wanted, cell)) {
      if (table.way(cell) === 0) continue;
      const c = table.item(cell);
      this.probes++;
      if (
        c.client === client &&
        c.clientPort === clientPort &&
        c.destination.address === server &&
        serverPortOf(c) === serverPort &&
        c.proto === proto &&
        !c.template
      )
        return this.#living(c);
    }
    return null;
  }

  #living(c: IpvsConn): IpvsConn | null {
    if (c.expires > this.#clock.time) return c;
    // A template lives on with the connections that it made, some of which may be over without anybody having looked.
    if (c.controlled > 0) {
      this.expire();
      return c.dead ? null : c;
    }
    this.remove(c);
    return null;
  }

  add(c: IpvsConn): void {
    const { proto, client, clientPort } = c;
    const fromClient = hash(client, clientPort, c.virtual, c.virtualPort, proto);
    const fromServer = hash(client, clientPort, c.destination.address, serverPortOf(c), proto);
    c.slot = this.#table.add(c, fromClient, fromServer, c.expires);
    this.count++;
    if (c.control !== null) c.control.controlled++;
    if (!c.template) {
      c.destination.inactive++;
      c.destination.recount();
    }
    const now = this.#clock.time;
    for (let i = 0; i < SWEEP; i++) {
      const due = this.#table.sweep(now);
      if (due === null) continue;
      if (due.expires > now) this.#table.later(due.slot, due.expires);
      else if (due.controlled === 0) this.remove(due);
    }
  }

  /** Lets a connection end `ms` from now. */
  extend(c: IpvsConn, ms: number): void {
    c.expires = Math.ceil(this.#clock.time) + ms;
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
    this.#table.remove(c.slot);
    this.count--;
    if (c.control !== null) c.control.controlled--;
    if (c.template) return;
    if (c.active) c.destination.active--;
    else c.destination.inactive--;
    c.destination.recount();
    // No packet holds one; a template may be held by the connections that it made.
    if (this.#spare.length < SPARE) this.#spare.push(c);
  }

  /** Takes out all that is over, so that counts are as of now. */
  expire(): void {
    const now = this.#clock.time;
    const over = [...this.#table].filter((c) => c.expires <= now);
    // Templates go after the connections that hold them.
    for (const c of over) if (!c.template) this.remove(c);
    for (const c of over) if (c.template && c.controlled === 0) this.remove(c);
  }

  entries(): IterableIterator<IpvsConn> {
    return this.#table[Symbol.iterator]();
  }
}

/** The port at the real server: that of the client's packet where the service is for every port. */
export function serverPortOf(c: IpvsConn): number {
  return c.destination.port === 0 ? c.virtualPort : c.destination.port;
}
