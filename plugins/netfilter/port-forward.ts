/**
 * The host port rules of portmap, with the names of the reference plugin (nat table):
 *
 *     PREROUTING, OUTPUT  -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
 *     CNI-HOSTPORT-DNAT   -p PROTO -m multiport --dports … -j CNI-DN-HASH      a rule for 15 ports of a container
 *     CNI-DN-HASH         -s SUBNET … -j CNI-HOSTPORT-SETMARK                  snat: from the container's own network
 *                         -s 127.0.0.1 … -j CNI-HOSTPORT-SETMARK               snat: from the host's loopback
 *                         … -j DNAT --to-destination IP:PORT
 *     CNI-HOSTPORT-SETMARK -j MARK --set-xmark BIT/BIT
 *     POSTROUTING         -j CNI-HOSTPORT-MASQ → -m mark --mark BIT/BIT -j MASQUERADE
 *
 * The shared chains are made with -N, which refuses a chain that exists: when two calls meet, one transaction fails
 * whole and is planned again from fresh rules. (`:CHAIN` would empty the other's.) All functions are pure.
 */
import { type Cidr, type Family, firstOf, formatCidr, formatIp, networkOf } from "../../ipam/ip.ts";
import {
  chainName,
  comment,
  natText,
  optionOf,
  ownerComment,
  ownerOf,
  parseSaved,
  quote,
  type SavedTable,
} from "./rules-text.ts";

export const TOP_CHAIN = "CNI-HOSTPORT-DNAT";
export const SETMARK_CHAIN = "CNI-HOSTPORT-SETMARK";
export const MASQ_CHAIN = "CNI-HOSTPORT-MASQ";
const PREFIX = "CNI-DN-";
/** The most ports that one multiport match takes. */
const MULTIPORT_MAX = 15;
const LOCAL = "-m addrtype --dst-type LOCAL";

const NO_RULES: SavedTable = new Map();

export type Protocol = "tcp" | "udp" | "sctp";
export type PortMapping = {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: Protocol;
  /** Absent: every address of the host. */
  readonly hostIp: string | undefined;
};
export type ForwardOptions = {
  readonly snat: boolean;
  readonly masqAll: boolean;
  readonly markBit: number;
  /** A chain that somebody else keeps, in the place of ours. */
  readonly externalSetMarkChain: string | undefined;
  /** Arguments that narrow the entry rules. */
  readonly conditions: readonly string[];
};
export type ForwardOwner = { readonly network: string; readonly containerId: string };

export function forwardChain(owner: ForwardOwner): string {
  return chainName(PREFIX, owner.network, owner.containerId);
}

export function parseForward(saved: string): SavedTable {
  return parseSaved(
    saved,
    "nat",
    (chain) => chain.startsWith("CNI-") || ["PREROUTING", "OUTPUT", "POSTROUTING"].includes(chain),
  );
}

function note(owner: ForwardOwner): string {
  return comment(`dnat ${ownerComment(owner.network, owner.containerId)}`);
}

function hasJump(saved: SavedTable, from: string, to: string): boolean {
  return (saved.get(from) ?? []).some((rule) => optionOf(rule, "-j") === to);
}

function mark(bit: number): string {
  const value = `0x${(2 ** bit).toString(16)}`;
  return `${value}/${value}`;
}

/** The chains that all containers share, as far as they are missing. */
function sharedLines(saved: SavedTable, options: ForwardOptions): readonly string[] {
  const lines: string[] = [];
  if (!saved.has(TOP_CHAIN)) lines.push(`-N ${TOP_CHAIN}`);
  for (const hook of ["PREROUTING", "OUTPUT"]) {
    if (!hasJump(saved, hook, TOP_CHAIN)) lines.push(`-A ${hook} ${LOCAL} -j ${TOP_CHAIN}`);
  }
  if ((!options.snat && !options.masqAll) || options.externalSetMarkChain !== undefined) return lines;
  if (!saved.has(SETMARK_CHAIN)) {
    lines.push(`-N ${SETMARK_CHAIN}`);
    lines.push(
      `-A ${SETMARK_CHAIN} ${comment("CNI portfwd masquerade mark")} -j MARK --set-xmark ${mark(options.markBit)}`,
    );
  }
  if (!saved.has(MASQ_CHAIN)) {
    lines.push(`-N ${MASQ_CHAIN}`);
    lines.push(`-A ${MASQ_CHAIN} -m mark --mark ${mark(options.markBit)} -j MASQUERADE`);
  }
  if (!hasJump(saved, "POSTROUTING", MASQ_CHAIN)) {
    lines.push(`-A POSTROUTING ${comment("CNI portfwd requiring masquerade")} -j ${MASQ_CHAIN}`);
  }
  return lines;
}

function entryLines(
  owner: ForwardOwner,
  mappings: readonly PortMapping[],
  conditions: readonly string[],
): readonly string[] {
  const lines: string[] = [];
  const more = conditions.map((word) => ` ${quote(word)}`).join("");
  for (const protocol of ["tcp", "udp", "sctp"] as const) {
    const ports = [...new Set(mappings.filter((m) => m.protocol === protocol).map((m) => m.hostPort))];
    for (let i = 0; i < ports.length; i += MULTIPORT_MAX) {
      const some = ports.slice(i, i + MULTIPORT_MAX).join(",");
      lines.push(
        `-A ${TOP_CHAIN} -p ${protocol} ${note(owner)} -m multiport --dports ${some}${more} -j ${forwardChain(owner)}`,
      );
    }
  }
  return lines;
}

function hostMatch(mapping: PortMapping, family: Family): string {
  const dst = mapping.hostIp === undefined ? "" : `-d ${mapping.hostIp}/${family === 4 ? 32 : 128} `;
  return `${dst}-p ${mapping.protocol} -m ${mapping.protocol} --dport ${mapping.hostPort}`;
}

function destination(ip: Cidr, port: number): string {
  const text = formatIp(ip.ip);
  return ip.ip.family === 4 ? `${text}:${port}` : `[${text}]:${port}`;
}

function mappingLines(chain: string, ip: Cidr, mapping: PortMapping, options: ForwardOptions): readonly string[] {
  const match = hostMatch(mapping, ip.ip.family);
  const setmark = options.externalSetMarkChain ?? SETMARK_CHAIN;
  const lines: string[] = [];
  if (options.masqAll) {
    lines.push(`-A ${chain} ${match} -j ${setmark}`);
  } else if (options.snat) {
    lines.push(`-A ${chain} -s ${formatCidr(networkOf(ip))} ${match} -j ${setmark}`);
    if (ip.ip.family === 4) lines.push(`-A ${chain} -s 127.0.0.1/32 ${match} -j ${setmark}`);
  }
  lines.push(`-A ${chain} ${match} -j DNAT --to-destination ${destination(ip, mapping.containerPort)}`);
  return lines;
}

/** The transaction that forwards ports of one family to a container; rules that it left before are replaced. */
export function forwardAddText(
  saved: SavedTable,
  owner: ForwardOwner,
  ip: Cidr,
  mappings: readonly PortMapping[],
  options: ForwardOptions,
): string | undefined {
  if (mappings.length === 0) return undefined;
  const chain = forwardChain(owner);
  const old = (saved.get(TOP_CHAIN) ?? []).filter((rule) => optionOf(rule, "-j") === chain);
  return natText([
    ...sharedLines(saved, options),
    ...old.map((rule) => `-D ${TOP_CHAIN} ${rule.text}`),
    `:${chain} - [0:0]`,
    ...mappings.flatMap((mapping) => mappingLines(chain, ip, mapping, options)),
    ...entryLines(owner, mappings, options.conditions),
  ]);
}

/**
 * The same where the shared chains are in use and the container has no rules: nothing need be read before. It is refused
 * as a whole where that is not so (-C finds no rule, -N finds the chain).
 */
export function forwardAddExactText(
  owner: ForwardOwner,
  ip: Cidr,
  mappings: readonly PortMapping[],
  options: ForwardOptions,
): string | undefined {
  if (mappings.length === 0) return undefined;
  const chain = forwardChain(owner);
  const hooks = sharedLines(NO_RULES, options).filter((line) => /^-A (?:PREROUTING|OUTPUT|POSTROUTING) /.test(line));
  return natText([
    ...hooks.map((line) => `-C${line.slice(2)}`),
    `-N ${chain}`,
    ...mappings.flatMap((mapping) => mappingLines(chain, ip, mapping, options)),
    ...entryLines(owner, mappings, options.conditions),
  ]);
}

/** Takes back `forwardAddExactText`, and is refused where that is not what is there. */
export function forwardDelExactText(
  owner: ForwardOwner,
  mappings: readonly PortMapping[],
  options: ForwardOptions,
): string | undefined {
  if (mappings.length === 0) return undefined;
  const chain = forwardChain(owner);
  const entries = entryLines(owner, mappings, options.conditions).map((line) => `-D${line.slice(2)}`);
  return natText([...entries, `:${chain} - [0:0]`, `-X ${chain}`]);
}

function removal(saved: SavedTable, chain: string): readonly string[] {
  const jumps = (saved.get(TOP_CHAIN) ?? []).filter((rule) => optionOf(rule, "-j") === chain);
  const lines = jumps.map((rule) => `-D ${TOP_CHAIN} ${rule.text}`);
  return saved.has(chain) ? [...lines, `:${chain} - [0:0]`, `-X ${chain}`] : lines;
}

/** The transaction that removes a container's chain and the jumps to it. The shared chains stay. */
export function forwardDelText(saved: SavedTable, owner: ForwardOwner): string | undefined {
  return natText(removal(saved, forwardChain(owner)));
}

/** The transaction that removes the chains of this network's containers that are not listed. */
export function forwardGcText(saved: SavedTable, network: string, valid: ReadonlySet<string>): string | undefined {
  const stale = new Set<string>();
  for (const rule of saved.get(TOP_CHAIN) ?? []) {
    const owner = ownerOf(rule);
    const chain = optionOf(rule, "-j") ?? "";
    if (owner?.network === network && !valid.has(owner.containerId) && chain.startsWith(PREFIX)) stale.add(chain);
  }
  return natText([...stale].flatMap((chain) => removal(saved, chain)));
}

/** What is missing of the rules that forward a port; undefined if all is there. */
export function forwardMissing(
  saved: SavedTable,
  owner: ForwardOwner,
  ip: Cidr,
  mapping: PortMapping,
): string | undefined {
  const chain = forwardChain(owner);
  const port = String(mapping.hostPort);
  for (const hook of ["PREROUTING", "OUTPUT"]) {
    if (!hasJump(saved, hook, TOP_CHAIN)) return `nat ${hook}: no jump to ${TOP_CHAIN}`;
  }
  const enters = (saved.get(TOP_CHAIN) ?? []).some(
    (rule) =>
      optionOf(rule, "-j") === chain &&
      optionOf(rule, "-p") === mapping.protocol &&
      (optionOf(rule, "--dports") ?? "").split(",").includes(port),
  );
  if (!enters) return `nat ${TOP_CHAIN}: no jump to ${chain} for ${mapping.protocol} port ${port}`;
  const to = destination(ip, mapping.containerPort);
  const forwards = (saved.get(chain) ?? []).some(
    (rule) =>
      optionOf(rule, "--to-destination") === to &&
      optionOf(rule, "--dport") === port &&
      optionOf(rule, "-p") === mapping.protocol,
  );
  return forwards ? undefined : `nat ${chain}: no DNAT of ${mapping.protocol} port ${port} to ${to}`;
}

/** An address that stands for all of its family in a mapping. */
export function isAnyAddress(ip: Cidr): boolean {
  return firstOf(ip).value === 0n;
}
