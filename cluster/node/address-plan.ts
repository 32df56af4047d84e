/** Who has which address on the underlay, in each family of the cluster: the router, the API server's host, the nodes. */
import {
  type Cidr,
  canonicalIp,
  contains,
  type Family,
  familyOf,
  formatCidr,
  nth,
  parseCidr,
  parseIp,
} from "../api/ip.ts";
import { type Node, nodeIps } from "../api/node.ts";
import { InputError } from "../manifests/input-error.ts";

/** Addresses with their prefix length, one a family, in the order of the families. */
export type AddressPlan = {
  readonly networks: readonly Cidr[];
  readonly router: readonly string[];
  readonly apiServer: readonly string[];
  /** The router's addresses, without a prefix length. */
  readonly gateways: readonly string[];
  readonly nodes: readonly { readonly name: string; readonly addresses: readonly string[] }[];
};

type FamilyPlan = {
  readonly network: Cidr;
  readonly router: string;
  readonly apiServer: string;
  readonly nodes: readonly string[];
};

const DEFAULT_NODES = 3;
/** Up to so many nodes an IPv4 network of /24 has room for them. */
const SMALL = 200;
/** node-1 is 192.168.0.11 and fd00:192:168::11, and so on. */
const [ROUTER, API_SERVER, FIRST] = [1, 10, 11] as const;
const DEFAULT_NETWORKS: Readonly<Record<Family, string>> = { 4: "192.168.0.0", 6: "fd00:192:168::" };
/** Of networks that are drawn around the addresses of given nodes. */
const AROUND: Readonly<Record<Family, number>> = { 4: 16, 6: 64 };

/** Nodes of the manifests keep their names and addresses; others are called node-1, node-2, … */
export function addressPlan(
  given: readonly Node[],
  count: number | undefined,
  families: readonly Family[] = [4],
): AddressPlan {
  const total = Math.max(count ?? (given.length > 0 ? given.length : DEFAULT_NODES), given.length);
  const names = given.map((node) => node.metadata.name);
  for (let i = 1; names.length < total; i++) if (!names.includes(`node-${i}`)) names.push(`node-${i}`);
  const plans = families.map((family) => {
    const own = given.map((node) =>
      nodeIps(node)
        .map(canonicalIp)
        .find((ip) => familyOf(ip) === family && parseIp(ip) !== null),
    );
    return planFamily(family, own, total);
  });
  const text = (ip: string, { network }: FamilyPlan): string => `${ip}/${network.bits}`;
  return {
    networks: plans.map((p) => p.network),
    router: plans.map((p) => text(p.router, p)),
    apiServer: plans.map((p) => text(p.apiServer, p)),
    gateways: plans.map((p) => p.router),
    nodes: names.map((name, i) => ({ name, addresses: plans.map((p) => text(p.nodes[i] ?? "", p)) })),
  };
}

/** Where nodes have addresses, the network is one around them, and the rest is put where it is free. */
function planFamily(family: Family, own: readonly (string | undefined)[], total: number): FamilyPlan {
  const fixed = own.filter((a): a is string => a !== undefined);
  const bits = fixed.length > 0 || family === 6 || total > SMALL ? AROUND[family] : 24;
  const network = parseCidr(`${fixed[0] ?? DEFAULT_NETWORKS[family]}/${bits}`) as Cidr;
  for (const address of fixed) {
    const ip = parseIp(address);
    if (ip !== null && contains(network, ip)) continue;
    const expected = `an address in ${formatCidr(network)}, as the other nodes have`;
    throw new InputError({ file: "manifests", line: 0, field: "Node status.addresses", found: address, expected });
  }
  const taken = new Set(fixed);
  const next = (from: number): string => {
    for (let n = from; ; n++) {
      const ip = nth(network, offsetOf(family, n));
      if (taken.has(ip)) continue;
      taken.add(ip);
      return ip;
    }
  };
  const [router, apiServer] = [next(ROUTER), next(API_SERVER)];
  return { network, router, apiServer, nodes: Array.from({ length: total }, (_, i) => own[i] ?? next(FIRST)) };
}

/** The digits of an IPv6 address say the number that those of its IPv4 twin say. */
function offsetOf(family: Family, n: number): number {
  return family === 4 ? n : Number.parseInt(String(n), 16);
}
