/**
 * What the bridge plugin does to the data plane, as data: pure functions from configuration, addresses and what is there
 * to one list of operations.
 *
 *     host      BRIDGE (gateway addresses) ── vethXXXXXXXX
 *                                                  ║
 *     sandbox                                  CNI_IFNAME (addresses, routes)
 */
import type { LinkInfo, RouteInfo, RouteScope, RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import {
  type Cidr,
  type Family,
  firstOf,
  formatCidr,
  formatIp,
  networkOf,
  overlaps,
  parseCidr,
  plus,
} from "../../ipam/ip.ts";
import { CniError, EXISTS } from "../cni/error.ts";
import type { IpConfig, Result, Route } from "../cni/types.ts";
import { masqOps, nftOps, type RulesBackend } from "../netfilter/masq.ts";
import { spoofAddText } from "../netfilter/nft-spoof.ts";
import { sha512Hex } from "../netfilter/sha512.ts";
import { type BridgeConf, gatewayOf, hasVlans } from "./bridge-conf.ts";
import { aliasOp } from "./host-end.ts";
import type { Names } from "./names.ts";

/** What is there before ADD. */
export type BridgeWorld = {
  readonly bridge: LinkInfo | undefined;
  /** Whether the interface of the gateway is there: the bridge, or with a VLAN a veth into that. */
  readonly gateway: boolean;
  /** Addresses of that, with prefix lengths. */
  readonly bridgeAddrs: readonly string[];
  readonly ipv6: boolean;
  readonly forwards4: boolean;
  readonly forwards6: boolean;
  /** The sandbox may have other interfaces, with the same destinations. */
  readonly sandboxRoutes: readonly RouteInfo[];
};
export type Place = { readonly netns: string; readonly ifname: string; readonly containerId: string };

function cidrOf(address: string): Cidr {
  const cidr = parseCidr(address);
  if (cidr === undefined) throw new RangeError(`not an address with its prefix: ${address}`);
  return cidr;
}

function familyOf(address: string): Family {
  return cidrOf(address).ip.family;
}

function isDefault(dst: string): boolean {
  return cidrOf(dst).len === 0;
}

/** A gateway's address where IPAM names none: the first of the subnet. */
export function withGateways(conf: BridgeConf, ips: readonly IpConfig[]): readonly IpConfig[] {
  if (!conf.isGateway) return ips;
  return ips.map((ip) =>
    ip.gateway === undefined ? { ...ip, gateway: formatIp(plus(firstOf(cidrOf(ip.address)), 1n)) } : ip,
  );
}

/** The container's routes: those of IPAM, and with isDefaultGateway a default one for each family that lacks it. */
export function routesFor(conf: BridgeConf, ips: readonly IpConfig[], routes: readonly Route[]): readonly Route[] {
  const gatewayOf = (family: Family): string | undefined => ips.find((ip) => familyOf(ip.address) === family)?.gateway;
  const all = [...routes];
  if (conf.isDefaultGateway) {
    for (const family of [4, 6] as const) {
      const gw = gatewayOf(family);
      const has = routes.some((route) => familyOf(route.dst) === family && isDefault(route.dst));
      if (gw !== undefined && !has) all.push({ dst: family === 4 ? "0.0.0.0/0" : "::/0", gw });
    }
  }
  const seen = new Set<string>();
  return all.filter((route) => {
    const key = [formatCidr(cidrOf(route.dst)), route.gw ?? "", route.priority ?? 0, route.table ?? 0].join(" ");
    return seen.size < seen.add(key).size;
  });
}

const SCOPES: ReadonlyMap<number, RouteScope> = new Map([
  [0, "global"],
  [253, "link"],
  [254, "host"],
]);

/** Of frames without a tag, on a trunk that names no VLAN of its own. */
const DEFAULT_VLAN = 1;
/** Not as many as a container's port has: GC must not take it for one. */
const GATEWAY_PORT_DIGITS = 8;
const MAIN_TABLE = 254;
/** What the kernel takes if no metric is given. */
const DEFAULT_METRIC: Readonly<Record<Family, number>> = { 4: 0, 6: 1024 };

function routeKey(family: Family, dst: string, metric: number | undefined, table: number | undefined): string {
  const prefix = dst === "default" ? "0.0.0.0/0" : formatCidr(networkOf(cidrOf(dst)));
  return `${prefix} ${metric ?? DEFAULT_METRIC[family]} ${table ?? MAIN_TABLE}`;
}

/** The routes, a worse metric for those whose place another interface of the sandbox has. */
function routeOps(
  place: Place,
  ips: readonly IpConfig[],
  routes: readonly Route[],
  present: readonly RouteInfo[],
): readonly RtnlOp[] {
  const taken = new Set(
    present.map((r) => routeKey(r.dst === "default" ? 4 : familyOf(r.dst), r.dst, r.metric, r.table)),
  );
  return routes.map((route): RtnlOp => {
    const family = familyOf(route.dst);
    let metric = route.priority;
    while (taken.has(routeKey(family, route.dst, metric, route.table))) metric = (metric ?? DEFAULT_METRIC[family]) + 1;
    taken.add(routeKey(family, route.dst, metric, route.table));
    const via = route.gw ?? ips.find((ip) => familyOf(ip.address) === family)?.gateway;
    const scope = route.scope === undefined ? undefined : SCOPES.get(route.scope);
    return {
      op: "route.add",
      netns: place.netns,
      dst: route.dst,
      dev: place.ifname,
      // a route of link scope has no gateway
      ...(via === undefined || scope === "link" || scope === "host" ? {} : { via }),
      ...(metric === undefined ? {} : { metric }),
      ...(route.table === undefined ? {} : { table: route.table }),
      ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
      ...(scope === undefined ? {} : { scope }),
    };
  });
}

function sysctl(netns: string, key: string, value: string): RtnlOp {
  return { op: "sysctl.set", netns, key, value };
}

function devKey(family: "ipv4" | "ipv6", dev: string, leaf: string): string {
  return `net.${family}.conf.${dev.replaceAll(".", "/")}.${leaf}`;
}

function planBridge(conf: BridgeConf, world: BridgeWorld, names: Names): readonly RtnlOp[] {
  const { bridge } = world;
  if (bridge === undefined) {
    const link: RtnlOp = {
      op: "link.add",
      netns: "host",
      name: conf.bridge,
      kind: "bridge",
      // given, it stays; else the bridge would take the lowest MAC of its ports, whichever that is today
      mac: names.bridgeMac,
      ...(hasVlans(conf) ? { vlanFiltering: true } : {}),
      ...(conf.mtu === undefined ? {} : { mtu: conf.mtu }),
      ...(conf.promisc ? { promisc: true } : {}),
      up: true,
    };
    return world.ipv6 ? [link, sysctl("host", devKey("ipv6", conf.bridge, "accept_ra"), "0")] : [link];
  }
  if (bridge.kind !== "bridge") {
    throw new CniError(EXISTS, `bridge ${conf.bridge}: a device of kind ${bridge.kind} has that name`);
  }
  const promisc = conf.promisc && !bridge.promisc;
  const filter = hasVlans(conf) && bridge.vlanFiltering !== true;
  if (bridge.up && !promisc && !filter) return [];
  const more = { ...(promisc ? { promisc } : {}), ...(filter ? { vlanFiltering: true } : {}) };
  return [{ op: "link.set", netns: "host", name: conf.bridge, ...more, up: true }];
}

/** The gateway addresses of the bridge. A foreign one of the family is replaced with forceAddress, else refused. */
function planGateways(conf: BridgeConf, world: BridgeWorld, ips: readonly IpConfig[]): readonly RtnlOp[] {
  if (!conf.isGateway) return [];
  const dev = gatewayOf(conf);
  const wanted = new Set<string>();
  for (const ip of ips) {
    const cidr = cidrOf(ip.address);
    const gateway = ip.gateway === undefined ? undefined : parseCidr(`${ip.gateway}/${cidr.len}`);
    if (gateway !== undefined) wanted.add(formatCidr(gateway));
  }
  const have = new Set(world.bridgeAddrs.map((address) => formatCidr(cidrOf(address))));
  const dels: RtnlOp[] = [];
  const adds: RtnlOp[] = [];
  for (const address of wanted) {
    if (have.has(address)) continue;
    const cidr = cidrOf(address);
    for (const other of have) {
      const old = cidrOf(other);
      if (wanted.has(other) || old.ip.family !== cidr.ip.family || (old.ip.family === 6 && !overlaps(old, cidr)))
        continue;
      if (!conf.forceAddress) {
        throw new CniError(EXISTS, `bridge ${dev}: has ${other}, expected ${address} (forceAddress would replace it)`);
      }
      have.delete(other);
      dels.push({ op: "addr.del", netns: "host", dev, address: other });
    }
    adds.push({ op: "addr.add", netns: "host", dev, address });
  }
  const pin: readonly RtnlOp[] =
    world.bridge === undefined || adds.length === 0 || dev !== conf.bridge
      ? []
      : [{ op: "link.set", netns: "host", name: conf.bridge, mac: world.bridge.mac }];
  const families = new Set([...wanted].map(familyOf));
  const forward: RtnlOp[] = [];
  if (families.has(4) && !world.forwards4) forward.push(sysctl("host", "net.ipv4.ip_forward", "1"));
  if (families.has(6) && !world.forwards6) forward.push(sysctl("host", "net.ipv6.conf.all.forwarding", "1"));
  return [...pin, ...dels, ...adds, ...forward];
}

/** The VLANs of a port of the bridge. */
function planPort(conf: BridgeConf, dev: string, trunk: readonly number[]): readonly RtnlOp[] {
  if (!hasVlans(conf)) return [];
  const on = { netns: "host", dev } as const;
  const own = conf.vlan === 0 ? DEFAULT_VLAN : conf.vlan;
  const ops: RtnlOp[] = conf.preserveDefaultVlan ? [] : [{ op: "vlan.flush", ...on }];
  for (const [vid, vidEnd] of runs(trunk))
    ops.push({ op: "vlan.add", ...on, vid, ...(vidEnd === vid ? {} : { vidEnd }) });
  // last, as a trunk that has it too must not take its flags
  return [...ops, { op: "vlan.add", ...on, vid: own, pvid: true, untagged: true }];
}

/** Ascending numbers as ranges, both ends included. */
function runs(numbers: readonly number[]): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (const n of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === n - 1) last[1] = n;
    else ranges.push([n, n]);
  }
  return ranges;
}

/** With a VLAN the gateway stands on a veth whose other end is a port in it. */
function planGatewayPort(conf: BridgeConf, world: BridgeWorld): readonly RtnlOp[] {
  if (!conf.isGateway || conf.vlan === 0 || world.gateway) return [];
  const name = gatewayOf(conf);
  const port = `veth${sha512Hex(name).slice(0, GATEWAY_PORT_DIGITS)}`;
  const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
  const peer = { name: port, ...mtu, master: conf.bridge, up: true };
  return [{ op: "link.add", netns: "host", name, kind: "veth", ...mtu, peer, up: true }, ...planPort(conf, port, [])];
}

function planVeth(conf: BridgeConf, place: Place, names: Names): RtnlOp {
  const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
  return {
    op: "link.add",
    netns: place.netns,
    name: place.ifname,
    kind: "veth",
    mac: conf.mac ?? names.containerMac,
    ...mtu,
    peer: {
      name: names.hostIfname,
      netns: "host",
      mac: names.hostMac,
      ...mtu,
      master: conf.bridge,
      ...(conf.hairpin ? { hairpin: true } : {}),
      ...(conf.isolated ? { isolated: true } : {}),
      up: true,
    },
  };
}

function planSandbox(
  conf: BridgeConf,
  place: Place,
  world: BridgeWorld,
  ips: readonly IpConfig[],
  routes: readonly Route[],
): readonly RtnlOp[] {
  const { netns, ifname } = place;
  const ops: RtnlOp[] = [sysctl(netns, devKey("ipv4", ifname, "arp_notify"), "1")];
  if (world.ipv6) {
    if (conf.enableDad) {
      ops.push(
        sysctl(netns, devKey("ipv6", ifname, "enhanced_dad"), "1"),
        sysctl(netns, devKey("ipv6", ifname, "accept_dad"), "1"),
      );
    } else {
      ops.push(sysctl(netns, devKey("ipv6", ifname, "accept_dad"), "0"));
    }
    if (ips.some((ip) => familyOf(ip.address) === 6)) {
      ops.push(
        sysctl(netns, devKey("ipv6", ifname, "disable_ipv6"), "0"),
        sysctl(netns, devKey("ipv6", ifname, "keep_addr_on_down"), "1"),
      );
    }
  }
  for (const ip of ips) ops.push({ op: "addr.add", netns, dev: ifname, address: ip.address });
  if (conf.containerUp) ops.push({ op: "link.set", netns, name: ifname, up: true });
  ops.push(...routeOps(place, ips, routes, world.sandboxRoutes));
  return ops;
}

/** All of ADD after IPAM: one list, to be applied whole. */
export function planAdd(
  conf: BridgeConf,
  place: Place,
  world: BridgeWorld,
  ipam: Result,
  names: Names,
  rules: RulesBackend = conf.masqBackend ?? "iptables",
): readonly RtnlOp[] {
  const { network } = conf;
  const ips = withGateways(conf, ipam.ips);
  const routes = routesFor(conf, ips, ipam.routes);
  return [
    ...planBridge(conf, world, names),
    ...planGatewayPort(conf, world),
    ...planGateways(conf, world, ips),
    planVeth(conf, place, names),
    ...planPort(conf, names.hostIfname, conf.trunk),
    aliasOp(conf.network, place, names.hostIfname),
    ...(world.ipv6 ? [sysctl("host", devKey("ipv6", names.hostIfname, "accept_ra"), "0")] : []),
    ...planSandbox(conf, place, world, ips, routes),
    ...(conf.macspoofchk
      ? nftOps(spoofAddText(place, names.hostIfname, conf.mac ?? names.containerMac), "CNI macspoofchk")
      : []),
    ...(conf.ipMasq
      ? masqOps(
          rules,
          { ...place, network },
          ips.map((ip) => ip.address),
        )
      : []),
  ];
}
