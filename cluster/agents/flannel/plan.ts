/**
 * What flanneld does to a node, as operations: its devices, and for each other node's lease the entries that lead there.
 * Each family has a device and entries of its own.
 *
 *   vxlan    flannel.VNI (flannel-v6.VNI), MTU 50 below the underlay's, nolearning, address subnet.0/32 (subnet::/128)
 *            per lease: neighbour subnet.0 → VTEP MAC, FDB VTEP MAC → public IP, route subnet via subnet.0 onlink
 *   host-gw  no device; per lease a route via the public IP, which must be on the node's link
 */
import type { RtnlOp } from "../../../dataplane/netns/rtnl-ops.ts";
import { contains, type Family, familyOf, parseCidr, parseIp, WIDTH } from "../../api/ip.ts";
import type { Lease, LeaseSide } from "./lease.ts";
import type { FlannelConf } from "./net-conf.ts";

/** The interface that carries traffic between nodes. */
export type Underlay = {
  readonly dev: string;
  /** "192.168.0.11/24", one a family. */
  readonly addresses: readonly string[];
  readonly mtu: number;
};

/**
 * Ethernet, IPv4, UDP and VXLAN headers (14 + 20 + 8 + 8 octets). flannel takes off as much over IPv6, whose header is 20
 * octets longer.
 */
const VXLAN_OVERHEAD = 50;

export function deviceName(conf: FlannelConf, family: Family): string {
  return `${family === 4 ? "flannel" : "flannel-v6"}.${conf.vni}`;
}

/** The MTU of pods on this node. */
export function podMtu(conf: FlannelConf, underlay: Underlay): number {
  return (conf.mtu ?? underlay.mtu) - (conf.backend === "vxlan" ? VXLAN_OVERHEAD : 0);
}

export function underlayAddress(underlay: Underlay, family: Family): string {
  const address = underlay.addresses.find((a) => familyOf(a) === family);
  if (address === undefined) throw new Error(`${underlay.dev} has no IPv${family} address`);
  return address;
}

export function planDevices(conf: FlannelConf, own: Lease, underlay: Underlay): readonly RtnlOp[] {
  return conf.backend === "vxlan" ? own.sides.flatMap((side) => planDevice(conf, side, underlay)) : [];
}

function planDevice(conf: FlannelConf, side: LeaseSide, underlay: Underlay): readonly RtnlOp[] {
  const family = familyOf(side.subnet);
  const name = deviceName(conf, family);
  return [
    {
      op: "link.add",
      netns: "host",
      name,
      kind: "vxlan",
      vni: conf.vni,
      local: underlayAddress(underlay, family).replace(/\/.*$/, ""),
      dev: underlay.dev,
      port: conf.port,
      learning: false,
      mtu: podMtu(conf, underlay),
      ...(side.vtepMac === null ? {} : { mac: side.vtepMac }),
    },
    { op: "addr.add", netns: "host", dev: name, address: `${gatewayOf(side)}/${WIDTH[family]}` },
    { op: "link.set", netns: "host", name, up: true },
  ];
}

/** Leads to another node's pods. Throws where host-gw cannot reach the node directly. */
export function planLease(conf: FlannelConf, lease: Lease, underlay: Underlay): readonly RtnlOp[] {
  return lease.sides.flatMap((side) => planSide(conf, lease.node, side, underlay));
}

function planSide(conf: FlannelConf, node: string, side: LeaseSide, underlay: Underlay): readonly RtnlOp[] {
  if (conf.backend === "host-gw" && !isOnLink(side, underlay)) {
    const link = underlayAddress(underlay, familyOf(side.subnet));
    throw new Error(
      `node "${node}": ${side.publicIp} is not on the link of ${underlay.dev} (${link}), which host-gw needs`,
    );
  }
  if (isDirect(conf, side, underlay))
    return [{ op: "route.replace", netns: "host", dst: side.subnet, via: side.publicIp, dev: underlay.dev }];
  const dev = deviceName(conf, familyOf(side.subnet));
  const mac = side.vtepMac ?? "";
  const gateway = gatewayOf(side);
  return [
    { op: "neigh.replace", netns: "host", dev, address: gateway, mac, state: "permanent" },
    { op: "fdb.replace", netns: "host", dev, mac, dst: side.publicIp },
    { op: "route.replace", netns: "host", dst: side.subnet, via: gateway, dev, onlink: true },
  ];
}

/** Takes away what `planLease` made, in the same order. */
export function planUnlease(conf: FlannelConf, lease: Lease, underlay: Underlay): readonly RtnlOp[] {
  return lease.sides.flatMap((side): RtnlOp[] => {
    if (isDirect(conf, side, underlay))
      return [{ op: "route.del", netns: "host", dst: side.subnet, via: side.publicIp, dev: underlay.dev }];
    const dev = deviceName(conf, familyOf(side.subnet));
    const gateway = gatewayOf(side);
    return [
      { op: "neigh.del", netns: "host", dev, address: gateway },
      { op: "fdb.del", netns: "host", dev, mac: side.vtepMac ?? "", dst: side.publicIp },
      { op: "route.del", netns: "host", dst: side.subnet, via: gateway, dev },
    ];
  });
}

function isDirect(conf: FlannelConf, side: LeaseSide, underlay: Underlay): boolean {
  return conf.backend === "host-gw" || (conf.directRouting && isOnLink(side, underlay));
}

function isOnLink(side: LeaseSide, underlay: Underlay): boolean {
  const link = parseCidr(underlayAddress(underlay, familyOf(side.subnet)));
  const peer = parseIp(side.publicIp);
  return link !== null && peer !== null && contains(link, peer);
}

/** The subnet's own address stands for the node's VTEP. */
function gatewayOf(side: LeaseSide): string {
  return side.subnet.replace(/\/.*$/, "");
}
