/**
 * Addresses of IPv6 on interfaces, and the routes that come and go with them (net/ipv6/addrconf.c). Each function answers
 * how to undo it. An address may be used as soon as it is there; link-local ones come by themselves where addr_gen_mode
 * says so (0: from the MAC, RFC 4291 appendix A).
 */
import type { IfAddr, NetDev } from "../dev/netdev.ts";
import {
  type Route,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
} from "../fib/route.ts";
import { type IpKey, isLinkLocal6, key6, octets6 } from "../wire/ip-key.ts";
import { type Ipv6Addr, ipv6Of, LOOPBACK6 } from "../wire/ipv6-addr.ts";
import { network6 } from "../wire/prefix.ts";
import type { Undo } from "./link.ts";

/** Of routes to prefixes (IP6_RT_PRIO_ADDRCONF). */
const PREFIX_METRIC = 256;
const LINK_LOCAL_BITS = 64;

/** Gives the interface an address, with its local route, and where it is up the route of its prefix. */
export function addAddr6(dev: NetDev, addr: IfAddr): Undo {
  const { fib } = dev.ns;
  dev.addrs6 = [...dev.addrs6, addr];
  const added = routesOf(dev, addr).filter((r) => fib.add(r));
  return () => {
    for (const route of added) fib.remove(route);
    dev.addrs6 = dev.addrs6.filter((a) => a !== addr);
  };
}

export function removeAddr6(dev: NetDev, addr: IfAddr): Undo {
  const { fib } = dev.ns;
  const before = dev.addrs6;
  dev.addrs6 = before.filter((a) => a !== addr);
  // A prefix that another address has, too, keeps its route.
  const kept = new Set(dev.addrs6.flatMap((a) => routesOf(dev, a).map(nameOf)));
  const gone: Route[] = [];
  for (const route of routesOf(dev, addr)) {
    if (kept.has(nameOf(route))) continue;
    const found = fib.at(route.network, route.len, route.table).find((r) => r.dev === dev && r.proto === "kernel");
    if (found !== undefined && fib.remove(found)) gone.push(found);
  }
  return () => {
    dev.addrs6 = before;
    for (const route of gone) fib.add(route);
  };
}

/** Up: the routes of its addresses, ::1 of loopback, and a link-local address where it is to have one. */
export function linkUp6(dev: NetDev): Undo {
  const { fib, sysctls } = dev.ns;
  if (sysctls.ipv6Disabled(dev.name)) return () => {};
  const undos: Undo[] = [];
  for (const addr of dev.addrs6)
    for (const route of routesOf(dev, addr)) if (fib.add(route)) undos.push(() => void fib.remove(route));
  const loopback = dev.driver.kind === "loopback";
  if (loopback && dev.addrs6.length === 0)
    undos.push(addAddr6(dev, { address: key6(LOOPBACK6), prefixLen: 128, broadcast: 0, scope: RT_SCOPE_HOST }));
  else if (!loopback && dev.linkHeaderLen > 0 && sysctls.conf6("addr_gen_mode", dev.name) === "0")
    if (!dev.addrs6.some((a) => isLinkLocal6(a.address)))
      undos.push(
        addAddr6(dev, { address: linkLocal(dev), prefixLen: LINK_LOCAL_BITS, broadcast: 0, scope: RT_SCOPE_LINK }),
      );
  return () => {
    for (const undo of undos.reverse()) undo();
  };
}

/** Down: its addresses go, unless keep_addr_on_down keeps those that somebody gave it. */
export function linkDown6(dev: NetDev): Undo {
  const keep = dev.ns.sysctls.conf6("keep_addr_on_down", dev.name) === "1";
  const gone = dev.addrs6.filter((a) => !keep || a.scope !== RT_SCOPE_UNIVERSE);
  const undos = gone.map((addr) => removeAddr6(dev, addr));
  return () => {
    for (const undo of undos.reverse()) undo();
  };
}

function routesOf(dev: NetDev, { address, prefixLen }: IfAddr): readonly Route[] {
  const common = { type: "unicast", dev, gateway: 0, onlink: false, src: 0, mtu: 0, proto: "kernel" } as const;
  const local: Route = {
    ...common,
    type: "local",
    network: address,
    len: 128,
    table: RT_TABLE_LOCAL,
    scope: RT_SCOPE_HOST,
    metric: 0,
  };
  if (prefixLen === 128 || !dev.up || dev.driver.kind === "loopback") return [local];
  const network = key6(network6({ addr: octets6(address), len: prefixLen }));
  return [
    local,
    { ...common, network, len: prefixLen, table: RT_TABLE_MAIN, scope: RT_SCOPE_UNIVERSE, metric: PREFIX_METRIC },
  ];
}

function nameOf(route: Route): string {
  return `${route.table} ${route.network}/${route.len}`;
}

/** fe80:: and the MAC with ff:fe in its middle and the universal bit turned over. */
function linkLocal(dev: NetDev): IpKey {
  const a = new Uint8Array(16);
  const mac = Array.from({ length: 6 }, (_, i) => Math.floor(dev.mac / 2 ** (8 * (5 - i))) & 0xff);
  a.set([0xfe, 0x80]);
  a.set([(mac[0] as number) ^ 2, ...mac.slice(1, 3), 0xff, 0xfe, ...mac.slice(3)], 8);
  return key6(ipv6Of(a) as Ipv6Addr);
}
