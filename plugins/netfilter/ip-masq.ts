/**
 * The masquerade rules of `ipMasq`, with the names of the reference plugins (nat table):
 *
 *     POSTROUTING -s IP -j CNI-HASH        one jump an address
 *     CNI-HASH -d SUBNET -j ACCEPT         within the network nothing changes
 *     CNI-HASH ! -d 224.0.0.0/4 -j MASQUERADE
 *
 * One chain a container and network, found again by its name, so that cleaning up needs neither addresses nor a
 * namespace. All functions are pure: saved rules in, transaction text out.
 */
import { bitsOf, type Family, firstOf, formatCidr, formatIp, networkOf, parseCidr } from "../../ipam/ip.ts";
import {
  chainName,
  comment,
  natText,
  optionOf,
  ownerComment,
  ownerOf,
  parseSaved,
  type SavedRule,
  type SavedTable,
} from "./rules-text.ts";

const PREFIX = "CNI-";
/** Other chains of the suite begin alike; a masquerade chain is nothing but the prefix and hex. */
const CHAIN_TEXT = /^CNI-[0-9a-f]{24}$/;
const MULTICAST: Readonly<Record<Family, string>> = { 4: "224.0.0.0/4", 6: "ff00::/8" };

export type MasqOwner = { readonly network: string; readonly containerId: string };

export function masqChain(owner: MasqOwner): string {
  return chainName(PREFIX, owner.network, owner.containerId);
}

function ours(chain: string): boolean {
  return chain === "POSTROUTING" || CHAIN_TEXT.test(chain);
}

/** The nat chains that masquerading reads. */
export function parseMasq(saved: string): SavedTable {
  return parseSaved(saved, "nat", ours);
}

/** The transaction that masquerades addresses ("10.1.0.5/24") of one family. */
export function masqAddText(owner: MasqOwner, family: Family, addresses: readonly string[]): string | undefined {
  const chain = masqChain(owner);
  const note = comment(ownerComment(owner.network, owner.containerId));
  const subnets = new Set<string>();
  const jumps: string[] = [];
  for (const address of addresses) {
    const cidr = parseCidr(address);
    if (cidr === undefined || cidr.ip.family !== family) continue;
    subnets.add(formatCidr(networkOf(cidr)));
    jumps.push(`-A POSTROUTING -s ${formatIp(cidr.ip)}/${bitsOf(family)} ${note} -j ${chain}`);
  }
  if (jumps.length === 0) return undefined;
  return natText([
    `:${chain} - [0:0]`,
    ...[...subnets].map((subnet) => `-A ${chain} -d ${subnet} ${note} -j ACCEPT`),
    `-A ${chain} ! -d ${MULTICAST[family]} ${note} -j MASQUERADE`,
    ...jumps,
  ]);
}

/** The transaction that takes back `masqAddText`; it is refused as a whole where that is not what is there. */
export function masqDelExactText(owner: MasqOwner, family: Family, addresses: readonly string[]): string | undefined {
  const chain = masqChain(owner);
  const added = masqAddText(owner, family, [...new Set(addresses)]);
  if (added === undefined) return undefined;
  const jumps = added.split("\n").filter((line) => line.startsWith("-A POSTROUTING "));
  return natText([...jumps.map((line) => `-D${line.slice(2)}`), `:${chain} - [0:0]`, `-X ${chain}`]);
}

function jumpsTo(saved: SavedTable, chain: string): readonly SavedRule[] {
  return (saved.get("POSTROUTING") ?? []).filter((rule) => optionOf(rule, "-j") === chain);
}

function removal(saved: SavedTable, chain: string, jumps: readonly SavedRule[], whole: boolean): readonly string[] {
  const lines = jumps.map((rule) => `-D POSTROUTING ${rule.text}`);
  return whole && saved.has(chain) ? [...lines, `:${chain} - [0:0]`, `-X ${chain}`] : lines;
}

/**
 * The transaction that removes what masquerades these addresses; without addresses all of the container. The chain goes
 * with its last jump, as another interface of the container may use it.
 */
export function masqDelText(saved: SavedTable, owner: MasqOwner, addresses?: readonly string[]): string | undefined {
  const chain = masqChain(owner);
  const all = jumpsTo(saved, chain);
  const sources = addresses?.flatMap((address) => {
    const cidr = parseCidr(address);
    return cidr === undefined ? [] : [`${formatIp(cidr.ip)}/${bitsOf(cidr.ip.family)}`];
  });
  const gone = sources === undefined ? all : all.filter((rule) => sources.includes(optionOf(rule, "-s") ?? ""));
  return natText(removal(saved, chain, gone, gone.length === all.length));
}

/** The transaction that removes the rules of this network's containers that are not listed. */
export function masqGcText(saved: SavedTable, network: string, valid: ReadonlySet<string>): string | undefined {
  const stale = new Set<string>();
  for (const [chain, rules] of saved) {
    for (const rule of rules) {
      const owner = ownerOf(rule);
      if (owner === undefined || owner.network !== network || valid.has(owner.containerId)) continue;
      stale.add(chain === "POSTROUTING" ? (optionOf(rule, "-j") ?? "") : chain);
    }
  }
  return natText(
    [...stale]
      .filter((chain) => CHAIN_TEXT.test(chain))
      .flatMap((chain) => removal(saved, chain, jumpsTo(saved, chain), true)),
  );
}

/** What is missing of the rules that masquerade an address; undefined if all is there. */
export function masqMissing(saved: SavedTable, owner: MasqOwner, address: string): string | undefined {
  const cidr = parseCidr(address);
  if (cidr === undefined) return undefined;
  const chain = masqChain(owner);
  const source = `${formatIp(cidr.ip)}/${bitsOf(cidr.ip.family)}`;
  if (!jumpsTo(saved, chain).some((rule) => optionOf(rule, "-s") === source))
    return `nat POSTROUTING: no jump from ${source} to ${chain}`;
  const rules = saved.get(chain) ?? [];
  const subnet = `${formatIp(firstOf(cidr))}/${cidr.len}`;
  if (!rules.some((rule) => optionOf(rule, "-j") === "ACCEPT" && optionOf(rule, "-d") === subnet))
    return `nat ${chain}: no ACCEPT for ${subnet}`;
  return rules.some((rule) => optionOf(rule, "-j") === "MASQUERADE") ? undefined : `nat ${chain}: no MASQUERADE`;
}
