/**
 * Where pods and Services get their addresses, as kubeadm takes it: one CIDR, or one of each family with a comma, the first
 * the primary one. Checked as a whole, with the network that the nodes are in.
 */
import { type Cidr, contains, type Family, formatCidr, nth, overlaps, parseCidr, parseIp } from "../api/ip.ts";
import { InputError } from "../manifests/input-error.ts";

/** CIDRs by family, primary first; as text, in canonical form. */
export type CidrPair = readonly string[];

const EXAMPLES = "10.244.0.0/16 or fd00:10:244::/56";
/** kube-dns has the tenth address of the service CIDR. */
const DNS_ADDRESS = 10;
/** What a node gets, and the largest IPv6 range that kube-controller-manager divides (16 bits of nodes). */
const NODE_BITS = 64;
const LARGEST = 48;

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
export function checkNetworks(clusterCidrs: CidrPair, serviceCidrs: CidrPair, nodes: readonly Cidr[]): void {
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
    if (family === 6 && (bits < LARGEST || bits > NODE_BITS))
      throw refused(
        "clusterCidr",
        text,
        `an IPv6 CIDR of /${LARGEST} to /${NODE_BITS}, each node gets a /${NODE_BITS} of it`,
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

function cidrOf(text: string): Cidr {
  return parseCidr(text) as Cidr;
}

function refused(field: string, found: string, expected: string, file: string = "settings"): InputError {
  return new InputError({ file, line: 0, field, found: found === "" ? "nothing" : found, expected });
}
