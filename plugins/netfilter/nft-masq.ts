/**
 * The masquerade rules of `ipMasq` for nftables, with the names of the reference plugins:
 *
 *     table inet cni_plugins_masquerade
 *       postrouting (nat, srcnat)   multicast: return; then goto masq_checks
 *       masq_checks                 ip saddr IP ip daddr != SUBNET masquerade     comment "HASH-HASH, net: …, if: …, id: …"
 *
 * The first hash is the network's, the second the attachment's. All functions are pure: a listed table in, text out.
 */

import { formatCidr, formatIp, networkOf, parseCidr } from "../../ipam/ip.ts";
import type { Owner } from "../../ipam/lease.ts";
import { cutComment, deleteRules, type NftTable, nftComment, nftText, shortHash } from "./nft-text.ts";

export const MASQ_TABLE = "inet cni_plugins_masquerade";
const CHECKS = "masq_checks";
const POSTROUTING = "postrouting";

export type AttachmentOf = Owner & { readonly network: string };

function hashOf({ network, ifname, containerId }: AttachmentOf): string {
  return `${shortHash(network)}-${shortHash(`${ifname}:${containerId}`)}`;
}

function noteOf(owner: AttachmentOf): string {
  return cutComment(`${hashOf(owner)}, net: ${owner.network}, if: ${owner.ifname}, id: ${owner.containerId}`);
}

export function nftMasqAddText(owner: AttachmentOf, addresses: readonly string[]): string | undefined {
  const rules = addresses.flatMap((address) => {
    const cidr = parseCidr(address);
    if (cidr === undefined) return [];
    const ip = cidr.ip.family === 4 ? "ip" : "ip6";
    const match = `${ip} saddr ${formatIp(cidr.ip)} ${ip} daddr != ${formatCidr(networkOf(cidr))}`;
    return [`add rule ${MASQ_TABLE} ${CHECKS} ${match} masquerade ${nftComment(noteOf(owner))}`];
  });
  if (rules.length === 0) return undefined;
  return nftText([
    `add table ${MASQ_TABLE}`,
    `add chain ${MASQ_TABLE} ${CHECKS}`,
    `add chain ${MASQ_TABLE} ${POSTROUTING} { type nat hook postrouting priority 100 ; }`,
    `flush chain ${MASQ_TABLE} ${POSTROUTING}`,
    `add rule ${MASQ_TABLE} ${POSTROUTING} ip daddr 224.0.0.0/4 return`,
    `add rule ${MASQ_TABLE} ${POSTROUTING} ip6 daddr ff00::/8 return`,
    `add rule ${MASQ_TABLE} ${POSTROUTING} goto ${CHECKS}`,
    ...rules,
  ]);
}

/** All rules of an attachment. */
export function nftMasqDelText(table: NftTable, owner: AttachmentOf): string | undefined {
  const hash = hashOf(owner);
  return nftText(
    deleteRules(
      MASQ_TABLE,
      table.rules.filter((rule) => rule.chain === CHECKS && rule.comment.startsWith(hash)),
    ),
  );
}

/** The rules of this network's attachments that are not listed. */
export function nftMasqGcText(table: NftTable, network: string, valid: readonly Owner[]): string | undefined {
  const kept = valid.map((owner) => hashOf({ ...owner, network }));
  const ours = `${shortHash(network)}-`;
  const stale = table.rules.filter(
    ({ chain, comment }) =>
      chain === CHECKS && comment.startsWith(ours) && !kept.some((hash) => comment.startsWith(hash)),
  );
  return nftText(deleteRules(MASQ_TABLE, stale));
}

/** What is missing of the rules that masquerade an address; undefined if all is there. */
export function nftMasqMissing(table: NftTable, owner: AttachmentOf, address: string): string | undefined {
  const cidr = parseCidr(address);
  if (cidr === undefined) return undefined;
  const hash = hashOf(owner);
  const source = ` saddr ${formatIp(cidr.ip)} `;
  const has = table.rules.some(
    ({ chain, comment, text }) =>
      chain === CHECKS && comment.startsWith(hash) && text.includes(source) && text.endsWith(" masquerade"),
  );
  if (!has) return `${MASQ_TABLE} ${CHECKS}: no masquerade of ${formatIp(cidr.ip)}`;
  const reached = table.rules.some(({ chain, text }) => chain === POSTROUTING && text === `goto ${CHECKS}`);
  return reached ? undefined : `${MASQ_TABLE} ${POSTROUTING}: no goto ${CHECKS}`;
}
