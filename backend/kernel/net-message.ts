/**
 * Addresses, routes, neighbours and forwarding entries in rtnetlink, by the codecs of the `netlink` package, in the words
 * of `rtnl-ops.ts`.
 */
import {
  formatAddressAttrs,
  formatAddress as formatAddressHead,
  formatNeighbor,
  formatNeighborAttrs,
  formatRoute,
  formatRouteAttrs,
  type NeighborState,
  parseAddressAttrs,
  parseAddress as parseAddressHead,
  parseNeighbor,
  parseNeighborAttrs,
  parseRoute,
  parseRouteAttrs,
  type RouteAttrs,
  RouteProtocol,
  RouteType,
} from "netlink/dist/rt/gen_structs.js";
import type { AttrStream } from "netlink/dist/structs.js";
import {
  type AddrInfo,
  type AddrOp,
  type FdbInfo,
  type FdbOp,
  type NeighInfo,
  type NeighOp,
  NetlinkError,
  type RouteInfo,
  type RouteOp,
  type RouteScope,
} from "../../dataplane/netns/rtnl-ops.ts";
import {
  AF_INET,
  AF_INET6,
  type Family,
  formatAddress,
  formatMacOctets,
  isZero,
  macOctets,
  parseAddress,
  parsePrefix,
} from "./ip-text.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const AF_BRIDGE = 7;

/** struct rtvia: a family in two octets, then the address. The codec of the package knows no address in it. */
const RTA_VIA = 18;

const ADDRESS_LEN = 8;
const ROUTE_LEN = 12;
const NEIGHBOR_LEN = 12;
const SCOPES: Readonly<Record<RouteScope, number>> = { global: 0, link: 253, host: 254 };
const TABLE_MAIN = 254;
const TABLE_LOCAL = 255;
const RTNH_F_ONLINK = 4;
const NO_ROUTE = /^(?:LOCAL|BROADCAST|ANYCAST|MULTICAST)$/;

function scopeName(scope: number): RouteScope {
  if (scope === SCOPES.link) return "link";
  return scope === SCOPES.host ? "host" : "global";
}

function broadcastOf(octets: Buffer, len: number): Buffer {
  const value = (octets.readUInt32BE() | (len === 0 ? 0xffff_ffff : (1 << (32 - len)) - 1)) >>> 0;
  const broadcast = Buffer.alloc(4);
  broadcast.writeUInt32BE(value);
  return broadcast;
}

export function writeAddress(out: AttrStream, op: AddrOp, index: number, noDad: boolean): void {
  const { family, octets, len } = parsePrefix(op.address, "address");
  const withBroadcast = op.op === "addr.add" && family === AF_INET && len < 31;
  const flags = noDad ? { flags: { nodad: true } as const } : {};
  out.emit(formatAddressHead({ family, prefixlen: len, index, scope: SCOPES[op.scope ?? "global"], ...flags }));
  out.emit(
    formatAddressAttrs({
      local: octets,
      address: octets,
      ...(withBroadcast ? { broadcast: broadcastOf(octets, len) } : {}),
    }),
  );
}

/** All addresses of a device, of every family; index 0 means every device. */
export function writeGetAddresses(out: AttrStream, index: number): void {
  out.emit(formatAddressHead({ index }));
}

export type RawAddress = Omit<AddrInfo, "dev"> & { readonly index: number };

export function parseAddressMessage(data: Buffer): RawAddress | undefined {
  const head = parseAddressHead(data.subarray(0, ADDRESS_LEN));
  if (head.family !== AF_INET && head.family !== AF_INET6) return undefined;
  const attrs = parseAddressAttrs(data.subarray(ADDRESS_LEN));
  const octets = attrs.local ?? attrs.address;
  if (octets === undefined) return undefined;
  return {
    index: head.index ?? 0,
    address: `${formatAddress(octets)}/${head.prefixlen ?? 0}`,
    scope: scopeName(head.scope ?? 0),
  };
}

function protocolOf(proto: string | undefined): number {
  if (proto === undefined) return RouteProtocol.BOOT;
  if (/^\d+$/.test(proto)) return Number(proto);
  const known = (RouteProtocol as unknown as Readonly<Record<string, number | string>>)[proto.toUpperCase()];
  if (typeof known === "number") return known;
  throw new NetlinkError("EINVAL", `route protocol ${proto}`);
}

const TYPES = {
  unicast: RouteType.UNICAST,
  blackhole: RouteType.BLACKHOLE,
  unreachable: RouteType.UNREACHABLE,
  prohibit: RouteType.PROHIBIT,
} as const;

export function writeRoute(out: AttrStream, op: RouteOp, oif: number | undefined): void {
  const via = op.via === undefined ? undefined : parseAddress(op.via, `route ${op.dst}: via`);
  const dst = parsePrefix(op.dst === "default" ? (via?.family === AF_INET6 ? "::/0" : "0.0.0.0/0") : op.dst, "route");
  const type = op.type ?? "unicast";
  const direct = type === "unicast" && via === undefined && dst.family === AF_INET;
  const scope = op.scope === undefined ? (direct ? SCOPES.link : SCOPES.global) : SCOPES[op.scope];
  const removing = op.op === "route.del";
  const table = op.table ?? TABLE_MAIN;
  out.emit(
    formatRoute({
      family: dst.family,
      dstLen: dst.len,
      table: table > 255 ? 0 : table,
      protocol: removing && op.proto === undefined ? 0 : protocolOf(op.proto),
      // RT_SCOPE_NOWHERE and RTN_UNSPEC: any, for a deletion
      scope: removing && op.scope === undefined ? 255 : scope,
      type: removing && op.type === undefined ? 0 : TYPES[type],
      ...(op.onlink === true ? { flags: { __unknown: RTNH_F_ONLINK } as object } : {}),
    }),
  );
  const mtu = op.mtu === undefined ? undefined : Buffer.alloc(4);
  mtu?.writeUInt32LE(op.mtu ?? 0);
  out.emit(
    formatRouteAttrs({
      ...(dst.len === 0 ? {} : { dst: dst.octets }),
      ...(oif === undefined ? {} : { oif }),
      ...(via === undefined || via.family !== dst.family ? {} : { gateway: via.octets }),
      ...(op.src === undefined ? {} : { prefsrc: parseAddress(op.src, `route ${op.dst}: src`).octets }),
      ...(op.metric === undefined ? {} : { priority: op.metric }),
      ...(mtu === undefined ? {} : { metrics: { mtu } }),
      table,
    }),
  );
  if (via !== undefined && via.family !== dst.family) out.push(RTA_VIA, Buffer.of(via.family, 0, ...via.octets));
}

export function writeGetRoutes(out: AttrStream, family: Family): void {
  out.emit(formatRoute({ family }));
}

export type RawRoute = Omit<RouteInfo, "dev"> & { readonly oif: number };

/** Undefined for what no dump of `rtnl-ops.ts` shows: the local table, cached copies. */
export function parseRouteMessage(data: Buffer): RawRoute | undefined {
  const head = parseRoute(data.subarray(0, ROUTE_LEN));
  const { attrs, via } = routeAttrs(data.subarray(ROUTE_LEN));
  const table = attrs.table ?? head.table ?? TABLE_MAIN;
  const type = typeof head.type === "string" ? head.type : "UNICAST";
  if (table === TABLE_LOCAL || head.flags?.cloned === true || NO_ROUTE.test(type)) return undefined;
  const len = head.dstLen ?? 0;
  const v6 = head.family === AF_INET6;
  const zero = v6 ? "::/0" : "default";
  const mtu = attrs.metrics?.mtu?.readUInt32LE() ?? 0;
  const flags = data.readUInt32LE(8);
  const scope = typeof head.scope === "string" ? head.scope : "UNIVERSE";
  const lower = type.toLowerCase();
  return {
    oif: attrs.oif ?? firstHop(attrs.multipath)?.oif ?? 0,
    dst: len === 0 || attrs.dst === undefined ? zero : `${formatAddress(attrs.dst)}/${len}`,
    ...gatewayOf(attrs.gateway ?? via ?? firstHop(attrs.multipath)?.gateway),
    ...(attrs.prefsrc === undefined ? {} : { src: formatAddress(attrs.prefsrc) }),
    ...(attrs.priority === undefined || attrs.priority === 0 ? {} : { metric: attrs.priority }),
    ...(mtu === 0 ? {} : { mtu }),
    ...((flags & RTNH_F_ONLINK) === 0 ? {} : { onlink: true }),
    ...(lower === "blackhole" || lower === "unreachable" || lower === "prohibit" ? { type: lower } : {}),
    ...(table === TABLE_MAIN ? {} : { table }),
    scope: scope === "LINK" ? "link" : scope === "HOST" ? "host" : "global",
    proto: typeof head.protocol === "string" ? head.protocol.toLowerCase() : String(head.protocol ?? 0),
  };
}

/** The attributes, and the octets of a gateway of the other family. */
function routeAttrs(data: Buffer): { readonly attrs: RouteAttrs; readonly via: Buffer | undefined } {
  const rest: Buffer[] = [];
  let via: Buffer | undefined;
  for (let at = 0; at + 4 <= data.length; ) {
    const len = data.readUInt16LE(at);
    if (len < 4) break;
    const next = (at + len + 3) & ~3;
    if (data.readUInt16LE(at + 2) === RTA_VIA) via = data.subarray(at + 6, at + len);
    else rest.push(data.subarray(at, next));
    at = next;
  }
  return { attrs: parseRouteAttrs(via === undefined ? data : Buffer.concat(rest)), via };
}

function gatewayOf(octets: Uint8Array | undefined): { readonly via?: string } {
  return octets === undefined ? {} : { via: formatAddress(octets) };
}

/** The first of several next hops: struct rtnexthop is length 2, flags 1, hops 1, ifindex 4, then attributes. */
function firstHop(
  multipath: Buffer | undefined,
): { readonly oif: number; readonly gateway: Buffer | undefined } | undefined {
  if (multipath === undefined || multipath.length < 8) return undefined;
  const { attrs, via } = routeAttrs(multipath.subarray(8, multipath.readUInt16LE(0)));
  return { oif: multipath.readInt32LE(4), gateway: attrs.gateway ?? via };
}

const STATES: Readonly<Record<NonNullable<NeighOp["state"]>, NeighborState>> = {
  permanent: { permanent: true },
  reachable: { reachable: true },
  stale: { stale: true },
};

export function writeNeighbor(out: AttrStream, op: NeighOp, ifindex: number): void {
  const address = parseAddress(op.address, "neighbour");
  const state = op.op === "neigh.del" ? {} : { state: STATES[op.state ?? "permanent"] };
  out.emit(formatNeighbor({ family: address.family, ifindex, ...state }));
  out.emit(
    formatNeighborAttrs({
      dst: address.octets,
      ...(op.mac === undefined ? {} : { lladdr: macOctets(op.mac, `neighbour ${op.address}`) }),
    }),
  );
}

/** Neighbours of a family; with AF_BRIDGE the forwarding entries. */
export function writeGetNeighbors(out: AttrStream, family: number): void {
  out.emit(formatNeighbor({ family }));
}

/** Held by the device itself (a VXLAN) or by the bridge that it is a port of. */
export type FdbPlace = "self" | "master";

export function writeFdb(out: AttrStream, op: FdbOp, ifindex: number, place: FdbPlace): void {
  const state = op.op === "fdb.del" ? {} : { state: { permanent: true, noarp: true } as const };
  const flags = place === "self" ? ({ self: true } as const) : ({ master: true } as const);
  out.emit(formatNeighbor({ family: AF_BRIDGE, ifindex, flags, ...state }));
  out.emit(
    formatNeighborAttrs({
      lladdr: macOctets(op.mac, "forwarding entry"),
      ...(op.dst === undefined ? {} : { dst: parseAddress(op.dst, "forwarding entry").octets }),
    }),
  );
}

const NAMES = ["permanent", "failed", "incomplete", "probe", "delay", "stale", "reachable"] as const;

export type RawNeighbor = Omit<NeighInfo, "dev"> & { readonly index: number };

/** Undefined for what `ip neigh` does not show either: entries without a protocol. */
export function parseNeighborMessage(data: Buffer): RawNeighbor | undefined {
  const head = parseNeighbor(data.subarray(0, NEIGHBOR_LEN));
  const attrs = parseNeighborAttrs(data.subarray(NEIGHBOR_LEN));
  const state = NAMES.find((name) => head.state?.[name] === true);
  if (attrs.dst === undefined || state === undefined || head.state?.noarp === true) return undefined;
  const mac = attrs.lladdr === undefined || isZero(attrs.lladdr) ? null : formatMacOctets(attrs.lladdr);
  return { index: head.ifindex ?? 0, address: formatAddress(attrs.dst), mac, state: state.toUpperCase() };
}

export type RawFdb = Omit<FdbInfo, "dev"> & { readonly index: number };

export function parseFdbMessage(data: Buffer): RawFdb | undefined {
  const head = parseNeighbor(data.subarray(0, NEIGHBOR_LEN));
  const attrs = parseNeighborAttrs(data.subarray(NEIGHBOR_LEN));
  if (attrs.lladdr === undefined) return undefined;
  return {
    index: head.ifindex ?? 0,
    mac: formatMacOctets(attrs.lladdr),
    dst: attrs.dst === undefined ? null : formatAddress(attrs.dst),
    state: head.state?.permanent === true ? "permanent" : "",
  };
}
