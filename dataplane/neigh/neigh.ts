/**
 * Neighbours: who has which MAC, with the NUD states of RFC 4861 section 7.3 as net/core/neighbour.c runs them for ARP and
 * for neighbour discovery. IPv6 addresses are keys (ip-key.ts).
 *
 *   NONE ─use→ INCOMPLETE ─answer→ REACHABLE ─30 s→ STALE ─use→ DELAY ─5 s→ PROBE ─answer→ REACHABLE
 *                  └─3 requests, 1 s apart, unanswered→ FAILED ←─3 unicast requests unanswered─┘
 *
 * REACHABLE turns STALE when it is next looked at, so an idle network has no timers running.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Timer } from "../sim/event-loop.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { setU16, setU32 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { formatIp, isKey6 } from "../wire/ip-key.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { formatMac, type Mac, macHi, macLo } from "../wire/mac-addr.ts";
import { solicit as solicitArp } from "./arp-send.ts";
import { solicit as solicitNd } from "./ndisc-send.ts";

/** NUD states (neighbour.h). */
export const NUD_INCOMPLETE = 0x01;
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_DELAY = 0x08;
export const NUD_PROBE = 0x10;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;
export const NUD_NONE = 0;
/** States in which the MAC may be used. */
const NUD_VALID = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

const NAMES: readonly (readonly [number, string])[] = [
  [NUD_INCOMPLETE, "INCOMPLETE"],
  [NUD_REACHABLE, "REACHABLE"],
  [NUD_STALE, "STALE"],
  [NUD_DELAY, "DELAY"],
  [NUD_PROBE, "PROBE"],
  [NUD_FAILED, "FAILED"],
  [NUD_NOARP, "NOARP"],
  [NUD_PERMANENT, "PERMANENT"],
];

export function nudName(state: number): string {
  return NAMES.find(([value]) => value === state)?.[1] ?? "NONE";
}

/** Milliseconds. */
const BASE_REACHABLE_TIME = 30_000;
const DELAY_PROBE_TIME = 5_000;
const RETRANS_TIME = 1_000;
const PROBES = 3;
/** For so long after a change another MAC is not believed (locktime). */
export const LOCKTIME = 1_000;
/** Packets that wait for one answer; Linux counts octets (212,992), which is 101 full-size packets. */
const QUEUE_LEN = 101;

export class Neigh {
  readonly dev: NetDev;
  readonly address: Ipv4Addr;
  state: number;
  mac: Mac;
  macHi: number;
  macLo: number;
  /** When the neighbour was last known to answer. */
  confirmed = 0;
  /** When the state or the MAC last changed. */
  updated: number = Number.NEGATIVE_INFINITY;
  /** How long that holds: half to one and a half times the base, drawn for each entry. */
  reachableTime: number;
  probes = 0;
  timer: Timer | null = null;
  /** Removed from the table: whoever holds it must look again. */
  dead = false;
  readonly queue: Skb[] = [];

  constructor(dev: NetDev, address: Ipv4Addr, state: number, mac: Mac) {
    this.dev = dev;
    this.address = address;
    this.state = state;
    this.mac = mac;
    this.macHi = macHi(mac);
    this.macLo = macLo(mac);
    this.reachableTime = BASE_REACHABLE_TIME / 2 + dev.ns.random.int(BASE_REACHABLE_TIME);
  }
}

/** The neighbour entry of an address on a device, made if there is none. */
export function neighFor(dev: NetDev, address: Ipv4Addr): Neigh {
  let neigh = dev.neighs.get(address | 0);
  if (neigh === undefined) {
    neigh = new Neigh(dev, address, dev.noarp ? NUD_NOARP : NUD_NONE, 0 as Mac);
    dev.neighs.set(address | 0, neigh);
  }
  return neigh;
}

/** Sends an IP packet (`skb.data` at the IP header) to a neighbour: now, or once the neighbour has answered. */
export function neighOutput(ns: NetNs, neigh: Neigh, skb: Skb): void {
  const dev = neigh.dev;
  if (dev.linkHeaderLen === 0) {
    dev.transmit(skb);
    return;
  }
  let state = neigh.state;
  if (state === NUD_REACHABLE && ns.world.loop.time > neigh.confirmed + neigh.reachableTime) {
    state = NUD_STALE;
    neigh.state = state;
  }
  if (state === NUD_STALE) startDelay(ns, neigh);
  if ((state & NUD_VALID) === 0) {
    resolve(ns, neigh, skb);
    return;
  }
  if (skb.trace !== null && !dev.noarp) reportNeigh(ns, neigh, skb);
  const at = skb.data - ethernet.HEADER_LEN;
  const b = skb.buf;
  skb.data = at;
  skb.mac = at;
  setU16(b, at, neigh.macHi);
  setU32(b, at + 2, neigh.macLo);
  setU16(b, at + 6, dev.macHi);
  setU32(b, at + 8, dev.macLo);
  setU16(b, at + 12, skb.protocol);
  dev.transmit(skb);
}

/**
 * An ARP packet told us the MAC of an address. What is configured stays; a valid entry whose MAC is the same does not become
 * STALE by it, and keeps its own MAC unless `override`.
 */
export function neighLearn(ns: NetNs, neigh: Neigh, mac: Mac, state: number, override: boolean): void {
  const old = currentState(ns, neigh);
  if ((old & (NUD_PERMANENT | NUD_NOARP)) !== 0) return;
  if ((old & NUD_VALID) !== 0) {
    if (neigh.mac !== mac) {
      if (!override) return;
    } else if (state === NUD_STALE) return;
    else if (state === old) {
      neigh.confirmed = ns.world.loop.time;
      return;
    }
  }
  neighUpdate(ns, neigh, mac, state);
}

/** Sets MAC and state, as a configured entry does, and sends what waited. */
export function neighUpdate(ns: NetNs, neigh: Neigh, mac: Mac, state: number): void {
  neigh.mac = mac;
  neigh.macHi = macHi(mac);
  neigh.macLo = macLo(mac);
  neigh.state = state;
  neigh.updated = ns.world.loop.time;
  neigh.probes = 0;
  neigh.timer?.cancel();
  neigh.timer = null;
  if (state === NUD_REACHABLE) neigh.confirmed = ns.world.loop.time;
  if ((state & NUD_VALID) === 0) return;
  for (const skb of neigh.queue.splice(0)) neighOutput(ns, neigh, skb);
}

/** Forgets an entry; packets that wait for it are dropped. */
export function neighRemove(ns: NetNs, neigh: Neigh): void {
  neigh.dead = true;
  neigh.timer?.cancel();
  neigh.timer = null;
  neigh.dev.neighs.delete(neigh.address | 0);
  for (const skb of neigh.queue.splice(0)) drop(ns, skb, DropReason.NEIGH_DEAD);
}

/** The state as it is at this moment: REACHABLE runs out unseen. */
export function currentState(ns: NetNs, neigh: Neigh): number {
  const old = neigh.state === NUD_REACHABLE && ns.world.loop.time > neigh.confirmed + neigh.reachableTime;
  return old ? NUD_STALE : neigh.state;
}

/** Whether its MAC may be used. */
export function isValid(neigh: Neigh): boolean {
  return (neigh.state & NUD_VALID) !== 0;
}

function resolve(ns: NetNs, neigh: Neigh, skb: Skb): void {
  if (neigh.queue.length >= QUEUE_LEN) {
    drop(ns, neigh.queue.shift() as Skb, DropReason.NEIGH_QUEUEFULL);
  }
  neigh.queue.push(skb);
  if (neigh.state === NUD_INCOMPLETE) return;
  neigh.state = NUD_INCOMPLETE;
  neigh.updated = ns.world.loop.time;
  neigh.probes = 0;
  probe(ns, neigh);
}

function startDelay(ns: NetNs, neigh: Neigh): void {
  neigh.state = NUD_DELAY;
  neigh.timer?.cancel();
  neigh.timer = ns.world.loop.schedule(DELAY_PROBE_TIME, () => {
    neigh.state = NUD_PROBE;
    neigh.probes = 0;
    probe(ns, neigh);
  });
}

function probe(ns: NetNs, neigh: Neigh): void {
  if (neigh.probes >= PROBES) {
    fail(ns, neigh);
    return;
  }
  neigh.probes++;
  neigh.timer = ns.world.loop.schedule(RETRANS_TIME, () => probe(ns, neigh));
  const solicit = isKey6(neigh.address) ? solicitNd : solicitArp;
  solicit(ns, neigh.dev, neigh.address, neigh.state === NUD_PROBE ? neigh.mac : null, neigh.queue.at(-1) ?? null);
}

function fail(ns: NetNs, neigh: Neigh): void {
  neigh.state = NUD_FAILED;
  neigh.timer = null;
  for (const skb of neigh.queue.splice(0)) ns.handlers.linkFailure(ns, skb);
}

function reportNeigh(ns: NetNs, neigh: Neigh, skb: Skb): void {
  const text = `${formatIp(neigh.address)} is ${formatMac(neigh.mac)} (${nudName(neigh.state)})`;
  skb.trace?.report(ns, skb, { step: "neighbor", dev: neigh.dev.name, text });
}
