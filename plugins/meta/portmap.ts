/**
 * portmap: forwards ports of the host to a container, with iptables or nftables (the reference plugin's options). It runs after a
 * plugin that gave addresses and changes nothing in their result. Each call is one transaction.
 *
 * Connections of UDP that were made to a port before its rules came or went are forgotten: they would go on past the rules
 * for as long as packets come.
 */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { type Cidr, contains, type Family, formatIp, parseCidr, parseIp } from "../../ipam/ip.ts";
import { cleanupBackend, listedTable, sandboxBackend, savedRules, socketOf, statusBackend } from "../cni/data-plane.ts";
import { CniError, NOT_AS_ADDED } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import { type CmdArgs, EMPTY_RESULT, type JsonObject, type Plugin, type Result } from "../cni/types.ts";
import { nftOps, parseRulesBackend, type RulesBackend, restoreOp, withRules } from "../netfilter/masq.ts";
import {
  forwardTable,
  nftForwardAddText,
  nftForwardDelText,
  nftForwardGcText,
  nftForwardMissing,
} from "../netfilter/nft-forward.ts";
import type { NftTable } from "../netfilter/nft-text.ts";
import {
  type ForwardOptions,
  forwardAddExactText,
  forwardAddText,
  forwardDelExactText,
  forwardDelText,
  forwardGcText,
  forwardMissing,
  isAnyAddress,
  type PortMapping,
  type Protocol,
  parseForward,
} from "../netfilter/port-forward.ts";
import { replan, tryExact } from "../netfilter/replan.ts";
import type { SavedTable } from "../netfilter/rules-text.ts";

const SOURCE = "CNI plugin portmap";
const DEFAULT_MARK_BIT = 13;
const MAX_PORT = 65535;

export type PortmapConf = {
  /** Undefined: iptables, and nftables where that is not installed. */
  readonly backend: RulesBackend | undefined;
  readonly snat: boolean;
  readonly masqAll: boolean;
  readonly markBit: number;
  readonly externalSetMarkChain: string | undefined;
  readonly conditions: Readonly<Record<Family, readonly string[]>>;
  readonly mappings: readonly PortMapping[];
};

function parseProtocol(fields: Fields): Protocol {
  const text = (fields.text("protocol") || "tcp").toLowerCase();
  if (text === "tcp" || text === "udp" || text === "sctp") return text;
  throw fields.bad("protocol", '"tcp", "udp" or "sctp"');
}

function parseMapping(fields: Fields): PortMapping {
  const port = (key: string): number => {
    const value = fields.int(key, 1, MAX_PORT);
    if (value === undefined) throw fields.bad(key, `a port from 1 to ${MAX_PORT}`);
    return value;
  };
  const hostIp = fields.text("hostIP") || undefined;
  const parsed = hostIp === undefined ? undefined : parseIp(hostIp);
  if (hostIp !== undefined && parsed === undefined) throw fields.bad("hostIP", "an address");
  return {
    hostPort: port("hostPort"),
    containerPort: port("containerPort"),
    protocol: parseProtocol(fields),
    hostIp: parsed === undefined ? undefined : formatIp(parsed),
  };
}

/** Some options are in the words of one backend, which chooses it. */
function parseBackend(fields: Fields, external: string | undefined): RulesBackend | undefined {
  const asked = parseRulesBackend(fields, "backend");
  let chosen = external === undefined ? asked : (asked ?? "iptables");
  if (external !== undefined && asked === "nftables") throw fields.bad("externalSetMarkChain", "nothing for nftables");
  for (const key of ["conditionsV4", "conditionsV6"]) {
    const [first] = fields.texts(key);
    if (first === undefined) continue;
    const kind = /^[-!]/.test(first) ? "iptables" : "nftables";
    if (chosen !== undefined && chosen !== kind) throw fields.bad(key, `words of ${chosen}`);
    chosen = kind;
  }
  return chosen;
}

export function parsePortmapConf(conf: JsonObject): PortmapConf {
  const fields = new Fields(conf);
  const external = fields.text("externalSetMarkChain") || undefined;
  if (external !== undefined && fields.raw("markMasqBit") !== undefined) {
    throw fields.bad("markMasqBit", "nothing where externalSetMarkChain is given");
  }
  return {
    backend: parseBackend(fields, external),
    snat: fields.flag("snat") ?? true,
    masqAll: fields.flag("masqAll") ?? false,
    markBit: fields.int("markMasqBit", 0, 31) ?? DEFAULT_MARK_BIT,
    externalSetMarkChain: external,
    conditions: { 4: fields.texts("conditionsV4"), 6: fields.texts("conditionsV6") },
    mappings: fields.object("runtimeConfig")?.objects("portMappings").map(parseMapping) ?? [],
  };
}

function optionsFor(conf: PortmapConf, family: Family): ForwardOptions {
  const { snat, masqAll, markBit, externalSetMarkChain } = conf;
  return { snat, masqAll, markBit, externalSetMarkChain, conditions: conf.conditions[family] };
}

/** The mappings that concern one family; an address that stands for all becomes none. */
export function mappingsFor(mappings: readonly PortMapping[], family: Family): readonly PortMapping[] {
  return mappings.flatMap((mapping) => {
    if (mapping.hostIp === undefined) return [mapping];
    const ip = parseIp(mapping.hostIp);
    if (ip?.family !== family) return [];
    return isAnyAddress({ ip, len: family === 4 ? 32 : 128 }) ? [{ ...mapping, hostIp: undefined }] : [mapping];
  });
}

/** The container's first address of each family. */
function targets(result: Result): readonly Cidr[] {
  const found: Cidr[] = [];
  for (const { address, interface: index } of result.ips) {
    const on = index === undefined ? undefined : result.interfaces[index];
    if (on !== undefined && on.sandbox === undefined) continue;
    const cidr = parseCidr(address);
    if (cidr !== undefined && !found.some((f) => f.ip.family === cidr.ip.family)) found.push(cidr);
  }
  return found;
}

function needPrevResult(args: CmdArgs): Result {
  if (args.prevResult === undefined)
    throw badField("prevResult", undefined, "the result of a plugin that gives addresses, earlier in the list");
  return args.prevResult;
}

/** The device that leads to the container: a packet from 127.0.0.1 may leave there only with route_localnet. */
async function deviceTo(backend: Backend, target: Cidr): Promise<string | undefined> {
  let best: { readonly len: number; readonly dev: string } | undefined;
  for (const route of await backend.routes("host")) {
    const dst = route.dst === "default" ? undefined : parseCidr(route.dst);
    if (dst === undefined || route.dev === undefined || !contains(dst, target.ip)) continue;
    if (best === undefined || dst.len > best.len) best = { len: dst.len, dev: route.dev };
  }
  return best?.dev;
}

export function planAdd(conf: PortmapConf, args: CmdArgs, target: Cidr, saved: SavedTable): readonly RtnlOp[] {
  const { family } = target.ip;
  const owner = { network: args.name, containerId: args.containerId };
  const text = forwardAddText(saved, owner, target, mappingsFor(conf.mappings, family), optionsFor(conf, family));
  return text === undefined ? [] : [restoreOp(family, text, SOURCE)];
}

/** Lets packets from 127.0.0.1 leave by the device of the container, once they are masqueraded. */
async function localnetOps(backend: Backend, conf: PortmapConf, result: Result): Promise<readonly RtnlOp[]> {
  const target = targets(result).find((cidr) => cidr.ip.family === 4);
  if (target === undefined || !conf.snat || mappingsFor(conf.mappings, 4).length === 0) return [];
  const dev = await deviceTo(backend, target);
  if (dev === undefined) return [];
  const key = `net.ipv4.conf.${dev.replaceAll(".", "/")}.route_localnet`;
  return [{ op: "sysctl.set", netns: "host", key, value: "1" }];
}

/** Best effort: a data plane may have no connections, or no way to forget them. */
async function forgetUdp(backend: Backend, conf: PortmapConf, host: PluginHost): Promise<void> {
  const ops = ([4, 6] as const).flatMap((family) =>
    mappingsFor(conf.mappings, family)
      .filter((mapping) => mapping.protocol === "udp")
      .map(({ hostPort }): RtnlOp => {
        const name = family === 4 ? "ipv4" : "ipv6";
        return { op: "conntrack.flush", netns: "host", family: name, protocol: "udp", dstPort: hostPort };
      }),
  );
  if (ops.length === 0) return;
  try {
    await backend.apply(ops);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    if (!/^E(?:INVAL|OPNOTSUPP)$/.test(error.code)) host.warn(`connections to UDP ports: ${error.message}`);
  }
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parsePortmapConf(args.conf);
  const result = needPrevResult(args);
  if (conf.mappings.length === 0) return result;
  const backend = await sandboxBackend(args, host);
  await addRules(backend, conf, args, result);
  await forgetUdp(backend, conf, host);
  return result;
}

async function addRules(backend: Backend, conf: PortmapConf, args: CmdArgs, result: Result): Promise<void> {
  await withRules(conf.backend, async (kind) => {
    if (kind === "nftables") await addNftRules(backend, conf, args, result);
    else await addIptablesRules(backend, conf, args, result);
  });
}

async function addNftRules(backend: Backend, conf: PortmapConf, args: CmdArgs, result: Result): Promise<void> {
  const owner = { network: args.name, containerId: args.containerId };
  const ops = targets(result).flatMap((target) => {
    const { family } = target.ip;
    const mappings = mappingsFor(conf.mappings, family);
    return nftOps(nftForwardAddText(owner, target, mappings, optionsFor(conf, family)), SOURCE);
  });
  if (ops.length > 0) await backend.apply([...(await localnetOps(backend, conf, result)), ...ops]);
}

async function addIptablesRules(backend: Backend, conf: PortmapConf, args: CmdArgs, result: Result): Promise<void> {
  const owner = { network: args.name, containerId: args.containerId };
  const exact = targets(result).flatMap((target) => {
    const { family } = target.ip;
    const text = forwardAddExactText(owner, target, mappingsFor(conf.mappings, family), optionsFor(conf, family));
    return text === undefined ? [] : [restoreOp(family, text, SOURCE)];
  });
  const local = await localnetOps(backend, conf, result);
  if (await tryExact(backend, [...local, ...exact])) return;
  await replan(backend, async () => {
    const ops: RtnlOp[] = [];
    for (const target of targets(result)) {
      const { family } = target.ip;
      if (mappingsFor(conf.mappings, family).length === 0) continue;
      const saved = parseForward(await savedRules(backend, family));
      ops.push(...planAdd(conf, args, target, saved));
    }
    return ops.length === 0 ? [] : [...local, ...ops];
  });
}

/** Of both kinds: what made them may have been configured otherwise. */
async function removeRules(
  backend: Backend,
  plan: (saved: SavedTable) => string | undefined,
  planNft: (listed: NftTable, family: Family) => string | undefined,
): Promise<void> {
  await replan(backend, async () => {
    const ops: RtnlOp[] = [];
    for (const family of [4, 6] as const) {
      const text = plan(parseForward(await savedRules(backend, family)));
      if (text !== undefined) ops.push(restoreOp(family, text, SOURCE));
      ops.push(...nftOps(planNft(await listedTable(backend, forwardTable(family)), family), SOURCE));
    }
    return ops;
  });
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePortmapConf(args.conf);
  // as with the reference: the runtime names the same mappings again, and without any there is nothing to look for
  if (conf.mappings.length === 0) return;
  const { backend } = await cleanupBackend(args, host);
  if (backend === undefined) return;
  const owner = { network: args.name, containerId: args.containerId };
  // what ADD made is known to the letter where its result is; else, and where that fails, the rules are read
  const families = targets(args.prevResult ?? EMPTY_RESULT).map((target) => target.ip.family);
  const exact = families.flatMap((family) => {
    const text = forwardDelExactText(owner, mappingsFor(conf.mappings, family), optionsFor(conf, family));
    return text === undefined ? [] : [restoreOp(family, text, SOURCE)];
  });
  const done = conf.backend !== "nftables" && exact.length > 0 && (await tryExact(backend, exact));
  if (!done) {
    await removeRules(
      backend,
      (saved) => forwardDelText(saved, owner),
      (listed, family) => nftForwardDelText(listed, family, owner),
    );
  }
  await forgetUdp(backend, conf, host);
}

function firstOfAll<T>(items: readonly T[], find: (item: T) => string | undefined): string | undefined {
  return items.map(find).find((text) => text !== undefined);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePortmapConf(args.conf);
  const result = needPrevResult(args);
  if (conf.mappings.length === 0) return;
  const backend = await sandboxBackend(args, host);
  const owner = { network: args.name, containerId: args.containerId };
  for (const target of targets(result)) {
    const mappings = mappingsFor(conf.mappings, target.ip.family);
    if (mappings.length === 0) continue;
    const { family } = target.ip;
    const saved = parseForward(conf.backend === "nftables" ? "" : await savedRules(backend, family));
    const missing = firstOfAll(mappings, (mapping) => forwardMissing(saved, owner, target, mapping));
    if (missing === undefined) continue;
    if (conf.backend === "iptables") throw new CniError(NOT_AS_ADDED, missing);
    const listed = await listedTable(backend, forwardTable(family));
    const options = optionsFor(conf, family);
    const ofNft = firstOfAll(mappings, (mapping) => nftForwardMissing(listed, owner, target, mapping, options));
    if (ofNft !== undefined) throw new CniError(NOT_AS_ADDED, conf.backend === undefined ? missing : ofNft);
  }
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  parsePortmapConf(args.conf);
  const valid = new Set(args.validAttachments.map((owner) => owner.containerId));
  const backend = await host.backend("", socketOf(args));
  await removeRules(
    backend,
    (saved) => forwardGcText(saved, args.name, valid),
    (listed, family) => nftForwardGcText(listed, family, args.name, valid),
  );
}

async function status(args: CmdArgs, host: PluginHost): Promise<void> {
  parsePortmapConf(args.conf);
  await statusBackend(args, host);
}

export const portmap: Plugin = {
  name: "portmap",
  about: "forwards ports of the host to a container",
  add,
  del,
  check,
  gc,
  status,
};
