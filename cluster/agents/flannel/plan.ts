/**
 * What flanneld does to a node, as operations: its device, and for each other node's lease the entries that lead there.
 *
 *   vxlan    flannel.VNI, MTU 50 below the underlay's, nolearning, address subnet.0/32
 *            per lease: neighbour subnet.0 → VTEP MAC, FDB VTEP MAC → public IP, route subnet via subnet.0 onlink
 *   host-gw  no device; per lease a route via the public IP, which must be on the node's link
 */
import type { RtnlOp } from "../../../dataplane/netns/rtnl-ops.ts";
import { contains, parseCidr, parseIp } from "../../api/ip.ts";
import type { Lease } from "./lease.ts";
import type { FlannelConf } from "./net-conf.ts";

/** The interface that carries traffic between nodes. */
export type Underlay = {
  readonly dev: string;
  /** "192.168.0.11/24" */
  readonly address: string;
  readonly mtu: number;
};

/** Ethernet, IPv4, UDP and VXLAN headers (14 + 20 + 8 + 8 octets). */
const VXLAN_OVERHEAD = 50;

export function deviceName(conf: FlannelConf): string {
  return `flannel.${conf.vni}`;
}

/** The MTU of pods on this node. */
export function podMtu(conf: FlannelConf, underlay: Underlay): number {
  return (conf.mtu ?? underlay.mtu) - (conf.backend === "vxlan" ? VXLAN_OVERHEAD : 0);
}

export function planDevice(conf: FlannelConf, own: Lease, underlay: Underlay): readonly RtnlOp[] {
  if (conf.backend !== "vxlan") return [];
  const name = deviceName(conf);
  return [
    {
      op: "link.add",
      netns: "host",
      name,
      kind: "vxlan",
      vni: conf.vni,
      local: underlay.address.replace(/\/.*$/, ""),
      dev: underlay.dev,
      port: conf.port,
      learning: false,
      mtu: podMtu(conf, underlay),
      ...(own.vtepMac === null ? {} : { mac: own.vtepMac }),
    },
    { op: "addr.add", netns: "host", dev: name, address: `${gatewayOf(own)}/32` },
    { op: "link.set", netns: "host", name, up: true },
  ];
}

/** Leads to another node's pods. Throws where host-gw cannot reach the node directly. */
export function planLease(conf: FlannelConf, lease: Lease, underlay: Underlay): readonly RtnlOp[] {
  if (conf.backend === "host-gw" && !isOnLink(lease, underlay))
    throw new Error(
      `node "${lease.node}": ${lease.publicIp} is not on the link of ${underlay.dev} (${underlay.address}), which host-gw needs`,
    );
  if (isDirect(conf, lease, underlay))
    return [{ op: "route.replace", netns: "host", dst: lease.subnet, via: lease.publicIp, dev: underlay.dev }];
  const dev = deviceName(conf);
  const mac = lease.vtepMac ?? "";
  const gateway = gatewayOf(lease);
  return [
    { op: "neigh.replace", netns: "host", dev, address: gateway, mac, state: "permanent" },
    { op: "fdb.replace", netns: "host", dev, mac, dst: lease.publicIp },
    { op: "route.replace", netns: "host", dst: lease.subnet, via: gateway, dev, onlink: true },
  ];
}

/** Takes away what `planLease` made, in the same order. */
export function planUnlease(conf: FlannelConf, lease: Lease, underlay: Underlay): readonly RtnlOp[] {
  if (isDirect(conf, lease, underlay))
    return [{ op: "route.del", netns: "host", dst: lease.subnet, via: lease.publicIp, dev: underlay.dev }];
  const dev = deviceName(conf);
  const gateway = gatewayOf(lease);
  return [
    { op: "neigh.del", netns: "host", dev, address: gateway },
    { op: "fdb.del", netns: "host", dev, mac: lease.vtepMac ?? "", dst: lease.publicIp },
    { op: "route.del", netns: "host", dst: lease.subnet, via: gateway, dev },
  ];
}

function isDirect(conf: FlannelConf, lease: Lease, underlay: Underlay): boolean {
  return conf.backend === "host-gw" || (conf.directRouting && isOnLink(lease, underlay));
}

function isOnLink(lease: Lease, underlay: Underlay): boolean {
  const link = parseCidr(underlay.address);
  const peer = parseIp(lease.publicIp);
  return link !== null && peer !== null && contains(link, peer);
}

/** The subnet's own address stands for the node's VTEP. */
function gatewayOf(lease: Lease): string {
  return lease.subnet.replace(/\/.*$/, "");
}
