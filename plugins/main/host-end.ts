/**
 * How the host's end of a veth tells whose it is, so that GC finds those of dead attachments, whatever killed their ADD
 * or DEL: an alias with network, container and interface. The kernel takes no alias when it makes a link, so a process
 * killed in between leaves an end without one; the network is in its name too (names.ts).
 */
import type { Backend } from "../../backend/ops.ts";
import type { LinkInfo, RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import type { Owner } from "../../ipam/lease.ts";
import { sha512Hex } from "../netfilter/sha512.ts";

const PREFIX = "podwire";
/** Of a network's and a container's name each: the kernel refuses aliases of 256 octets and more. */
const LONGEST = 100;
const KEPT = 64;
const HASHED = 32;
const NETWORK_DIGITS = 5;

/** Names have neither ":" nor "~". */
function part(name: string): string {
  return name.length <= LONGEST ? name : `${name.slice(0, KEPT)}~${sha512Hex(name).slice(0, HASHED)}`;
}

/** The alias of the host's end of an attachment. */
export function hostAlias(network: string, { containerId, ifname }: Owner): string {
  return `${PREFIX}:${part(network)}:${part(containerId)}:${ifname}`;
}

/** What the names of a network's host ends begin with; six digits follow. */
export function hostPrefix(network: string): string {
  return `veth${sha512Hex(network).slice(0, NETWORK_DIGITS)}`;
}

export function aliasOp(network: string, owner: Owner, hostIfname: string): RtnlOp {
  return { op: "link.set", netns: "host", name: hostIfname, alias: hostAlias(network, owner) };
}

/** Whether an alias names an attachment of this network that is not listed. */
export function isStaleAlias(alias: string, network: string, valid: readonly Owner[]): boolean {
  return alias.startsWith(`${PREFIX}:${part(network)}:`) && !valid.some((owner) => hostAlias(network, owner) === alias);
}

/** The host ends of a network that belong to none of its attachments. */
export function staleEnds(links: readonly LinkInfo[], network: string, valid: readonly Owner[]): readonly LinkInfo[] {
  const live = new Set(valid.map((owner) => hostAlias(network, owner)));
  const ours = `${PREFIX}:${part(network)}:`;
  const halfMade = new RegExp(`^${hostPrefix(network)}[0-9a-f]{6}$`);
  return links.filter((link) => {
    if (link.kind !== "veth") return false;
    return link.alias === "" ? halfMade.test(link.name) : link.alias.startsWith(ours) && !live.has(link.alias);
  });
}

/** Removes them, each by itself: one that goes meanwhile, with its sandbox, keeps no other. */
export async function removeStaleEnds(
  backend: Backend | undefined,
  network: string,
  valid: readonly Owner[],
): Promise<void> {
  if (backend === undefined) return;
  const errors: unknown[] = [];
  for (const { name } of staleEnds(await backend.links("host"), network, valid)) {
    try {
      await backend.apply([{ op: "link.del", netns: "host", name }]);
    } catch (error) {
      if ((await backend.link("host", name)) !== undefined) errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
