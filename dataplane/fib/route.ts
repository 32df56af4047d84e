/** A route and what a lookup answers. Numbers are rtnetlink's (rtnetlink.h); addresses of IPv6 are keys (ip-key.ts). */
import type { NetDev } from "../dev/netdev.ts";
import type { Neigh } from "../neigh/neigh.ts";
import { formatIp, isKey6, widthOf } from "../wire/ip-key.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";

export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;

export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;

export type RouteType = "unicast" | "local" | "broadcast" | "blackhole" | "unreachable" | "prohibit";

export type Route = {
  readonly network: Ipv4Addr;
  readonly len: number;
  readonly type: RouteType;
  readonly table: number;
  readonly dev: NetDev | null;
  /** 0 for none: the destination itself is on the link. That of a route of IPv4 may be of IPv6 (RFC 8950, once 5549). */
  readonly gateway: Ipv4Addr | 0;
  readonly onlink: boolean;
  /** Preferred source address; 0 for none. */
  readonly src: Ipv4Addr | 0;
  readonly scope: number;
  readonly metric: number;
  /** Octets of IP; 0 for the device's. */
  readonly mtu: number;
  /** Who installed it: "kernel", "boot", "static", "bird", … as ip-route(8) names rtm_protocol. */
  readonly proto: string;
};

/** As ip-route(8) prints it. */
export function formatRoute(r: Route): string {
  const network = formatIp(r.network);
  const dst = r.len === 0 ? "default" : r.len === widthOf(r.network) ? network : `${network}/${r.len}`;
  const words = [r.type === "unicast" ? dst : `${r.type} ${dst}`];
  if (r.gateway !== 0) {
    const other = isKey6(r.gateway) !== isKey6(r.network);
    words.push(`via ${other ? "inet6 " : ""}${formatIp(r.gateway)}`);
  }
  if (r.dev !== null) words.push(`dev ${r.dev.name}`);
  if (r.onlink) words.push("onlink");
  if (r.metric !== 0) words.push(`metric ${r.metric}`);
  if (r.mtu !== 0) words.push(`mtu ${r.mtu}`);
  return words.join(" ");
}

/**
 * A routing decision for one destination (struct dst_entry with its nexthop): made once, used until the tables change.
 * `gen` is the table generation that it was made in; see Fib.valid.
 */
export class Dst {
  readonly address: Ipv4Addr;
  /** The address as a signed 32-bit integer, which needs no heap number. */
  readonly key: number;
  readonly route: Route | null;
  readonly type: RouteType | "none";
  readonly dev: NetDev | null;
  /** The gateway, or the destination itself. */
  readonly nextHop: Ipv4Addr;
  /** Octets of IP that fit the path as far as is known: a PMTU exception, the route's, or the device's. */
  readonly mtu: number;
  readonly gen: number;
  neigh: Neigh | null = null;

  constructor(address: Ipv4Addr, route: Route | null, mtu: number, gen: number) {
    this.address = address;
    this.key = address | 0;
    this.route = route;
    this.type = route === null ? "none" : route.type;
    this.dev = route === null ? null : route.dev;
    this.nextHop = route === null || route.gateway === 0 ? address : (route.gateway as Ipv4Addr);
    this.mtu = mtu;
    this.gen = gen;
  }
}

/** The next hop as one of the packet's own family: the destination itself where a gateway is of the other (rt_nexthop). */
export function sameFamilyHop(dst: Dst): Ipv4Addr {
  return isKey6(dst.nextHop) === isKey6(dst.address) ? dst.nextHop : dst.address;
}
