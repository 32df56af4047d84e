/** What rules and elements remember: counters, rate limits (net/netfilter/nft_counter.c, nft_limit.c), quotas. */

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
