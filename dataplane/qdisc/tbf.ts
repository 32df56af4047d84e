/**
 * Token bucket filter (net/sched/sch_tbf.c): what leaves a device waits until there are tokens for its octets, in a queue
 * of `limit` octets at most; what does not fit is dropped.
 *
 *     tokens, in nanoseconds of sending at `rate`, grow with time up to those of `burst` octets
 *     packet of n octets (link header included): leaves at once if its n / rate nanoseconds are there, else waits for them
 *
 * Left out: peak rate, overhead, and cutting up what is longer than the bucket (nothing here is, the stack sends no GSO).
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Timer } from "../sim/event-loop.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";

/** rate in octets per second; burst and limit in octets. */
export type TbfSpec = { readonly rate: number; readonly burst: number; readonly limit: number };

const NS_PER_S = 1e9;
const NS_PER_MS = 1e6;
/**
 * The bucket's time travels in ticks of 64 nanoseconds, counted from whole microseconds. The longest packet is counted from
 * no more nanoseconds than 32 bits hold.
 */
const US_PER_S = 1e6;
const NS_PER_TICK = 64;
const TICKS_PER_US = 15.625;
const MAX_U32 = 0xffff_ffff;
/** Time is a float of milliseconds: less than a nanosecond short is not short. */
const SLACK_NS = 1;

export class Tbf {
  readonly kind: string = "tbf";
  readonly dev: NetDev;
  readonly spec: TbfSpec;
  /** Octets, as tc(8) shows them of what the bucket really holds. */
  readonly burst: number;
  /** Octets of the longest packet that there can be tokens for. */
  readonly #longest: number;
  readonly #bucketNs: number;
  /** First in, first out; linked by `skb.next`. */
  #head: Skb | null = null;
  #tail: Skb | null = null;
  #backlog = 0;
  #tokensNs: number;
  /** When the tokens were counted, in milliseconds. */
  #counted: number;
  #wake: Timer | null = null;
  readonly #run: () => void = () => this.#dequeue();
  sentPackets = 0;
  drops = 0;

  constructor(dev: NetDev, spec: TbfSpec) {
    this.dev = dev;
    this.spec = spec;
    const ticks = Math.floor(Math.floor((spec.burst * US_PER_S) / spec.rate) * TICKS_PER_US);
    this.#bucketNs = Math.min(ticks, MAX_U32) * NS_PER_TICK;
    this.burst = Math.round((Math.ceil(this.#bucketNs / 1000) * spec.rate) / US_PER_S);
    this.#longest = Math.floor((Math.min(this.#bucketNs, MAX_U32) * spec.rate) / NS_PER_S);
    this.#tokensNs = this.#bucketNs;
    this.#counted = dev.ns.world.loop.time;
  }

  /** Octets that wait. */
  get backlog(): number {
    return this.#backlog;
  }

  /** Takes ownership of the packet. */
  enqueue(skb: Skb): void {
    const length = skb.end - skb.data;
    if (length > this.#longest || this.#backlog + length > this.spec.limit) {
      this.drops++;
      drop(this.dev.ns, skb, DropReason.QDISC_DROP, skb.trace && `tbf of ${this.dev.name}: ${this.#full(length)}`);
      return;
    }
    this.#backlog += length;
    if (this.#tail === null) this.#head = skb;
    else this.#tail.next = skb;
    this.#tail = skb;
    if (this.#wake === null) this.#dequeue();
  }

  #full(length: number): string {
    return length > this.#longest
      ? `longer than ${this.#longest} octets, which it can never have tokens for`
      : `${this.#backlog} octets wait already`;
  }

  #dequeue(): void {
    this.#wake = null;
    const loop = this.dev.ns.world.loop;
    for (let skb = this.#head; skb !== null; skb = this.#head) {
      const length = skb.end - skb.data;
      const tokens = Math.min(this.#bucketNs, this.#tokensNs + (loop.time - this.#counted) * NS_PER_MS);
      const left = tokens - (length * NS_PER_S) / this.spec.rate;
      if (left < -SLACK_NS) {
        this.#wake = loop.schedule(-left / NS_PER_MS, this.#run);
        return;
      }
      this.#tokensNs = Math.max(0, left);
      this.#counted = loop.time;
      this.#take(skb, length);
      this.sentPackets++;
      this.dev.startXmit(skb);
    }
  }

  #take(skb: Skb, length: number): void {
    this.#head = skb.next;
    if (this.#head === null) this.#tail = null;
    skb.next = null;
    this.#backlog -= length;
  }

  /** Nothing of it leaves any more. */
  reset(): void {
    this.#wake?.cancel();
    this.#wake = null;
    for (let skb = this.#head; skb !== null; skb = this.#head) {
      this.#take(skb, skb.end - skb.data);
      drop(this.dev.ns, skb, DropReason.QDISC_DROP);
    }
    this.#tokensNs = this.#bucketNs;
    this.#counted = this.dev.ns.world.loop.time;
  }
}
