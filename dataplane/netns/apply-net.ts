/** Addresses, routes, neighbours, forwarding entries and sysctls: what `rtnl-apply.ts` does for each operation. */
import { Bridge, type BridgePort } from "../bridge/bridge.ts";
import { FdbEntry } from "../bridge/fdb.ts";
import type { NetDev } from "../dev/netdev.ts";
import { networkOf, onLink } from "../fib/fib.ts";
import { type Route, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../fib/route.ts";
import type { Host } from "../host/host.ts";
import { NUD_PERMANENT, NUD_REACHABLE, NUD_STALE, neighFor, neighRemove, neighUpdate } from "../neigh/neigh.ts";
import { Vxlan } from "../tunnel/vxlan.ts";
import { type IpKey, isKey6, isLinkLocal6, key6, octets6, parseIp, parsePrefix } from "../wire/ip-key.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { type Mac, macHi, macLo, parseMac } from "../wire/mac-addr.ts";
import { maskOf, network6 } from "../wire/prefix.ts";
import { existing } from "./apply-link.ts";
import { addAddr, removeAddr, scopeOf, type Undo } from "./link.ts";
import { addAddr6, removeAddr6 } from "./link6.ts";
import type { NetNs } from "./netns.ts";
import { type AddrOp, type FdbOp, type NeighOp, NetlinkError, type RouteOp, type SysctlSet } from "./rtnl-ops.ts";

/** Of IPv6 routes that somebody adds (IP6_RT_PRIO_USER). */
const METRIC6 = 1024;

export function addrOp(host: Host, op: AddrOp, undo: Undo[]): void {
  const dev = existing(host.netns(op.netns), op.dev);
  const { addr, len } = prefix(
    op.address.includes("/") ? op.address : `${op.address}/${op.address.includes(":") ? 128 : 32}`,
    "address",
  );
  const six = isKey6(addr);
  const found = (six ? dev.addrs6 : dev.addrs).find((a) => a.address === addr && (six || a.prefixLen === len));
  if (op.op === "addr.del") {
    if (found === undefined) throw new NetlinkError("EADDRNOTAVAIL", `address ${op.address} is not on ${op.dev}`);
    undo.push(six ? removeAddr6(dev, found) : removeAddr(dev, found));
    return;
  }
  if (found !== undefined) throw new NetlinkError("EEXIST", `address ${op.address} is on ${op.dev} already`);
  if (six) {
    if (dev.ns.sysctls.ipv6Disabled(dev.name)) throw new NetlinkError("EACCES", `IPv6 is disabled on ${op.dev}`);
    const scope = scopeOf(op.scope, isLinkLocal6(addr) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
    undo.push(addAddr6(dev, { address: addr, prefixLen: len, broadcast: 0, scope }));
    return;
  }
  const broadcast = len >= 31 ? 0 : (((addr | ~maskOf(len)) >>> 0) as Ipv4Addr);
  undo.push(addAddr(dev, { address: addr, prefixLen: len, broadcast, scope: scopeOf(op.scope) }));
}

export function routeOp(host: Host, op: RouteOp, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  const fib = ns.fib;
  const { addr, len } = prefix(
    op.dst === "default"
      ? defaultOf(op)
      : op.dst.includes("/")
        ? op.dst
        : `${op.dst}/${op.dst.includes(":") ? 128 : 32}`,
    "route",
  );
  if (networkKey(addr, len) !== addr) throw new NetlinkError("EINVAL", `route ${op.dst}: host bits are set`);
  const table = op.table ?? RT_TABLE_MAIN;
  const metric = op.metric ?? (isKey6(addr) ? METRIC6 : 0);
  if (op.op === "route.del") {
    const found = fib.at(addr, len, table).find((r) => matches(r, op));
    if (found === undefined) throw new NetlinkError("ESRCH", `route ${op.dst} does not exist in ${ns.node}/${ns.name}`);
    fib.remove(found);
    undo.push(() => void fib.add(found));
    return;
  }
  const route = resolve(ns, op, addr, len, table, metric);
  if (op.op === "route.replace") {
    const old = fib.at(addr, len, table).find((r) => r.metric === metric);
    if (old !== undefined) {
      fib.remove(old);
      undo.push(() => void fib.add(old));
    }
  }
  if (!fib.add(route)) throw new NetlinkError("EEXIST", `route ${op.dst} exists in ${ns.node}/${ns.name}`);
  undo.push(() => void fib.remove(route));
}

function resolve(ns: NetNs, op: RouteOp, network: Ipv4Addr, len: number, table: number, metric: number): Route {
  const type = op.type ?? "unicast";
  const mtu = op.mtu ?? 0;
  const proto = op.proto ?? "boot";
  const src = op.src === undefined ? (0 as const) : address(op.src, "src");
  if (type !== "unicast") {
    const scope = RT_SCOPE_UNIVERSE;
    return { network, len, type, table, dev: null, gateway: 0, onlink: false, src, scope, metric, mtu, proto };
  }
  let dev: NetDev | null = op.dev === undefined ? null : existing(ns, op.dev);
  const gateway = op.via === undefined ? (0 as const) : address(op.via, "gateway");
  const onlink = op.onlink ?? false;
  if (dev === null && gateway === 0)
    throw new NetlinkError("ENODEV", `route ${op.dst}: neither a device nor a gateway`);
  if (dev !== null && !dev.up) throw new NetlinkError("ENETDOWN", `route ${op.dst}: ${dev.name} is down`);
  if (gateway !== 0) {
    if (isKey6(network) && !isKey6(gateway))
      throw new NetlinkError("EINVAL", `route ${op.dst}: gateway ${op.via} is of the other family`);
    if (ns.fib.isLocal(gateway))
      throw new NetlinkError("EINVAL", `route ${op.dst}: gateway ${op.via} is an address of this host`);
    if (onlink) {
      if (dev === null) throw new NetlinkError("EINVAL", `route ${op.dst}: onlink needs a device`);
    } else {
      const covering = onLink(ns.fib, gateway, dev);
      if (covering === null)
        throw new NetlinkError("ENETUNREACH", `route ${op.dst}: gateway ${op.via} is not on a link`);
      dev = covering.dev;
    }
  }
  const direct = isKey6(network) ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  const scope = scopeOf(op.scope, gateway === 0 ? direct : RT_SCOPE_UNIVERSE);
  return { network, len, type, table, dev, gateway, onlink, src, scope, metric, mtu, proto };
}

/** Whether a deletion means this route: what it names must agree. */
function matches(route: Route, op: RouteOp): boolean {
  if (op.metric !== undefined && op.metric !== route.metric) return false;
  if (op.dev !== undefined && op.dev !== route.dev?.name) return false;
  return op.via === undefined || parseIp(op.via) === route.gateway;
}

export function neighOp(host: Host, op: NeighOp, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  const dev = existing(ns, op.dev);
  const ip = address(op.address, "neighbour");
  const old = dev.neighs.get(ip | 0);
  const before = old === undefined ? null : { mac: old.mac, state: old.state };
  const restore = (): void => {
    const now = dev.neighs.get(ip | 0);
    if (before === null) {
      if (now !== undefined) neighRemove(ns, now);
    } else neighUpdate(ns, now ?? neighFor(dev, ip), before.mac, before.state);
  };
  if (op.op === "neigh.del") {
    if (old === undefined) throw new NetlinkError("ENOENT", `neighbour ${op.address} does not exist on ${op.dev}`);
    neighRemove(ns, old);
    undo.push(restore);
    return;
  }
  if (op.mac === undefined) throw new NetlinkError("EINVAL", `neighbour ${op.address}: no MAC address`);
  const states = { permanent: NUD_PERMANENT, reachable: NUD_REACHABLE, stale: NUD_STALE };
  const state = states[op.state ?? "permanent"];
  const neigh = neighFor(dev, ip);
  if (neigh.state === NUD_PERMANENT) neigh.state = NUD_STALE;
  neighUpdate(ns, neigh, macOf(op.mac), state);
  undo.push(restore);
}

export function fdbOp(host: Host, op: FdbOp, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  const dev = existing(ns, op.dev);
  const mac = macOf(op.mac);
  const hi = macHi(mac);
  const lo = macLo(mac);
  if (dev.driver instanceof Vxlan) {
    const vxlan = dev.driver;
    const old = vxlan.fdb.get(hi, lo);
    undo.push(() => {
      if (old === null) vxlan.fdb.delete(hi, lo);
      else vxlan.fdb.set(old);
    });
    if (op.op === "fdb.replace") {
      if (op.dst === undefined) throw new NetlinkError("EINVAL", `forwarding entry ${op.mac}: no destination`);
      const dst = address(op.dst, "destination");
      if (isKey6(dst) !== vxlan.six) {
        const underlay = vxlan.six ? "IPv6" : "IPv4";
        throw new NetlinkError(
          "EAFNOSUPPORT",
          `forwarding entry ${op.mac}: ${op.dst} is not of ${op.dev}, over ${underlay}`,
        );
      }
      vxlan.setRemote(hi, lo, dst, true, 0);
    } else if (!vxlan.fdb.delete(hi, lo)) throw missing(op);
    return;
  }
  const bridge = dev.master?.driver;
  const port = bridge instanceof Bridge ? bridge.port(dev) : undefined;
  if (!(bridge instanceof Bridge) || port === undefined) {
    throw new NetlinkError("EOPNOTSUPP", `link ${op.dev} has no forwarding database`);
  }
  const old = bridge.fdb.get(hi, lo);
  undo.push(() => {
    if (old === null) bridge.fdb.delete(hi, lo);
    else bridge.fdb.set(old);
  });
  if (op.op === "fdb.replace") bridge.fdb.set(new FdbEntry<BridgePort | null>(hi, lo, port, true, 0));
  else if (!bridge.fdb.delete(hi, lo)) throw missing(op);
}

export function sysctlOp(host: Host, op: SysctlSet, undo: Undo[]): void {
  const sysctls = host.netns(op.netns).sysctls;
  if (!sysctls.known(op.key)) throw new NetlinkError("ENOENT", `sysctl ${op.key} does not exist`);
  const old = sysctls.get(op.key);
  sysctls.set(op.key, op.value);
  undo.push(() => sysctls.set(op.key, old ?? "0"));
}

function missing(op: FdbOp): NetlinkError {
  return new NetlinkError("ENOENT", `forwarding entry ${op.mac} does not exist on ${op.dev}`);
}

function prefix(text: string, what: string): { readonly addr: IpKey; readonly len: number } {
  const p = parsePrefix(text);
  if (p === undefined) throw new NetlinkError("EINVAL", `${what} ${text} is not an IP prefix`);
  return p;
}

function address(text: string, what: string): IpKey {
  const a = parseIp(text);
  if (a === undefined) throw new NetlinkError("EINVAL", `${what} ${text} is not an IP address`);
  return a;
}

/** What "default" means for the family of the gateway. */
function defaultOf(op: RouteOp): string {
  return op.via?.includes(":") === true ? "::/0" : "0.0.0.0/0";
}

function networkKey(addr: IpKey, len: number): IpKey {
  return isKey6(addr) ? key6(network6({ addr: octets6(addr), len })) : networkOf(addr, len);
}

function macOf(text: string): Mac {
  const mac = parseMac(text);
  if (mac === undefined) throw new NetlinkError("EINVAL", `${text} is not a MAC address`);
  return mac;
}

/** As `ip address` names the scope of an address or route. */
export function scopeName(scope: number): "global" | "link" | "host" {
  return scope >= 254 ? "host" : scope >= RT_SCOPE_LINK ? "link" : "global";
}
