/**
 * host-local: addresses from ranges of this node, kept in files (the reference plugin's documentation; CNI
 * specification 1.1.0, section 4, for what an IPAM plugin answers).
 *
 * Better than the reference: GC releases, STATUS tells when a range set is full, configuration errors are code 7.
 * Left out: `args.cni.ips` with names of ranges.
 */
import { staleLeases } from "../../ipam/gc.ts";
import { canonicalIp, formatIp, type Ip, parseCidr, parseIp } from "../../ipam/ip.ts";
import type { Owner } from "../../ipam/lease.ts";
import {
  type Choice,
  capacity,
  checkRangeSets,
  choose,
  chooseRequested,
  formatRange,
  type IpRange,
  RangeProblem,
  type RangeSet,
  rangeHolding,
  rangeOf,
} from "../../ipam/range-allocator.ts";
import type { LeaseStore, LockedLeases } from "../../ipam/store.ts";
import { parseCniArgs } from "../cni/cni-args.ts";
import { BAD_CONFIG, CniError, EXISTS, NO_ADDRESS, NOT_AS_ADDED, UNAVAILABLE } from "../cni/error.ts";
import { badField, Fields, isObject } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import { parseRoute } from "../cni/result.ts";
import type { CmdArgs, Dns, IpConfig, Json, JsonObject, Plugin, Result, Route } from "../cni/types.ts";

const DEFAULT_DATA_DIR = "/var/lib/cni/networks";

export type HostLocalConf = {
  readonly network: string;
  readonly dataDir: string;
  readonly ranges: readonly RangeSet[];
  readonly routes: readonly Route[];
  readonly resolvConf: string | undefined;
  readonly requested: readonly Ip[];
};

function ipamOf(conf: JsonObject): Fields {
  const ipam = new Fields(conf).object("ipam");
  if (ipam === undefined) throw badField("ipam", undefined, "an object with ranges");
  return ipam;
}

function parseRange(fields: Fields): IpRange {
  const text = (key: "rangeStart" | "rangeEnd" | "gateway"): { readonly [K in typeof key]?: string } => {
    const value = fields.text(key);
    return value === undefined || value === "" ? {} : { [key]: value };
  };
  const subnet = fields.needText("subnet", "a prefix such as 10.1.0.0/24");
  try {
    return rangeOf({ subnet, ...text("rangeStart"), ...text("rangeEnd"), ...text("gateway") });
  } catch (error) {
    if (!(error instanceof RangeProblem)) throw error;
    throw new CniError(
      BAD_CONFIG,
      `${fields.path(error.field)}: found ${error.found}, expected ${error.expected}`,
      "",
      { cause: error },
    );
  }
}

/** `[[{subnet…}, …], …]` */
function parseRangeSets(fields: Fields, key: string): readonly RangeSet[] {
  return fields.list(key).map((set, i) => {
    const path = `${fields.path(key)}[${i}]`;
    if (!Array.isArray(set)) throw badField(path, set, "a list of ranges");
    return (set as readonly Json[]).map((range, j) => {
      if (!isObject(range)) throw badField(`${path}[${j}]`, range, "an object with a subnet");
      return parseRange(new Fields(range, `${path}[${j}]`));
    });
  });
}

function checkSets(sets: readonly RangeSet[]): void {
  try {
    checkRangeSets(sets);
  } catch (error) {
    if (!(error instanceof RangeProblem)) throw error;
    throw new CniError(BAD_CONFIG, `ipam.${error.field}: found ${error.found}, expected ${error.expected}`, "", {
      cause: error,
    });
  }
}

/** Addresses that somebody asks for: runtimeConfig.ips, args.cni.ips and CNI_ARGS IP; a prefix length is ignored. */
function parseRequested(fields: Fields, cniArgs: ReadonlyMap<string, string>): readonly Ip[] {
  const wanted: { readonly text: string; readonly where: string }[] = [];
  const add = (source: Fields | undefined): void => {
    for (const [i, text] of (source?.texts("ips") ?? []).entries())
      wanted.push({ text, where: `${source?.path("ips")}[${i}]` });
  };
  add(fields.object("runtimeConfig"));
  add(fields.object("args")?.object("cni"));
  const env = cniArgs.get("IP") ?? "";
  for (const text of env === "" ? [] : env.split(",")) wanted.push({ text, where: "CNI_ARGS IP" });

  const ips = new Map<string, Ip>();
  for (const { text, where } of wanted) {
    const ip = text.includes("/") ? parseCidr(text)?.ip : parseIp(text);
    if (ip === undefined) throw badField(where, text, "an address");
    ips.set(formatIp(ip), ip);
  }
  return [...ips.values()];
}

export function dataDirOf(conf: JsonObject): string {
  return ipamOf(conf).text("dataDir") || DEFAULT_DATA_DIR;
}

export function parseHostLocalConf(conf: JsonObject, network: string, cniArgs: string): HostLocalConf {
  const fields = new Fields(conf);
  const ipam = ipamOf(conf);
  const runtime = fields.object("runtimeConfig");
  const ranges = [
    ...(runtime === undefined ? [] : parseRangeSets(runtime, "ipRanges")),
    ...(ipam.raw("subnet") === undefined ? [] : [[parseRange(ipam)]]),
    ...parseRangeSets(ipam, "ranges"),
  ];
  checkSets(ranges);
  return {
    network,
    dataDir: dataDirOf(conf),
    ranges,
    routes: ipam.objects("routes").map(parseRoute),
    resolvConf: ipam.text("resolvConf") || undefined,
    requested: parseRequested(fields, parseCniArgs(cniArgs)),
  };
}

/** resolv.conf(5): nameserver, domain, search (the last one wins) and options. */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  let search: readonly string[] | undefined;
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (rest.length === 0 || word === undefined || /^[#;]/.test(word)) continue;
    if (word === "nameserver") nameservers.push(rest[0] ?? "");
    else if (word === "domain") domain = rest[0];
    else if (word === "search") search = rest;
    else if (word === "options") options.push(...rest);
  }
  return {
    ...(nameservers.length > 0 ? { nameservers } : {}),
    ...(domain === undefined ? {} : { domain }),
    ...(search === undefined ? {} : { search }),
    ...(options.length > 0 ? { options } : {}),
  };
}

async function readDns(path: string | undefined, host: PluginHost): Promise<Dns> {
  if (path === undefined) return {};
  const text = await host.files.read(path);
  if (text === undefined) throw badField("ipam.resolvConf", path, "the path of a file");
  return parseResolvConf(text);
}

function describeSet(set: RangeSet): string {
  return `range${set.length === 1 ? "" : "s"} ${set.map(formatRange).join(", ")}`;
}

function isFull(set: RangeSet, taken: (ip: string) => boolean): boolean {
  return choose(set, { isTaken: (ip) => taken(formatIp(ip)) }) === undefined;
}

function fullError(code: number, set: RangeSet): CniError {
  const n = capacity(set);
  return new CniError(code, `${describeSet(set)}: no free address (${n} of ${n} in use)`);
}

/** One address for each set, the requested ones first; nothing is reserved by this. */
function pick(set: RangeSet, wanted: Ip | undefined, last: string | undefined, isTaken: (ip: Ip) => boolean): Choice {
  if (wanted === undefined) {
    const choice = choose(set, { last: last === undefined ? undefined : parseIp(last), isTaken });
    if (choice === undefined) throw fullError(NO_ADDRESS, set);
    return choice;
  }
  const choice = chooseRequested(set, wanted, { isTaken });
  if (typeof choice !== "string") return choice;
  const why =
    choice === "taken" ? "is in use" : choice === "gateway" ? "is the gateway" : `is not in ${describeSet(set)}`;
  throw new CniError(NO_ADDRESS, `requested address ${formatIp(wanted)}: ${why}`);
}

/** Which requested address belongs to which set; every one must have a set of its own. */
function assign(conf: HostLocalConf): ReadonlyMap<number, Ip> {
  const bySet = new Map<number, Ip>();
  for (const ip of conf.requested) {
    const at = conf.ranges.findIndex((set, i) => !bySet.has(i) && rangeHolding(set, ip) !== undefined);
    if (at < 0) {
      throw new CniError(
        NO_ADDRESS,
        `requested address ${formatIp(ip)}: is not in ${conf.ranges.map(describeSet).join(" or ")}`,
      );
    }
    bySet.set(at, ip);
  }
  return bySet;
}

async function reserveOne(
  leases: LockedLeases,
  set: RangeSet,
  index: number,
  owner: Owner,
  wanted: Ip | undefined,
): Promise<Choice> {
  const taken = await leases.taken();
  const lost = new Set<string>();
  for (;;) {
    const isTaken = (ip: Ip): boolean => {
      const text = formatIp(ip);
      return lost.has(text) || taken(text);
    };
    const choice = pick(set, wanted, await leases.lastReserved(index), isTaken);
    const text = formatIp(choice.ip);
    if (await leases.reserve(text, owner, index)) return choice;
    // somebody who does not know our lock was faster
    lost.add(text);
  }
}

async function reserve(store: LeaseStore, conf: HostLocalConf, owner: Owner): Promise<readonly Choice[]> {
  const wanted = assign(conf);
  return store.locked(async (leases) => {
    const held = await leases.find(owner);
    if (held.length > 0) {
      throw new CniError(
        EXISTS,
        `container ${owner.containerId} ${owner.ifname}: has ${held.join(", ")} of network ${conf.network} already`,
      );
    }
    const choices: Choice[] = [];
    try {
      for (const [i, set] of conf.ranges.entries())
        choices.push(await reserveOne(leases, set, i, owner, wanted.get(i)));
    } catch (error) {
      for (const { ip } of choices) await leases.release(formatIp(ip));
      throw error;
    }
    return choices;
  });
}

function ipConfigOf({ ip, range }: Choice): IpConfig {
  return { address: `${formatIp(ip)}/${range.subnet.len}`, gateway: formatIp(range.gateway) };
}

function ownerOf(args: CmdArgs): Owner {
  return { containerId: args.containerId, ifname: args.ifname };
}

function storeOf(args: CmdArgs, host: PluginHost): LeaseStore {
  return host.leases(dataDirOf(args.conf), args.name);
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parseHostLocalConf(args.conf, args.name, args.args);
  const dns = await readDns(conf.resolvConf, host);
  const choices = await reserve(host.leases(conf.dataDir, conf.network), conf, ownerOf(args));
  return { interfaces: [], ips: choices.map(ipConfigOf), routes: conf.routes, dns };
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  await storeOf(args, host).locked((leases) => leases.releaseOwner(ownerOf(args)));
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseHostLocalConf(args.conf, args.name, args.args);
  const held = await host.leases(conf.dataDir, conf.network).locked((leases) => leases.find(ownerOf(args)));
  const who = `container ${args.containerId} ${args.ifname}`;
  if (held.length === 0) throw new CniError(NOT_AS_ADDED, `${who}: no lease in network ${args.name}`);
  for (const { address } of args.prevResult?.ips ?? []) {
    const ip = parseCidr(address)?.ip;
    // other plugins of the chain may have added addresses that are not ours
    if (ip === undefined || !conf.ranges.some((set) => rangeHolding(set, ip) !== undefined)) continue;
    if (!held.includes(formatIp(ip)))
      throw new CniError(NOT_AS_ADDED, `${who}: no lease of ${canonicalIp(formatIp(ip))} in network ${args.name}`);
  }
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  await storeOf(args, host).locked(async (leases) => {
    for (const lease of staleLeases(await leases.all(), args.validAttachments)) await leases.release(lease.ip);
  });
}

async function status(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseHostLocalConf(args.conf, args.name, "");
  const taken = await host.leases(conf.dataDir, conf.network).locked((leases) => leases.taken());
  for (const set of conf.ranges) if (isFull(set, taken)) throw fullError(UNAVAILABLE, set);
}

export const hostLocal: Plugin = {
  name: "host-local",
  about: "addresses from ranges of this node",
  add,
  del,
  check,
  gc,
  status,
};
