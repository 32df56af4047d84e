/** Masquerade rules as operations on the host: what `ip-masq.ts` says, for both families, with reading where it is needed. */
import type { Backend } from "../../backend/ops.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { type Family, parseCidr } from "../../ipam/ip.ts";
import { savedRules } from "../cni/data-plane.ts";
import {
  type MasqOwner,
  masqAddText,
  masqDelExactText,
  masqDelText,
  masqGcText,
  masqMissing,
  parseMasq,
} from "./ip-masq.ts";

const FAMILIES = [4, 6] as const;

export function restoreOp(family: Family, text: string, source: string): RtnlOp {
  return {
    op: "iptables.restore",
    netns: "host",
    family: family === 4 ? "ipv4" : "ipv6",
    text,
    noflush: true,
    source,
  };
}

function textOps(text: (family: Family) => string | undefined): readonly RtnlOp[] {
  return FAMILIES.flatMap((family) => {
    const lines = text(family);
    return lines === undefined ? [] : [restoreOp(family, lines, "CNI ipMasq")];
  });
}

export function masqOps(network: string, containerId: string, addresses: readonly string[]): readonly RtnlOp[] {
  return textOps((family) => masqAddText({ network, containerId }, family, addresses));
}

/** Removes what `masqOps` made of these addresses, and fails where that is not all of the container's rules. */
export function unmasqExactOps(owner: MasqOwner, addresses: readonly string[]): readonly RtnlOp[] {
  return textOps((family) => masqDelExactText(owner, family, addresses));
}

/** Removes what is there for these addresses; without addresses all of the container. */
export async function unmasqOps(
  backend: Backend,
  owner: MasqOwner,
  addresses: readonly string[] | undefined,
): Promise<readonly RtnlOp[]> {
  const saved = new Map<Family, string>();
  for (const family of FAMILIES) saved.set(family, await savedRules(backend, family));
  return textOps((family) => masqDelText(parseMasq(saved.get(family) ?? ""), owner, addresses));
}

export async function masqGcOps(
  backend: Backend,
  network: string,
  valid: ReadonlySet<string>,
): Promise<readonly RtnlOp[]> {
  const saved = new Map<Family, string>();
  for (const family of FAMILIES) saved.set(family, await savedRules(backend, family));
  return textOps((family) => masqGcText(parseMasq(saved.get(family) ?? ""), network, valid));
}

/** What is missing of the rules that masquerade these addresses; undefined if all is there. */
export async function masqMissingOf(
  backend: Backend,
  owner: MasqOwner,
  addresses: readonly string[],
): Promise<string | undefined> {
  for (const family of FAMILIES) {
    const own = addresses.filter((address) => parseCidr(address)?.ip.family === family);
    if (own.length === 0) continue;
    const saved = parseMasq(await savedRules(backend, family));
    for (const address of own) {
      const missing = masqMissing(saved, owner, address);
      if (missing !== undefined) return missing;
    }
  }
  return undefined;
}
