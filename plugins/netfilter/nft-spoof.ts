/**
 * `macspoofchk`: frames of a bridge port are dropped unless they have the container's MAC. Rules with the names of the
 * reference plugin; REF is container id and interface with "-" between:
 *
 *     table bridge nat
 *       PREROUTING (filter, -300)   iifname VETH jump cni-br-iface-REF         comment "macspoofchk-REF"
 *       cni-br-iface-REF            jump cni-br-iface-REF-mac
 *       cni-br-iface-REF-mac        ether saddr MAC return; drop
 *
 * All functions are pure: a listed table in, text out.
 */
import type { Owner } from "../../ipam/lease.ts";
import { cutComment, deleteRules, type NftTable, nftComment, nftText } from "./nft-text.ts";

export const SPOOF_TABLE = "bridge nat";
const BASE = "PREROUTING";
const PREFIX = "cni-br-iface-";

function refOf({ containerId, ifname }: Owner): string {
  return `${containerId}-${ifname}`;
}

function noteOf(ref: string): string {
  return cutComment(`macspoofchk-${ref}`);
}

export function spoofAddText(owner: Owner, hostIfname: string, mac: string): string {
  const ref = refOf(owner);
  const chain = `${PREFIX}${ref}`;
  const note = nftComment(noteOf(ref));
  return [
    `add table ${SPOOF_TABLE}`,
    `add chain ${SPOOF_TABLE} ${BASE} { type filter hook prerouting priority -300 ; policy accept ; }`,
    `add chain ${SPOOF_TABLE} ${chain}`,
    `add chain ${SPOOF_TABLE} ${chain}-mac`,
    `flush chain ${SPOOF_TABLE} ${chain}`,
    `flush chain ${SPOOF_TABLE} ${chain}-mac`,
    `add rule ${SPOOF_TABLE} ${BASE} iifname "${hostIfname}" jump ${chain} ${note}`,
    `add rule ${SPOOF_TABLE} ${chain} jump ${chain}-mac ${note}`,
    `add rule ${SPOOF_TABLE} ${chain}-mac ether saddr ${mac} return ${note}`,
    `add rule ${SPOOF_TABLE} ${chain}-mac drop ${note}`,
    "",
  ].join("\n");
}

function removal(table: NftTable, ref: string): readonly string[] {
  const chain = `${PREFIX}${ref}`;
  const jumps = table.rules.filter((rule) => rule.chain === BASE && rule.text.endsWith(` jump ${chain}`));
  const chains = [chain, `${chain}-mac`].filter((name) => table.chains.has(name));
  return [
    ...deleteRules(SPOOF_TABLE, jumps),
    ...chains.map((name) => `flush chain ${SPOOF_TABLE} ${name}`),
    ...chains.map((name) => `delete chain ${SPOOF_TABLE} ${name}`),
  ];
}

export function spoofDelText(table: NftTable, owner: Owner): string | undefined {
  return nftText(removal(table, refOf(owner)));
}

/** Whose port it is stands in no rule but in the name of the port, which begins with what the network gives it. */
export function spoofGcText(table: NftTable, portPrefix: string, valid: readonly Owner[]): string | undefined {
  const kept = new Set(valid.map(refOf));
  const stale = table.rules.flatMap(({ chain, text }) => {
    const [, port, ref] = /^iifname "([^"]+)" jump cni-br-iface-(\S+)$/.exec(text) ?? [];
    return chain === BASE && port?.startsWith(portPrefix) && ref !== undefined && !kept.has(ref) ? [ref] : [];
  });
  return nftText(stale.flatMap((ref) => removal(table, ref)));
}

/** What is missing of the rules of a port; undefined if all is there. */
export function spoofMissing(table: NftTable, owner: Owner, hostIfname: string, mac: string): string | undefined {
  const chain = `${PREFIX}${refOf(owner)}`;
  const has = (at: string, text: string): boolean => table.rules.some((r) => r.chain === at && r.text === text);
  const wanted = [
    [BASE, `iifname "${hostIfname}" jump ${chain}`],
    [chain, `jump ${chain}-mac`],
    [`${chain}-mac`, `ether saddr ${mac} return`],
    [`${chain}-mac`, "drop"],
  ] as const;
  const lost = wanted.find(([at, text]) => !has(at, text));
  return lost === undefined ? undefined : `${SPOOF_TABLE} ${lost[0]}: no ${lost[1]}`;
}
