/**
 * tuning: sysctls of a sandbox and attributes of its interface, after a plugin that made it (the reference plugin's
 * options). What the interface was like is kept in `dataDir/CONTAINERID_IFNAME.json` and put back by DEL.
 *
 * Better than the reference: a failed ADD changes nothing, as all is one transaction.
 */
import type { LinkAttrs, LinkInfo, RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { parseCniArgs } from "../cni/cni-args.ts";
import { cleanupBackend, sandboxBackend } from "../cni/data-plane.ts";
import { BAD_CONFIG, CniError, NOT_AS_ADDED } from "../cni/error.ts";
import { badField, Fields, isObject } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import { parseMacRequest } from "../cni/mac-request.ts";
import type { CmdArgs, Json, JsonObject, Plugin, Result } from "../cni/types.ts";

const DEFAULT_DATA_DIR = "/run/cni/tuning";
const ALLOWLIST = "/etc/cni/tuning/allowlist.conf";
const MAX = 0xffff_ffff;

export type TuningConf = {
  /** Dotted as sysctl(8) takes them, IFNAME put in. */
  readonly sysctls: ReadonlyMap<string, string>;
  readonly attrs: LinkAttrs;
  readonly dataDir: string;
};

/** Dots part a key, unless a slash comes first: then it is written with the two exchanged, as in a path. */
export function sysctlKey(text: string, ifname: string): string {
  const slash = text.indexOf("/");
  const dot = text.indexOf(".");
  const isPath = slash >= 0 && (dot < 0 || slash < dot);
  const key = isPath ? text.replaceAll(/[./]/g, (c) => (c === "." ? "/" : ".")) : text;
  return key.replaceAll("IFNAME", ifname.replaceAll(".", "/"));
}

function parseSysctls(fields: Fields, ifname: string): ReadonlyMap<string, string> {
  const group = fields.object("sysctl");
  const sysctls = new Map<string, string>();
  for (const name of Object.keys(group?.value ?? {})) {
    const value = group?.raw(name);
    if (typeof value !== "string") throw badField(`sysctl.${name}`, value, "text");
    const key = sysctlKey(name, ifname);
    if (!key.startsWith("net.") || key.split(".").some((part) => part === "" || /^\.+$|^\/|\.\./.test(part)))
      throw new CniError(BAD_CONFIG, `sysctl: found ${JSON.stringify(name)}, expected a key of net.*`);
    sysctls.set(key, value);
  }
  return sysctls;
}

export function parseTuningConf(conf: JsonObject, ifname: string, cniArgs: string): TuningConf {
  const fields = new Fields(conf);
  const mac = parseMacRequest(fields, parseCniArgs(cniArgs)) ?? (fields.text("mac") || undefined);
  const checked = parseMacRequest(new Fields(mac === undefined ? {} : { runtimeConfig: { mac } }), new Map());
  const mtu = fields.int("mtu", 0, 65535) || undefined;
  const txQueueLen = fields.int("txQLen", 0, MAX);
  const [promisc, allmulti] = [fields.flag("promisc"), fields.flag("allmulti")];
  return {
    sysctls: parseSysctls(fields, ifname),
    attrs: {
      ...(checked === undefined ? {} : { mac: checked }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(promisc === true ? { promisc } : {}),
      ...(allmulti === undefined ? {} : { allmulti }),
      ...(txQueueLen === undefined ? {} : { txQueueLen }),
    },
    dataDir: fields.text("dataDir") || DEFAULT_DATA_DIR,
  };
}

/** The list is one expression a line; without it every key may be set. */
async function checkAllowed(conf: TuningConf, host: PluginHost): Promise<void> {
  if (conf.sysctls.size === 0) return;
  const text = await host.files.read(ALLOWLIST);
  if (text === undefined) return;
  const allowed = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => new RegExp(line));
  for (const key of conf.sysctls.keys()) {
    if (!allowed.some((expression) => expression.test(key)))
      throw new CniError(BAD_CONFIG, `sysctl ${key}: is not allowed by ${ALLOWLIST}`);
  }
}

function needPrevResult(args: CmdArgs): Result {
  if (args.prevResult === undefined)
    throw badField("prevResult", undefined, "the result of a plugin that makes the interface, earlier in the list");
  return args.prevResult;
}

function statePath(conf: TuningConf, args: CmdArgs): string {
  return `${conf.dataDir}/${args.containerId}_${args.ifname}.json`;
}

/** In the words of the reference's file. */
function stateOf(link: LinkInfo, attrs: LinkAttrs): string {
  return JSON.stringify({
    ...(attrs.mac === undefined ? {} : { mac: link.mac }),
    ...(attrs.promisc === undefined ? {} : { promisc: link.promisc }),
    ...(attrs.mtu === undefined ? {} : { mtu: link.mtu }),
    ...(attrs.allmulti === undefined ? {} : { allmulti: link.allmulti ?? false }),
    ...(attrs.txQueueLen === undefined ? {} : { txQLen: link.txQueueLen ?? 1000 }),
  });
}

function attrsOfState(text: string | undefined): LinkAttrs {
  let value: Json;
  try {
    value = JSON.parse(text ?? "{}") as Json;
  } catch {
    return {};
  }
  if (!isObject(value)) return {};
  const { mac, promisc, mtu, allmulti, txQLen } = value;
  return {
    ...(typeof mac === "string" && mac !== "" ? { mac } : {}),
    ...(typeof promisc === "boolean" ? { promisc } : {}),
    ...(typeof mtu === "number" && mtu > 0 ? { mtu } : {}),
    ...(typeof allmulti === "boolean" ? { allmulti } : {}),
    ...(typeof txQLen === "number" ? { txQueueLen: txQLen } : {}),
  };
}

function isEmpty(attrs: LinkAttrs): boolean {
  return Object.keys(attrs).length === 0;
}

export function planAdd(conf: TuningConf, netns: string, ifname: string): readonly RtnlOp[] {
  const sysctls = [...conf.sysctls].map(([key, value]): RtnlOp => ({ op: "sysctl.set", netns, key, value }));
  return isEmpty(conf.attrs) ? sysctls : [...sysctls, { op: "link.set", netns, name: ifname, ...conf.attrs }];
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parseTuningConf(args.conf, args.ifname, args.args);
  const result = needPrevResult(args);
  await checkAllowed(conf, host);
  const ops = planAdd(conf, args.netns, args.ifname);
  if (ops.length === 0) return result;
  const backend = await sandboxBackend(args, host);
  const path = statePath(conf, args);
  if (!isEmpty(conf.attrs)) {
    const link = await backend.link(args.netns, args.ifname);
    if (link === undefined) throw new CniError(BAD_CONFIG, `sandbox ${args.netns}: no interface ${args.ifname}`);
    await host.files.write(path, stateOf(link, conf.attrs), 0o600);
  }
  try {
    await backend.apply(ops);
  } catch (error) {
    if (!isEmpty(conf.attrs)) await host.files.remove(path);
    throw error;
  }
  const { mac, mtu } = conf.attrs;
  return {
    ...result,
    interfaces: result.interfaces.map((item) =>
      item.name === args.ifname && item.sandbox !== undefined
        ? { ...item, ...(mac === undefined ? {} : { mac }), ...(mtu === undefined ? {} : { mtu }) }
        : item,
    ),
  };
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseTuningConf(args.conf, args.ifname, "");
  const path = statePath(conf, args);
  const attrs = attrsOfState(await host.files.read(path));
  if (!isEmpty(attrs) && args.netns !== "") {
    const { backend, hasSandbox } = await cleanupBackend(args, host);
    if (hasSandbox && (await backend?.link(args.netns, args.ifname)) !== undefined)
      await backend?.apply([{ op: "link.set", netns: args.netns, name: args.ifname, ...attrs }]);
  }
  await host.files.remove(path);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseTuningConf(args.conf, args.ifname, args.args);
  needPrevResult(args);
  const backend = await sandboxBackend(args, host);
  for (const [key, value] of conf.sysctls) {
    const found = (await backend.sysctl(args.netns, key))?.replaceAll(/\s+/g, " ");
    if (found !== value.trim().replaceAll(/\s+/g, " "))
      throw new CniError(NOT_AS_ADDED, `sysctl ${key}: found ${found ?? "nothing"}, expected ${value}`);
  }
  if (isEmpty(conf.attrs)) return;
  const link = await backend.link(args.netns, args.ifname);
  for (const [name, value] of Object.entries(conf.attrs)) {
    const found = link?.[name as keyof LinkInfo];
    if (found !== value)
      throw new CniError(
        NOT_AS_ADDED,
        `interface ${args.ifname}: ${name}: found ${found ?? "nothing"}, expected ${value}`,
      );
  }
}

export const tuning: Plugin = {
  name: "tuning",
  about: "sets sysctls of a sandbox and attributes of its interface",
  add,
  del,
  check,
  // the kept files do not say whose network they are of, and /run is empty after a boot
  gc: async () => {},
  status: async (args) => {
    parseTuningConf(args.conf, args.ifname, "");
  },
};
