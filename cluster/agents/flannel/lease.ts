/**
 * The kube subnet manager: a node's podCIDRs are its lease, one a family, and annotations on the Node say how to reach it
 * (flannel.alpha.coreos.com/*).
 */
import { hashText } from "../../../dataplane/sim/random.ts";
import { ClusterError } from "../../api/cluster-error.ts";
import { contains, type Family, familyOf, parseCidr, parseIp } from "../../api/ip.ts";
import { type Node, podCidrs } from "../../api/node.ts";
import { isMapping } from "../../api/schema.ts";
import { type FlannelConf, type FlannelNetwork, networksOf } from "./net-conf.ts";

export const PREFIX = "flannel.alpha.coreos.com/";

/** What a lease says of one family. */
export type LeaseSide = {
  readonly subnet: string;
  readonly publicIp: string;
  /** vxlan only. */
  readonly vtepMac: string | null;
};

export type Lease = {
  readonly node: string;
  readonly backend: string;
  /** IPv4 before IPv6. */
  readonly sides: readonly LeaseSide[];
};

/** Annotations of one family. */
type Words = { readonly data: string; readonly ip: string; readonly overwrite: string };
const WORDS: Readonly<Record<Family, Words>> = {
  4: { data: `${PREFIX}backend-data`, ip: `${PREFIX}public-ip`, overwrite: `${PREFIX}public-ip-overwrite` },
  6: { data: `${PREFIX}backend-v6-data`, ip: `${PREFIX}public-ipv6`, overwrite: `${PREFIX}public-ipv6-overwrite` },
};

/** The node's pod CIDR of a family, which must lie in the network. */
export function subnetOf(node: Node, network: FlannelNetwork): string {
  const { family } = network.cidr;
  const subnet = podCidrs(node).find((c) => familyOf(c) === family);
  const refuse = (message: string): never => {
    throw new ClusterError("CidrInvalid", message, node, ["spec", "podCIDRs"]);
  };
  if (subnet === undefined)
    return refuse(`node "${node.metadata.name}" ${family === 4 ? "" : "ipv6 "}pod cidr not assigned`);
  const cidr = parseCidr(subnet);
  if (cidr === null || cidr.bits < network.cidr.bits || !contains(network.cidr, { family, value: cidr.base }))
    return refuse(`podCIDR ${subnet} is not in flannel's ${family === 4 ? "Network" : "IPv6Network"} ${network.text}`);
  return subnet;
}

/** A public address that somebody gave the node in place of its own. */
export function overwrittenIp(node: Node, family: Family): string | undefined {
  return node.metadata.annotations?.[WORDS[family].overwrite];
}

export function annotationsOf(lease: Lease, conf: FlannelConf): Readonly<Record<string, string>> {
  const out: Record<string, string> = {
    [`${PREFIX}backend-type`]: lease.backend,
    [`${PREFIX}kube-subnet-manager`]: "true",
  };
  for (const side of lease.sides) {
    const words = WORDS[familyOf(side.subnet)];
    out[words.data] = side.vtepMac === null ? "null" : JSON.stringify({ VNI: conf.vni, VtepMAC: side.vtepMac });
    out[words.ip] = side.publicIp;
  }
  return out;
}

/** What a node's annotations say of the families that flannel serves; null as long as its agent has not written them all. */
export function leaseOf(node: Node, conf: FlannelConf): Lease | null {
  const { annotations = {}, name } = node.metadata;
  if (annotations[`${PREFIX}kube-subnet-manager`] !== "true") return null;
  const sides: LeaseSide[] = [];
  for (const { cidr } of networksOf(conf)) {
    const subnet = podCidrs(node).find((c) => familyOf(c) === cidr.family);
    const publicIp = overwrittenIp(node, cidr.family) ?? annotations[WORDS[cidr.family].ip];
    if (subnet === undefined || publicIp === undefined || parseIp(publicIp)?.family !== cidr.family) return null;
    sides.push({ subnet, publicIp, vtepMac: vtepMacOf(node, cidr.family) });
  }
  return { node: name, backend: annotations[`${PREFIX}backend-type`] ?? "", sides };
}

export function vtepMacOf(node: Node, family: Family): string | null {
  const data = node.metadata.annotations?.[WORDS[family].data];
  if (data === undefined) return null;
  try {
    const value: unknown = JSON.parse(data);
    return isMapping(value) && typeof value.VtepMAC === "string" ? value.VtepMAC : null;
  } catch {
    return null;
  }
}

/** A VTEP's MAC for a node: locally administered, unicast, the same in each run of a salt. */
export function drawVtepMac(salt: number, node: string, family: Family): string {
  const what = family === 4 ? "vtep" : "vtep-v6";
  const [a, b] = [hashText(`${salt} ${what} ${node}`), hashText(`${salt} ${what}2 ${node}`)];
  const octets = [((a >>> 24) & 0xfe) | 0x02, (a >>> 16) & 255, (a >>> 8) & 255, a & 255, (b >>> 8) & 255, b & 255];
  return octets.map((o) => o.toString(16).padStart(2, "0")).join(":");
}
