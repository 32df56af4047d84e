/**
 * Masquerade rules as operations on the host: what `ip-masq.ts` (iptables) and `nft-masq.ts` (nftables) say, for both
 * families, with reading where it is needed. What one of the two made is found whichever is asked for.
 */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { type Family, parseCidr } from "../../ipam/ip.ts";
import type { Owner } from "../../ipam/lease.ts";
import { listedTable, savedRules } from "../cni/data-plane.ts";
import { CniError, FAILED } from "../cni/error.ts";
import type { Fields } from "../cni/fields.ts";
import { masqAddText, masqDelExactText, masqDelText, masqGcText, masqMissing, parseMasq } from "./ip-masq.ts";
import {
  type AttachmentOf,
  MASQ_TABLE,
  nftMasqAddText,
  nftMasqDelText,
  nftMasqGcText,
  nftMasqMissing,
} from "./nft-masq.ts";

const FAMILIES = [4, 6] as const;
const SOURCE = "CNI ipMasq";

export type RulesBackend = "iptables" | "nftables";

/** Undefined where the configuration leaves the choice: iptables then, unless it is not there. */
export function parseRulesBackend(fields: Fields, key: string): RulesBackend | undefined {
  const text = fields.text(key) || undefined;
  if (text === undefined || text === "iptables" || text === "nftables") return text;
  throw fields.bad(key, '"iptables" or "nftables"');
}

function isMissing(error: unknown, op: RtnlOp["op"]): boolean {
  return error instanceof NetlinkError && error.code === "ENOENT" && error.failed?.op === op;
}

/** Runs the work with the backend that is asked for; without one with iptables, and where that is not installed with nft. */
export async function withRules<T>(
  asked: RulesBackend | undefined,
  work: (kind: RulesBackend) => Promise<T>,
): Promise<T> {
  if (asked !== undefined) return work(asked);
  try {
    return await work("iptables");
  } catch (error) {
    if (!isMissing(error, "iptables.restore")) throw error;
    try {
      return await work("nftables");
    } catch (second) {
      if (!isMissing(second, "nft.apply")) throw second;
      const details = [error, second].map((e) => (e as Error).message).join("; ");
      throw new CniError(FAILED, "rules: found neither iptables-restore nor nft", details, { cause: second });
    }
  }
}

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

/** No operation where there is no text. */
export function nftOps(text: string | undefined, source: string): readonly RtnlOp[] {
  return text === undefined ? [] : [{ op: "nft.apply", netns: "host", text, source }];
}

function textOps(text: (family: Family) => string | undefined): readonly RtnlOp[] {
  return FAMILIES.flatMap((family) => {
    const lines = text(family);
    return lines === undefined ? [] : [restoreOp(family, lines, SOURCE)];
  });
}

export function masqOps(kind: RulesBackend, owner: AttachmentOf, addresses: readonly string[]): readonly RtnlOp[] {
  if (kind === "nftables") return nftOps(nftMasqAddText(owner, addresses), SOURCE);
  return textOps((family) => masqAddText(owner, family, addresses));
}

/** Removes what iptables' `masqOps` made of these addresses, and fails where that is not all of the container's rules. */
export function unmasqExactOps(owner: AttachmentOf, addresses: readonly string[]): readonly RtnlOp[] {
  return textOps((family) => masqDelExactText(owner, family, addresses));
}

async function savedBoth(backend: Backend): Promise<ReadonlyMap<Family, string>> {
  const saved = new Map<Family, string>();
  for (const family of FAMILIES) saved.set(family, await savedRules(backend, family));
  return saved;
}

/** Removes what is there for these addresses; without addresses all of the container. */
export async function unmasqOps(
  backend: Backend,
  owner: AttachmentOf,
  addresses: readonly string[] | undefined,
): Promise<readonly RtnlOp[]> {
  const saved = await savedBoth(backend);
  return [
    ...textOps((family) => masqDelText(parseMasq(saved.get(family) ?? ""), owner, addresses)),
    ...nftOps(nftMasqDelText(await listedTable(backend, MASQ_TABLE), owner), SOURCE),
  ];
}

export async function masqGcOps(
  backend: Backend,
  network: string,
  valid: readonly Owner[],
): Promise<readonly RtnlOp[]> {
  const saved = await savedBoth(backend);
  const ids = new Set(valid.map((owner) => owner.containerId));
  return [
    ...textOps((family) => masqGcText(parseMasq(saved.get(family) ?? ""), network, ids)),
    ...nftOps(nftMasqGcText(await listedTable(backend, MASQ_TABLE), network, valid), SOURCE),
  ];
}

async function missingOfIptables(
  backend: Backend,
  owner: AttachmentOf,
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

/** What is missing of the rules that masquerade these addresses; undefined if all is there. */
export async function masqMissingOf(
  backend: Backend,
  asked: RulesBackend | undefined,
  owner: AttachmentOf,
  addresses: readonly string[],
): Promise<string | undefined> {
  const missing = asked === "nftables" ? undefined : await missingOfIptables(backend, owner, addresses);
  if (asked === "iptables" || (asked === undefined && missing === undefined)) return missing;
  const table = await listedTable(backend, MASQ_TABLE);
  const ofNft = addresses.map((address) => nftMasqMissing(table, owner, address)).find((text) => text !== undefined);
  return ofNft === undefined ? undefined : (missing ?? ofNft);
}
