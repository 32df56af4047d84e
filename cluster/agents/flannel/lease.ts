/**
 * The kube subnet manager: a node's podCIDR is its lease, and annotations on the Node say how to reach it
 * (flannel.alpha.coreos.com/*).
 */
import { hashText } from "../../../dataplane/sim/random.ts";
import { contains, parseCidr, parseIp } from "../../api/ip.ts";
import { type Node, podCidrs } from "../../api/node.ts";
import { isMapping } from "../../api/schema.ts";
import { type FlannelConf, networkOf } from "./net-conf.ts";

export const PREFIX = "flannel.alpha.coreos.com/";

export type Lease = {
  readonly node: string;
  readonly subnet: string;
  readonly publicIp: string;
  readonly backend: string;
  /** vxlan only. */
  readonly vtepMac: string | null;
};

/** The node's pod CIDR, which must lie in the network. */
export function subnetOf(node: Node, conf: FlannelConf): string {
  const subnet = podCidrs(node).find((c) => !c.includes(":"));
  if (subnet === undefined) throw new Error(`node "${node.metadata.name}" pod cidr not assigned`);
  const cidr = parseCidr(subnet);
  const network = networkOf(conf);
  if (cidr === null || cidr.bits < network.bits || !contains(network, { family: cidr.family, value: cidr.base }))
    throw new Error(`node "${node.metadata.name}": podCIDR ${subnet} is not in flannel's Network ${conf.network}`);
  return subnet;
}

export function annotationsOf(lease: Lease, conf: FlannelConf): Readonly<Record<string, string>> {
  return {
    [`${PREFIX}backend-data`]:
      lease.vtepMac === null ? "null" : JSON.stringify({ VNI: conf.vni, VtepMAC: lease.vtepMac }),
    [`${PREFIX}backend-type`]: lease.backend,
    [`${PREFIX}kube-subnet-manager`]: "true",
    [`${PREFIX}public-ip`]: lease.publicIp,
  };
}

/** What a node's annotations say; null as long as its agent has not written them. */
export function leaseOf(node: Node): Lease | null {
  const { annotations = {}, name } = node.metadata;
  if (annotations[`${PREFIX}kube-subnet-manager`] !== "true") return null;
  const subnet = podCidrs(node).find((c) => !c.includes(":"));
  const publicIp = annotations[`${PREFIX}public-ip-overwrite`] ?? annotations[`${PREFIX}public-ip`];
  if (subnet === undefined || publicIp === undefined || parseIp(publicIp) === null) return null;
  return {
    node: name,
    subnet,
    publicIp,
    backend: annotations[`${PREFIX}backend-type`] ?? "",
    vtepMac: vtepMacOf(node),
  };
}

export function vtepMacOf(node: Node): string | null {
  const data = node.metadata.annotations?.[`${PREFIX}backend-data`];
  if (data === undefined) return null;
  try {
    const value: unknown = JSON.parse(data);
    return isMapping(value) && typeof value.VtepMAC === "string" ? value.VtepMAC : null;
  } catch {
    return null;
  }
}

/** A VTEP's MAC for a node: locally administered, unicast, the same in each run of a salt. */
export function drawVtepMac(salt: number, node: string): string {
  const [a, b] = [hashText(`${salt} vtep ${node}`), hashText(`${salt} vtep2 ${node}`)];
  const octets = [((a >>> 24) & 0xfe) | 0x02, (a >>> 16) & 255, (a >>> 8) & 255, a & 255, (b >>> 8) & 255, b & 255];
  return octets.map((o) => o.toString(16).padStart(2, "0")).join(":");
}
