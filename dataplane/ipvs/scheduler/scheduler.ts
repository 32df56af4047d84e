/** What a scheduler is: it chooses a destination for a new connection. One object a service, but where it keeps nothing. */
import { isKey6, word6 } from "../../wire/ip-key.ts";
import type { Destination, VirtualService } from "../service.ts";

/** What schedulers see of a new connection. Addresses are signed 32-bit integers, of IPv6 their keys; `now` is milliseconds. */
export type NewFlow = { readonly src: number; readonly dst: number; readonly srcPort: number; readonly now?: number };

export interface Scheduler {
  readonly name: string;
  /** Destinations or their weights have changed. */
  changed(service: VirtualService): void;
  /** Null: none can take it. */
  choose(service: VirtualService, flow: NewFlow): Destination | null;
}

/** An address as schedulers hash it: of IPv6 its four words, one upon the other. */
export function folded(address: number): number {
  if (!isKey6(address)) return address;
  return word6(address, 0) ^ word6(address, 1) ^ word6(address, 2) ^ word6(address, 3);
}

/** hash_32 of the kernel, to eight bits. */
export function hash8(value: number): number {
  return Math.imul(value, 0x61c88647) >>> 24;
}

/** Connections as lc, wlc and twos weigh them (ip_vs_dest_conn_overhead): an active one is 256 inactive ones. */
export function overhead(d: Destination): number {
  return d.active * 256 + d.inactive;
}

/** The destination with the least cost for its weight; the first of equals. */
export function leastFor(destinations: readonly Destination[], cost: (d: Destination) => number): Destination | null {
  let least: Destination | null = null;
  for (const d of destinations)
    if (d.usable && (least === null || cost(least) * d.weight > cost(d) * least.weight)) least = d;
  return least;
}

/** More connections than its weight, while another destination has not half of its own (is_overloaded of lblc, lblcr). */
export function isCrowded(d: Destination, all: readonly Destination[]): boolean {
  return d.active > d.weight && all.some((other) => other.active * 2 < other.weight);
}

export function gcd(a: number, b: number): number {
  let x = a;
  let y = b;
  while (y !== 0) [x, y] = [y, x % y];
  return x;
}
