/**
 * The host port rules of portmap for nftables, with the names of the reference plugin, in a table of each family:
 *
 *     table ip|ip6 cni_hostport
 *       prerouting, output (nat, dstnat)   CONDITIONS fib daddr type local jump hostports_all
 *       hostports_all                      jump hostip_hostports; jump hostports
 *       hostports                          [ip daddr HOSTIP] PROTO dport PORT dnat to IP:PORT      comment "CONTAINERID"
 *       masquerading (nat, srcnat)         ip saddr IP|127.0.0.1|0.0.0.0/0 ip daddr IP masquerade  comment "CONTAINERID"
 *       podwire_owners                     never reached: continue                                comment "NETWORK-CONTAINERID"
 *
 * The last chain is ours: by it GC knows whose network a container's rules are of. All functions are pure.
 */
import { type Cidr, type Family, formatIp, parseIp } from "../../ipam/ip.ts";
import { cutComment, deleteRules, type NftRule, type NftTable, nftComment, nftText, shortHash } from "./nft-text.ts";
import type { ForwardOptions, ForwardOwner, PortMapping } from "./port-forward.ts";

const PORTS = "hostports";
const PORTS_OF_IP = "hostip_hostports";
const ALL_PORTS = "hostports_all";
const MASQUERADING = "masquerading";
const OWNERS = "podwire_owners";

export function forwardTable(family: Family): string {
  return `${family === 4 ? "ip" : "ip6"} cni_hostport`;
}

function ownerNote({ network, containerId }: ForwardOwner): string {
  return cutComment(`${shortHash(network)}-${containerId}`);
}

function portRule(family: Family, ip: string, { hostIp, protocol, hostPort, containerPort }: PortMapping): string {
  const host = hostIp === undefined ? undefined : parseIp(hostIp);
  const to = family === 4 ? `${ip}:${containerPort}` : `[${ip}]:${containerPort}`;
  const at = host === undefined ? "" : `${family === 4 ? "ip" : "ip6"} daddr ${formatIp(host)} `;
  return `${at}${protocol} dport ${hostPort} dnat to ${to}`;
}

function masqRules(family: Family, ip: string, { snat, masqAll }: ForwardOptions): readonly string[] {
  if (!snat) return [];
  const word = family === 4 ? "ip" : "ip6";
  const from = (source: string): string => `${source}${word} daddr ${ip} masquerade`;
  // every address is a source where all are meant
  if (masqAll) return [from("")];
  return [from(`${word} saddr ${ip} `), ...(family === 4 ? [from(`${word} saddr 127.0.0.1 `)] : [])];
}

/** The transaction that forwards to one address of the container. */
export function nftForwardAddText(
  owner: ForwardOwner,
  target: Cidr,
  mappings: readonly PortMapping[],
  options: ForwardOptions,
): string | undefined {
  if (mappings.length === 0) return undefined;
  const { family } = target.ip;
  const table = forwardTable(family);
  const ip = formatIp(target.ip);
  const note = nftComment(cutComment(owner.containerId));
  const entry = [...options.conditions, "fib daddr type local", "jump", ALL_PORTS].join(" ");
  const base = (chain: string, type: string): readonly string[] => [
    `add chain ${table} ${chain} { ${type} ; }`,
    `flush chain ${table} ${chain}`,
    `add rule ${table} ${chain} ${entry}`,
  ];
  return nftText([
    `add table ${table}`,
    ...[PORTS, PORTS_OF_IP, ALL_PORTS, OWNERS].map((chain) => `add chain ${table} ${chain}`),
    `flush chain ${table} ${ALL_PORTS}`,
    `add rule ${table} ${ALL_PORTS} jump ${PORTS_OF_IP}`,
    `add rule ${table} ${ALL_PORTS} jump ${PORTS}`,
    ...base("prerouting", "type nat hook prerouting priority -100"),
    ...base("output", "type nat hook output priority -100"),
    ...(options.snat ? [`add chain ${table} ${MASQUERADING} { type nat hook postrouting priority 100 ; }`] : []),
    ...mappings.map((mapping) => `add rule ${table} ${PORTS} ${portRule(family, ip, mapping)} ${note}`),
    ...masqRules(family, ip, options).map((rule) => `add rule ${table} ${MASQUERADING} ${rule} ${note}`),
    `add rule ${table} ${OWNERS} continue ${nftComment(ownerNote(owner))}`,
  ]);
}

function rulesOf(table: NftTable, containerId: string): readonly NftRule[] {
  const note = cutComment(containerId);
  return table.rules.filter(
    ({ chain, comment }) => [PORTS, PORTS_OF_IP, MASQUERADING].includes(chain) && comment === note,
  );
}

/** All rules of the container. */
export function nftForwardDelText(listed: NftTable, family: Family, owner: ForwardOwner): string | undefined {
  const owners = listed.rules.filter((rule) => rule.chain === OWNERS && rule.comment === ownerNote(owner));
  return nftText(deleteRules(forwardTable(family), [...rulesOf(listed, owner.containerId), ...owners]));
}

/** The rules of this network's containers that are not listed; one that another network has forwards for, too, stays. */
export function nftForwardGcText(
  listed: NftTable,
  family: Family,
  network: string,
  valid: ReadonlySet<string>,
): string | undefined {
  const prefix = `${shortHash(network)}-`;
  const notes = listed.rules.filter((rule) => rule.chain === OWNERS);
  const idOf = (comment: string): string => comment.slice(prefix.length);
  const stale = notes.filter(({ comment }) => comment.startsWith(prefix) && !valid.has(idOf(comment)));
  const kept = new Set(notes.filter((note) => !stale.includes(note)).map(({ comment }) => idOf(comment)));
  const ids = [...new Set(stale.map(({ comment }) => idOf(comment)))].filter((id) => !kept.has(id));
  return nftText(deleteRules(forwardTable(family), [...stale, ...ids.flatMap((id) => rulesOf(listed, id))]));
}

/** What is missing of a mapping's rules; undefined if all is there. */
export function nftForwardMissing(
  listed: NftTable,
  owner: ForwardOwner,
  target: Cidr,
  mapping: PortMapping,
  options: ForwardOptions,
): string | undefined {
  const { family } = target.ip;
  const own = rulesOf(listed, owner.containerId);
  const wanted = portRule(family, formatIp(target.ip), mapping);
  if (!own.some(({ chain, text }) => chain === PORTS && text === wanted))
    return `${forwardTable(family)} ${PORTS}: no ${wanted}`;
  const entered = listed.rules.some(({ chain, text }) => chain === "prerouting" && text.endsWith(`jump ${ALL_PORTS}`));
  if (!entered) return `${forwardTable(family)} prerouting: no jump to ${ALL_PORTS}`;
  const count = masqRules(family, formatIp(target.ip), options).length;
  return own.filter(({ chain }) => chain === MASQUERADING).length >= count
    ? undefined
    : `${forwardTable(family)} ${MASQUERADING}: no masquerade of what goes to ${formatIp(target.ip)}`;
}
