/**
 * Interfaces in a namespace: put in, taken out, up and down, with the routes that come and go with them
 * (net/core/dev.c, net/ipv4/devinet.c, fib_frontend.c). Each function that changes something answers how to undo it.
 */
import { Bridge } from "../bridge/bridge.ts";
import type { IfAddr, NetDev } from "../dev/netdev.ts";
import { Veth } from "../dev/veth.ts";
import { networkOf } from "../fib/fib.ts";
import {
  type Route,
  type RouteType,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
} from "../fib/route.ts";
import { announce } from "../neigh/arp-send.ts";
import {
  NUD_DELAY,
  NUD_NOARP,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
  neighFor,
  neighRemove,
  neighUpdate,
} from "../neigh/neigh.ts";
import { netfilterOf } from "../netfilter/restore-op.ts";
import type { Random } from "../sim/random.ts";
import { type Ipv4Addr, ipv4Of } from "../wire/ipv4-addr.ts";
import { type Mac, macOf } from "../wire/mac-addr.ts";
import { maskOf } from "../wire/prefix.ts";
import { linkDown6, linkUp6, removeAddr6 } from "./link6.ts";
import type { NetNs } from "./netns.ts";

export type Undo = () => void;

/** Registers the interface under its name. */
export function addLink(dev: NetDev, ifindex = 0): Undo {
  const ns = dev.ns;
  dev.ifindex = ns.takeIfindex(ifindex);
  ns.devs.set(dev.ifindex, dev);
  ns.devsByName.set(dev.name, dev);
  return () => {
    forget(dev);
  };
}

function forget(dev: NetDev): void {
  dev.ns.devs.delete(dev.ifindex);
  dev.ns.devsByName.delete(dev.name);
}

/** Removes the interface, and the other end of a veth pair with it. */
export function removeLink(dev: NetDev): Undo {
  const undos: Undo[] = [];
  const peer = dev.driver instanceof Veth ? dev.driver.peer : null;
  undos.push(detach(dev));
  if (peer !== null) {
    undos.push(detach(peer));
    const [mine, theirs] = [dev.driver as Veth, peer.driver as Veth];
    mine.peer = null;
    theirs.peer = null;
    undos.push(() => {
      mine.peer = peer;
      theirs.peer = dev;
    });
  }
  return () => {
    for (const undo of undos.reverse()) undo();
  };
}

function detach(dev: NetDev): Undo {
  const undos: Undo[] = [];
  const { ns, ifindex } = dev;
  if (dev.up) undos.push(setLinkUp(dev, false));
  if (dev.master !== null) undos.push(setMaster(dev, null));
  if (dev.driver instanceof Bridge) {
    for (const port of [...dev.driver.ports]) undos.push(setMaster(port.dev, null));
  }
  for (const addr of [...dev.addrs]) undos.push(removeAddr(dev, addr));
  for (const addr of [...dev.addrs6]) undos.push(removeAddr6(dev, addr));
  undos.push(forgetNeighs(dev));
  dev.driver.removed?.(dev);
  forget(dev);
  ns.fib.changed();
  undos.push(() => {
    ns.devs.set(ifindex, dev);
    ns.devsByName.set(dev.name, dev);
    dev.driver.restored?.(dev);
    dev.driver.stateChanged?.(dev);
  });
  return () => {
    for (const undo of undos.reverse()) undo();
  };
}

/** Up: routes of its addresses appear, loopback gets 127.0.0.1/8. Down: every route by it goes. */
export function setLinkUp(dev: NetDev, up: boolean): Undo {
  if (dev.up === up) return () => {};
  const ns = dev.ns;
  const gone: Route[] = [];
  let loopbackAddr: Undo = () => {};
  let neighs: Undo = () => {};
  let six: Undo = () => {};
  dev.up = up;
  dev.driver.stateChanged?.(dev);
  if (up) {
    if (dev.driver.kind === "loopback" && dev.addrs.length === 0) {
      const address = ipv4Of(0x7f000001);
      loopbackAddr = addAddr(dev, { address, prefixLen: 8, broadcast: 0, scope: RT_SCOPE_HOST });
    }
    for (const addr of dev.addrs) addPrefixRoutes(dev, addr);
    six = linkUp6(dev);
    if (ns.sysctls.maxConf("arp_notify", dev.name) !== 0) for (const a of dev.addrs) announce(ns, dev, a.address);
  } else {
    dev.qdisc?.reset();
    six = linkDown6(dev);
    for (const route of [...ns.fib.routes()]) {
      if (route.dev !== dev) continue;
      ns.fib.remove(route);
      gone.push(route);
    }
    neighs = forgetNeighs(dev);
    // Connections that were masqueraded by this interface cannot come back the way they went (masq_device_event).
    netfilterOf(ns)?.nat.dropMasquerade(dev.ifindex);
  }
  ns.fib.changed();
  return () => {
    if (up) {
      for (const addr of dev.addrs) for (const route of prefixRoutes(dev, addr)) removeLike(ns, route);
      loopbackAddr();
    } else for (const route of gone) ns.fib.add(route);
    dev.up = !up;
    six();
    neighs();
    dev.driver.stateChanged?.(dev);
    ns.fib.changed();
  };
}

/** What a neighbour entry comes back as: one that a timer was running for is STALE, one without a MAC is gone. */
const TIMED = NUD_DELAY | NUD_PROBE;
const KEPT = NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_NOARP;

/** Undone, the entries are there again, but not the packets that waited for them. */
function forgetNeighs(dev: NetDev): Undo {
  const gone = [...dev.neighs.values()];
  for (const neigh of gone) neighRemove(dev.ns, neigh);
  return () => {
    for (const n of gone) {
      const state = (n.state & TIMED) !== 0 ? NUD_STALE : n.state;
      if ((state & KEPT) !== 0) neighUpdate(dev.ns, neighFor(dev, n.address), n.mac, state);
    }
  };
}

/** Makes the interface a port of a bridge, or releases it. The flags of a port are kept for undoing. */
export function setMaster(dev: NetDev, master: NetDev | null): Undo {
  const old = dev.master;
  const oldPort = old !== null && old.driver instanceof Bridge ? old.driver.port(dev) : undefined;
  const [oldMac, masterMac] = [old?.mac, master?.mac];
  if (old !== null && old.driver instanceof Bridge) old.driver.removePort(dev);
  if (master !== null && master.driver instanceof Bridge) master.driver.addPort(dev);
  return () => {
    if (master !== null && master.driver instanceof Bridge) {
      master.driver.removePort(dev);
      master.driver.takeMac(masterMac ?? master.mac);
    }
    if (old !== null && old.driver instanceof Bridge) {
      const port = old.driver.addPort(dev);
      if (oldPort !== undefined) {
        port.hairpin = oldPort.hairpin;
        port.isolated = oldPort.isolated;
        port.learning = oldPort.learning;
        port.vlans = oldPort.vlans;
      }
      old.driver.takeMac(oldMac ?? old.mac);
    }
  };
}

/** Gives the interface an address, with its local, broadcast and prefix routes. */
export function addAddr(dev: NetDev, addr: IfAddr): Undo {
  const ns = dev.ns;
  dev.addrs = [...dev.addrs, addr];
  // Another address of the interface may have brought the same route.
  const added = [localRoute(dev, addr), ...(dev.up ? prefixRoutes(dev, addr) : [])].filter((r) => ns.fib.add(r));
  return () => {
    for (const route of added) if (!ns.fib.remove(route)) removeLike(ns, route);
    dev.addrs = dev.addrs.filter((a) => a !== addr);
  };
}

export function removeAddr(dev: NetDev, addr: IfAddr): Undo {
  const ns = dev.ns;
  const gone: Route[] = [];
  const twin = dev.addrs.some((a) => a !== addr && a.address === addr.address);
  for (const route of [...prefixRoutes(dev, addr), ...(twin ? [] : [localRoute(dev, addr)])]) {
    const found = removeLike(ns, route);
    if (found !== null) gone.push(found);
  }
  // Routes that prefer this source go with it (fib_sync_down_addr).
  for (const route of [...ns.fib.routes()]) {
    if (twin || route.src !== addr.address || route.dev !== dev) continue;
    ns.fib.remove(route);
    gone.push(route);
  }
  const before = dev.addrs;
  dev.addrs = before.filter((a) => a !== addr);
  netfilterOf(ns)?.nat.dropMasquerade(dev.ifindex);
  return () => {
    dev.addrs = before;
    for (const route of gone) ns.fib.add(route);
  };
}

/** A random MAC, locally administered, unicast (eth_random_addr). */
export function randomMac(random: Random): Mac {
  const hi = (random.int(0x10000) & 0xfeff) | 0x0200;
  return macOf(hi * 0x1_0000_0000 + random.u32());
}

function addPrefixRoutes(dev: NetDev, addr: IfAddr): void {
  for (const route of prefixRoutes(dev, addr)) dev.ns.fib.add(route);
  dev.ns.fib.add(localRoute(dev, addr));
}

function localRoute(dev: NetDev, addr: IfAddr): Route {
  return kernelRoute(dev, addr, addr.address, 32, "local", RT_TABLE_LOCAL, RT_SCOPE_HOST);
}

function prefixRoutes(dev: NetDev, addr: IfAddr): Route[] {
  const { address, prefixLen } = addr;
  if (prefixLen === 32) return [];
  const network = networkOf(address, prefixLen);
  if (dev.driver.kind === "loopback") {
    return [kernelRoute(dev, addr, network, prefixLen, "local", RT_TABLE_LOCAL, RT_SCOPE_HOST)];
  }
  const routes = [kernelRoute(dev, addr, network, prefixLen, "unicast", RT_TABLE_MAIN, RT_SCOPE_LINK)];
  if (prefixLen < 31) {
    const last = ((network | ~maskOf(prefixLen)) >>> 0) as Ipv4Addr;
    routes.push(kernelRoute(dev, addr, last, 32, "broadcast", RT_TABLE_LOCAL, RT_SCOPE_LINK));
  }
  return routes;
}

function kernelRoute(
  dev: NetDev,
  addr: IfAddr,
  network: Ipv4Addr,
  len: number,
  type: RouteType,
  table: number,
  scope: number,
): Route {
  const src = addr.address;
  return { network, len, type, table, dev, gateway: 0, onlink: false, src, scope, metric: 0, mtu: 0, proto: "kernel" };
}

/** Removes the route that matches in all that makes a kernel route itself. */
function removeLike(ns: NetNs, route: Route): Route | null {
  const found = ns.fib
    .at(route.network, route.len, route.table)
    .find((r) => r.dev === route.dev && r.type === route.type && r.src === route.src && r.proto === "kernel");
  if (found === undefined) return null;
  ns.fib.remove(found);
  return found;
}

/** Scope of an address by its name; global unless it says otherwise. */
export function scopeOf(name: string | undefined, fallback: number = RT_SCOPE_UNIVERSE): number {
  if (name === "link") return RT_SCOPE_LINK;
  if (name === "host") return RT_SCOPE_HOST;
  return name === "global" ? RT_SCOPE_UNIVERSE : fallback;
}
