/** A virtual service and its destinations (struct ip_vs_service, ip_vs_dest). Addresses are signed 32-bit integers, of IPv6 their keys. */
import type { Random } from "../sim/random.ts";
import { isKey6 } from "../wire/ip-key.ts";
import type { Scheduler } from "./scheduler/scheduler.ts";

/** Masquerading (-m), direct routing (-g), or a tunnel of IP in IP (-i). */
export type ForwardMethod = "masq" | "route" | "tunnel";

export class Destination {
  readonly address: number;
  readonly port: number;
  weight: number;
  overloaded = false;
  inactive = 0;
  active = 0;
  /** Connections beyond which it takes no more; 0: no limit. */
  upper: number;
  /** Connections below which it takes some again. */
  lower: number;
  method: ForwardMethod;
  /** Cleared when it is deleted: its connections are not served any more. */
  available = true;
  /** The next in the ring of its service, where the scheduler goes round. */
  follower: Destination = this;

  constructor(address: number, port: number, method: ForwardMethod, weight: number, upper = 0, lower = 0) {
    this.address = address;
    this.port = port;
    this.method = method;
    this.weight = weight;
    this.upper = upper;
    this.lower = lower;
  }

  /** Whether it may be chosen. */
  get usable(): boolean {
    return this.weight > 0 && !this.overloaded;
  }

  /** To be called when its connections have changed (ip_vs_dest_update_overload and friends). */
  recount(): void {
    const all = this.active + this.inactive;
    if (this.upper > 0 && all >= this.upper) this.overloaded = true;
    else if (this.lower > 0) {
      if (all < this.lower) this.overloaded = false;
    } else if (this.upper > 0) {
      if (all * 4 < this.upper * 3) this.overloaded = false;
    } else this.overloaded = false;
  }
}

/** What every new connection reads comes first: among many services each cache line of one is a miss. */
export class VirtualService {
  /** The next in its hash chain. */
  next: VirtualService | null = null;
  readonly address: number;
  /** 0: every port. */
  readonly port: number;
  /** IP protocol; 0 for a service by firewall mark. */
  readonly proto: number;
  /** Seconds of persistence; 0: none. */
  timeout = 0;
  /** Whose turn it is, where the scheduler goes round (sched_data); null: the first one's. */
  turn: Destination | null = null;
  scheduler: Scheduler;
  readonly fwmark: number;
  /** It is for packets of IPv6. */
  readonly six: boolean;
  /** Which clients count as one: of IPv4, of IPv6. */
  netmask = -1;
  prefixLen = 128;
  /** -b: sh-fallback, sh-port and their mh twins. */
  fallback = false;
  hashPort = false;
  readonly destinations: Destination[] = [];
  readonly random: Random;

  /** `six` is told of services by mark; the others have an address that says so. */
  constructor(
    proto: number,
    address: number,
    port: number,
    fwmark: number,
    scheduler: Scheduler,
    random: Random,
    six: boolean = isKey6(address),
  ) {
    this.six = six;
    this.proto = proto;
    this.address = address;
    this.port = port;
    this.fwmark = fwmark;
    this.scheduler = scheduler;
    this.random = random;
  }
}
