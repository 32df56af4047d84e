/**
 * Where pods and Services get their addresses, as kubeadm takes it: one CIDR, or one of each family with a comma, the first
 * the primary one. Checked as a whole, with the network that the nodes are in.
 */
import { type Cidr, contains, type Family, formatCidr, nth, overlaps, parseCidr, parseIp } from "../api/ip.ts";
import { NODE_MASK_SIZES, type NodeMaskSizes } from "../controllers/node-ipam.ts";
import { InputError } from "../manifests/input-error.ts";

/** CIDRs by family, primary first; as text, in canonical form. */
export type CidrPair = readonly string[];

const EXAMPLES = "10.244.0.0/16 or fd00:10:244::/56";
/** kube-dns has the tenth address of the service CIDR. */
const DNS_ADDRESS = 10;
/** The smallest block: a gateway, a pod and the ends of the range. */
const SMALLEST: Readonly<Record<Family, number>> = { 4: 30, 6: 126 };
/** kube-controller-manager divides no IPv6 CIDR into more than 16 bits of nodes. */
const MOST_NODES = 16;

/** As kube-controller-manager names them: of a cluster of one family, and of either. */
export type NodeMaskSettings = {
  readonly nodeCidrMaskSize?: number;
  readonly nodeCidrMaskSizeIpv4?: number;
  readonly nodeCidrMaskSizeIpv6?: number;
};

/** Throws InputError naming the setting. */
export function parseCidrPair(text: string, field: string, file: string = "settings"): CidrPair {
  const parts = text.split(",").map((part) => part.trim());
  const cidrs = parts.map((part) => {
    const cidr = parseCidr(part);
    if (cidr === null) throw refused(field, part, `a CIDR such as ${EXAMPLES}`, file);
    return cidr;
  });
  const [first, second] = cidrs;
  if (cidrs.length > 2 || (first !== undefined && first.family === second?.family))
    throw refused(field, text, "one CIDR, or one of each family with a comma", file);
  return cidrs.map(formatCidr);
}

export function familiesOf(pair: CidrPair): readonly Family[] {
  return pair.map((text) => cidrOf(text).family);
}

/** Services can have no family that pods have not, and no address may be in two networks. Throws InputError. */
export function checkNetworks(
  clusterCidrs: CidrPair,
  serviceCidrs: CidrPair,
  nodes: readonly Cidr[],
  masks: NodeMaskSizes,
): void {
  for (const text of serviceCidrs) {
    const cidr = cidrOf(text);
    const missing = !familiesOf(clusterCidrs).includes(cidr.family);
    if (missing) throw refused("serviceCidr", text, `a family that clusterCidr has, ${clusterCidrs.join(",")}`);
    const dns = parseIp(nth(cidr, DNS_ADDRESS));
    if (dns === null || !contains(cidr, dns))
      throw refused("serviceCidr", text, `a CIDR of /${cidr.family === 4 ? 28 : 124} at least`);
  }
  for (const text of clusterCidrs) {
    const { family, bits } = cidrOf(text);
    const node = masks[family] ?? NODE_MASK_SIZES[family];
    if (family === 6 && (bits < node - MOST_NODES || bits > node))
      throw refused(
        "clusterCidr",
        text,
        `an IPv6 CIDR of /${node - MOST_NODES} to /${node}, each node gets a /${node} of it`,
      );
  }
  const all: [string, Cidr][] = [
    ...nodes.map((cidr): [string, Cidr] => ["the nodes' network", cidr]),
    ...clusterCidrs.map((text): [string, Cidr] => ["clusterCidr", cidrOf(text)]),
    ...serviceCidrs.map((text): [string, Cidr] => ["serviceCidr", cidrOf(text)]),
  ];
  for (const [i, [field, cidr]] of all.entries())
    for (const [other, taken] of all.slice(0, i))
      if (overlaps(cidr, taken))
        throw refused(field, formatCidr(cidr), `a CIDR apart from ${other}, ${formatCidr(taken)}`);
}

/** The sizes that settings ask for, each for a family that pods have. Throws InputError. */
export function nodeMaskSizes(settings: NodeMaskSettings, clusterCidrs: CidrPair): NodeMaskSizes {
  const { nodeCidrMaskSize: any, nodeCidrMaskSizeIpv4: four, nodeCidrMaskSizeIpv6: six } = settings;
  const families = familiesOf(clusterCidrs);
  if (any !== undefined && (families.length > 1 || four !== undefined || six !== undefined))
    throw refused(
      "nodeCidrMaskSize",
      `/${any}`,
      "nodeCidrMaskSizeIpv4 and nodeCidrMaskSizeIpv6 instead, for two families",
    );
  const given = [
    ["nodeCidrMaskSize", families[0], any],
    ["nodeCidrMaskSizeIpv4", 4, four],
    ["nodeCidrMaskSizeIpv6", 6, six],
  ] as const;
  const sizes: Partial<Record<Family, number>> = {};
  for (const [field, family, size] of given) {
    if (size === undefined || family === undefined) continue;
    const cidr = clusterCidrs.map(cidrOf).find((c) => c.family === family);
    if (cidr === undefined) throw refused(field, `/${size}`, `no size: clusterCidr has no IPv${family}`);
    const [from, to] = [cidr.bits, SMALLEST[family]];
    if (size < from || size > to)
      throw refused(field, `/${size}`, `a size from /${from}, that of clusterCidr ${formatCidr(cidr)}, to /${to}`);
    sizes[family] = size;
  }
  return sizes;
}

function cidrOf(text: string): Cidr {
  return parseCidr(text) as Cidr;
}

function refused(field: string, found: string, expected: string, file: string = "settings"): InputError {
  return new InputError({ file, line: 0, field, found: found === "" ? "nothing" : found, expected });
}
