/**
 * The forwarding information base of a namespace, IPv4 and IPv6: the local table, then main (net/ipv4/fib_frontend.c,
 * fib_semantics.c, net/ipv6/ip6_fib.c). Routes of one prefix are ordered by metric; those over a device that is down are passed over.
 *
 * Lookups are answered from a direct-mapped cache of decisions (Dst). Any change of routes, addresses or devices starts a
 * new generation, which outdates all of them at once, also those that sockets and tunnels hold.
 *
 * Left out: policy rules and other tables than these two (they are stored and dumped, not consulted), multipath, TOS.
 */
import type { NetDev } from "../dev/netdev.ts";
import { isKey6, widthOf } from "../wire/ip-key.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { maskOf } from "../wire/prefix.ts";
import { Lpm } from "./lpm.ts";
import { Lpm6 } from "./lpm6.ts";
import { Dst, type Route, RT_TABLE_LOCAL, RT_TABLE_MAIN } from "./route.ts";

/** Decisions that are kept: a table begins small, and grows while it loses decisions that still stand. */
const CACHE_MIN = 64;
const CACHE_MAX = 16_384;
/** Addresses that are known not to be this host's. */
const STRANGERS = 32;
const NO_STRANGERS: Int32Array = new Int32Array(0);
/** How long a learned path MTU holds (ip_rt_mtu_expires), in milliseconds. */
const PMTU_EXPIRES = 600_000;
/** The smallest path MTU that is believed (ip_rt_min_pmtu). */
const MIN_PMTU = 552;
/** The least MTU of IPv6 (RFC 8200 section 5). */
const MIN_PMTU6 = 1280;

export class Fib {
  readonly #tables = new Map<number, Lpm<Route[]>>();
  readonly #tables6 = new Map<number, Lpm6<Route[]>>();
  #cache: (Dst | null)[] = new Array<Dst | null>(CACHE_MIN).fill(null);
  #lost = 0;
  readonly #pmtu = new Map<number, { readonly mtu: number; readonly expires: number }>();
  /** Addresses of this host, as signed 32-bit integers; 127.0.0.0/8 is in the table. */
  readonly #locals = new Map<number, number>();
  #gen = 1;
  /** Addresses that are not this host's, by a hash, as of a generation. */
  #strangers: Int32Array = NO_STRANGERS;
  #strangersGen = 0;

  /** Whether a decision made earlier still stands. */
  valid(dst: Dst): boolean {
    return dst.gen === this.#gen;
  }

  /** Outdates all decisions: a device went up or down, changed its MTU, or left. */
  changed(): void {
    this.#gen++;
  }

  /**
   * The decision for a destination; its type is "none" where no route leads there. The packet path passes addresses as
   * signed integers (`address | 0`): one above 2^31 would be boxed on its way into the call.
   */
  dst(address: Ipv4Addr): Dst {
    const key = address | 0;
    const slot = slotOf(key) & (this.#cache.length - 1);
    const cached = this.#cache[slot] as Dst | null;
    if (cached !== null && cached.key === key && cached.gen === this.#gen) return cached;
    const fresh = this.#decide((key >>> 0) as Ipv4Addr);
    this.#cache[slot] = fresh;
    if (cached !== null && cached.gen === this.#gen && ++this.#lost >= this.#cache.length) this.#grow();
    return fresh;
  }

  #grow(): void {
    this.#lost = 0;
    const before = this.#cache;
    if (before.length >= CACHE_MAX) return;
    this.#cache = new Array<Dst | null>(before.length * 4).fill(null);
    for (const dst of before) if (dst !== null) this.#cache[slotOf(dst.key) & (this.#cache.length - 1)] = dst;
  }

  /** Whether the address is one of this host's interfaces' own. Those that were asked for last and are not are known. */
  isLocal(address: Ipv4Addr): boolean {
    const key = address | 0;
    const slot = slotOf(key) & (STRANGERS - 1);
    if (this.#strangers[slot] === key && this.#strangersGen === this.#gen) return false;
    if (this.#locals.has(key)) return true;
    if (this.#strangersGen !== this.#gen) {
      if (this.#strangers.length === 0) this.#strangers = new Int32Array(STRANGERS);
      else this.#strangers.fill(0);
      this.#strangersGen = this.#gen;
    }
    // 0 stands for none: it is no host's address, and is never kept
    this.#strangers[slot] = key;
    return false;
  }

  /** The route that a lookup finds, without the cache; `oif` narrows it to one device. */
  lookup(address: Ipv4Addr, oif: NetDev | null = null): Route | null {
    for (const id of [RT_TABLE_LOCAL, RT_TABLE_MAIN]) {
      let found: Route | undefined;
      (isKey6(address) ? this.#tables6 : this.#tables).get(id)?.lookup(address, (routes) => {
        found = routes.find((r) => usable(r) && (oif === null || r.dev === oif));
        return found !== undefined;
      });
      if (found !== undefined) return found;
    }
    return null;
  }

  /**
   * Adds a route behind those of the same prefix with a smaller or equal metric. Answers false if there is one like it:
   * one of the same metric, or, for the routes that the kernel itself adds, one by the same device as well (NLM_F_APPEND).
   */
  add(route: Route): boolean {
    const table = this.#table(route);
    const list = table.get(route.network, route.len) ?? [];
    if (list.some((r) => r.metric === route.metric && r.type === route.type && sameWay(r, route))) return false;
    const at = list.findIndex((r) => r.metric > route.metric);
    table.set(route.network, route.len, at < 0 ? [...list, route] : [...list.slice(0, at), route, ...list.slice(at)]);
    if (route.type === "local" && route.len === widthOf(route.network)) {
      const key = route.network | 0;
      this.#locals.set(key, (this.#locals.get(key) ?? 0) + 1);
    }
    this.#gen++;
    return true;
  }

  /** Removes this very route. */
  remove(route: Route): boolean {
    const table = this.#table(route);
    const list = table.get(route.network, route.len);
    if (list === undefined || !list.includes(route)) return false;
    if (list.length === 1) table.delete(route.network, route.len);
    else
      table.set(
        route.network,
        route.len,
        list.filter((r) => r !== route),
      );
    if (route.type === "local" && route.len === widthOf(route.network)) {
      const key = route.network | 0;
      const count = (this.#locals.get(key) ?? 1) - 1;
      if (count === 0) this.#locals.delete(key);
      else this.#locals.set(key, count);
    }
    this.#gen++;
    return true;
  }

  /** The routes of one prefix in one table, by metric. */
  at(network: Ipv4Addr, len: number, table: number): readonly Route[] {
    return (isKey6(network) ? this.#tables6 : this.#tables).get(table)?.get(network, len) ?? [];
  }

  /** All routes, table by table, longest prefixes first. */
  *routes(): IterableIterator<Route> {
    for (const table of this.#tables.values()) for (const list of table.values()) yield* list;
    for (const table of this.#tables6.values()) for (const list of table.values()) yield* list;
  }

  /** A router said that `mtu` octets are the most for this destination (ICMP fragmentation needed). */
  learnMtu(address: Ipv4Addr, mtu: number, now: number): void {
    const known = this.dst(address).mtu;
    if (mtu >= known) return;
    this.#pmtu.set(address | 0, {
      mtu: Math.max(mtu, Math.min(isKey6(address) ? MIN_PMTU6 : MIN_PMTU, known)),
      expires: now + PMTU_EXPIRES,
    });
    this.#gen++;
  }

  /** Forgets path MTUs that are too old. */
  expireMtu(now: number): void {
    for (const [address, entry] of this.#pmtu) {
      if (entry.expires > now) continue;
      this.#pmtu.delete(address);
      this.#gen++;
    }
  }

  #decide(address: Ipv4Addr): Dst {
    const route = this.lookup(address);
    let mtu = route?.mtu || route?.dev?.mtu || 65535;
    const learned = this.#pmtu.size === 0 ? undefined : this.#pmtu.get(address | 0);
    if (learned !== undefined && learned.mtu < mtu) mtu = learned.mtu;
    return new Dst(address, route, mtu, this.#gen);
  }

  #table({ table: id, network }: Route): Lpm<Route[]> | Lpm6<Route[]> {
    const tables: Map<number, Lpm<Route[]> | Lpm6<Route[]>> = isKey6(network) ? this.#tables6 : this.#tables;
    let table = tables.get(id);
    if (table === undefined) {
      table = isKey6(network) ? new Lpm6() : new Lpm();
      tables.set(id, table);
    }
    return table;
  }
}

function slotOf(key: number): number {
  return key ^ (key >>> 10) ^ (key >>> 20);
}

function usable(r: Route): boolean {
  return r.dev === null || r.dev.up || r.type === "local";
}

/** Two interfaces may have addresses in one subnet: the prefix routes of both are kept. */
function sameWay(a: Route, b: Route): boolean {
  return (a.table !== RT_TABLE_LOCAL && b.proto !== "kernel") || a.dev === b.dev;
}

/** Whether a gateway can be reached directly by this device: a link-scope route of it covers the gateway. */
export function onLink(fib: Fib, gateway: Ipv4Addr, dev: NetDev | null): Route | null {
  const route = fib.lookup(gateway, dev);
  return route !== null && route.type === "unicast" && route.gateway === 0 ? route : null;
}

/** Network of an address: its first `len` bits. */
export function networkOf(address: Ipv4Addr, len: number): Ipv4Addr {
  return ((address & maskOf(len)) >>> 0) as Ipv4Addr;
}
