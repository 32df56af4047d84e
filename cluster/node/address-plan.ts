/** Who has which address on the underlay: the router, the API server's host, the nodes. */
import { formatIpv4, ipv4, ipv4Of, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import type { Node } from "../api/node.ts";
import { InputError } from "../manifests/input-error.ts";

export type AddressPlan = {
  /** With prefix lengths, all in one network. */
  readonly router: string;
  readonly apiServer: string;
  /** The router's address, without a prefix length. */
  readonly gateway: string;
  readonly nodes: readonly { readonly name: string; readonly address: string }[];
};

const DEFAULT_NODES = 3;
/** Nodes start here, so that node-1 is 192.168.0.11. */
const FIRST = ipv4("192.168.0.11");
const ROUTER = "192.168.0.1";
const API_SERVER = "192.168.0.10";

/** Nodes of the manifests keep their names and addresses; others are called node-1, node-2, … */
export function addressPlan(given: readonly Node[], count: number | undefined): AddressPlan {
  const total = Math.max(count ?? (given.length > 0 ? given.length : DEFAULT_NODES), given.length);
  const names = given.map((node) => node.metadata.name);
  for (let i = 1; names.length < total; i++) if (!names.includes(`node-${i}`)) names.push(`node-${i}`);
  const own = given.map(
    (node) => node.status?.addresses?.find((a) => a.type === "InternalIP" && parseIpv4(a.address))?.address,
  );
  const fixed = own.filter((a): a is string => a !== undefined);
  if (fixed.length > 0) return aroundGiven(names, own, fixed);
  const len = total <= 200 ? 24 : 16;
  const nodes = names.map((name, i) => ({ name, address: `${formatIpv4(ipv4Of(FIRST + i))}/${len}` }));
  return { router: `${ROUTER}/${len}`, apiServer: `${API_SERVER}/${len}`, gateway: ROUTER, nodes };
}

/** A /16 around the addresses that nodes have; the rest is put where it is free. */
function aroundGiven(
  names: readonly string[],
  own: readonly (string | undefined)[],
  fixed: readonly string[],
): AddressPlan {
  const base = (ipv4(fixed[0] as string) & 0xffff0000) >>> 0;
  for (const address of fixed) {
    if ((ipv4(address) & 0xffff0000) >>> 0 !== base) {
      const expected = `an address in ${formatIpv4(ipv4Of(base))}/16, as the other nodes have`;
      throw new InputError({ file: "manifests", line: 0, field: "Node status.addresses", found: address, expected });
    }
  }
  const taken = new Set(fixed);
  const next = (from: number): string => {
    for (let n = from; ; n++) {
      const text = formatIpv4(ipv4Of(base + n));
      if (taken.has(text)) continue;
      taken.add(text);
      return text;
    }
  };
  const gateway = next(1);
  const apiServer = next(10);
  const nodes = names.map((name, i) => ({ name, address: `${own[i] ?? next(11)}/16` }));
  return { router: `${gateway}/16`, apiServer: `${apiServer}/16`, gateway, nodes };
}
