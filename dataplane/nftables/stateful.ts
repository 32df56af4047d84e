/**
 * What rules and elements remember: counters, rate limits, quotas, connections (net/netfilter/nft_counter.c, nft_limit.c,
 * nft_quota.c, nft_connlimit.c).
 */
import type { Conn } from "../netfilter/conn.ts";
import { type Counted, countedWith } from "../netfilter/conn-count.ts";

/** What lets some packets go on, and ends the rule for the others. */
export type Gate = Limit | Quota | ConnCount;

export class Counter {
  packets: number;
  bytes: number;
  constructor(packets = 0, bytes = 0) {
    this.packets = packets;
    this.bytes = bytes;
  }
}

/** Seconds of the units that rates are given in. */
export const RATE_UNITS: Readonly<Record<string, number>> = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: 86_400,
  week: 604_800,
};

export class Limit {
  readonly rate: number;
  readonly unit: string;
  readonly burst: number;
  readonly over: boolean;
  /** Octets are limited, not packets. */
  readonly bytes: boolean;
  /** Milliseconds; a packet or an octet costs `#period / rate` of them. */
  readonly #period: number;
  readonly #most: number;
  #tokens: number;
  #last = 0;

  constructor(rate: number, unit: string, burst: number, over: boolean, bytes: boolean) {
    this.rate = rate;
    this.unit = unit;
    this.burst = burst;
    this.over = over;
    this.bytes = bytes;
    this.#period = (RATE_UNITS[unit] ?? 1) * 1000;
    this.#most = bytes ? (this.#period * (rate + burst)) / rate : (this.#period / rate) * (burst === 0 ? 1 : burst);
    this.#tokens = this.#most;
  }

  /** A bucket of its own with the same rate. */
  fresh(): Limit {
    return new Limit(this.rate, this.unit, this.burst, this.over, this.bytes);
  }

  /** Whether a packet of so many octets goes on at this time. */
  passes(now: number, octets: number): boolean {
    const tokens = Math.min(this.#most, this.#tokens + now - this.#last);
    this.#last = now;
    const cost = this.bytes ? (this.#period * octets) / this.rate : this.#period / this.rate;
    if (tokens >= cost) {
      this.#tokens = tokens - cost;
      return !this.over;
    }
    this.#tokens = tokens;
    return this.over;
  }
}

/** So many octets, counted from the first packet on; `over` lets on what comes after them. */
export class Quota {
  readonly octets: number;
  readonly over: boolean;
  used: number;

  constructor(octets: number, over: boolean, used = 0) {
    this.octets = octets;
    this.over = over;
    this.used = used;
  }

  fresh(): Quota {
    return new Quota(this.octets, this.over);
  }

  passes(_now: number, octets: number): boolean {
    this.used += octets;
    return this.used > this.octets === this.over;
  }
}

/** How many connections there are of those that came here. A packet that is not tracked counts while it is here. */
export class ConnCount {
  readonly most: number;
  readonly over: boolean;
  #list: readonly Counted[] = [];

  constructor(most: number, over: boolean) {
    this.most = most;
    this.over = over;
  }

  fresh(): ConnCount {
    return new ConnCount(this.most, this.over);
  }

  passes(now: number, _octets: number, conn: Conn | null): boolean {
    this.#list = countedWith(this.#list, conn, now);
    return this.#list.length + (conn === null ? 1 : 0) > this.most === this.over;
  }
}
