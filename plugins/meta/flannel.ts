/**
 * flannel: makes a configuration for another plugin (bridge, unless told otherwise) from what the flannel agent wrote to
 * `subnet.env`, and delegates to it. The configuration is kept in `dataDir/CONTAINERID` before it is used, since the
 * node's subnet may have changed when DEL comes (flannel's cni-plugin, its README).
 *
 * Better than the reference: CHECK, GC and STATUS reach the delegate, a failed ADD leaves no file, and DEL without a
 * file still asks the delegate if the subnet is known.
 */
import { formatCidr, networkOf, parseCidr } from "../../ipam/ip.ts";
import { call, callAdd, delegateRequest } from "../cni/call.ts";
import { BAD_CONFIG, CniError, NOT_AS_ADDED, TRY_AGAIN, throwAll, UNAVAILABLE } from "../cni/error.ts";
import { badField, Fields, isObject } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import type { CmdArgs, Command, Json, JsonObject, Plugin, Result } from "../cni/types.ts";
import { Undo } from "../cni/undo.ts";

const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";

export type SubnetEnv = {
  /** Prefixes of the whole network, IPv4 before IPv6. */
  readonly networks: readonly string[];
  /** The node's subnets as networks, IPv4 before IPv6. */
  readonly subnets: readonly string[];
  readonly mtu: number;
  readonly ipMasq: boolean;
};

export type FlannelConf = {
  readonly subnetFile: string;
  readonly dataDir: string;
  readonly delegate: JsonObject;
  readonly ipam: JsonObject;
};

function problem(file: string, key: string, found: string | undefined, expected: string): CniError {
  return new CniError(
    BAD_CONFIG,
    `${file}: ${key}: found ${found === undefined ? "nothing" : `"${found}"`}, expected ${expected}`,
  );
}

export function parseSubnetEnv(text: string, file: string): SubnetEnv {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) values.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
  }
  const has = (key: string): boolean => (values.get(key) ?? "") !== "";
  const missing = [
    ...(has("FLANNEL_NETWORK") || has("FLANNEL_IPV6_NETWORK") ? [] : ["FLANNEL_NETWORK"]),
    ...(has("FLANNEL_SUBNET") || has("FLANNEL_IPV6_SUBNET") ? [] : ["FLANNEL_SUBNET"]),
    ...["FLANNEL_MTU", "FLANNEL_IPMASQ"].filter((key) => !has(key)),
  ];
  if (missing.length > 0) throw new CniError(BAD_CONFIG, `${file}: is missing ${missing.join(", ")}`);

  const prefixes = (key: string): readonly string[] =>
    (values.get(key) ?? "")
      .split(",")
      .filter((part) => part !== "")
      .map((part) => {
        const cidr = parseCidr(part.trim());
        if (cidr === undefined) throw problem(file, key, part, "a prefix");
        return formatCidr(networkOf(cidr));
      });
  const mtuText = values.get("FLANNEL_MTU") ?? "";
  if (!/^[1-9]\d{1,4}$/.test(mtuText)) throw problem(file, "FLANNEL_MTU", mtuText, "a number of octets");
  const masqText = values.get("FLANNEL_IPMASQ") ?? "";
  if (masqText !== "true" && masqText !== "false") throw problem(file, "FLANNEL_IPMASQ", masqText, "true or false");
  return {
    networks: [...prefixes("FLANNEL_NETWORK"), ...prefixes("FLANNEL_IPV6_NETWORK")],
    subnets: [...prefixes("FLANNEL_SUBNET"), ...prefixes("FLANNEL_IPV6_SUBNET")],
    mtu: Number(mtuText),
    ipMasq: masqText === "true",
  };
}

export function parseFlannelConf(conf: JsonObject): FlannelConf {
  const fields = new Fields(conf);
  const delegate = fields.object("delegate");
  if (delegate?.raw("name") !== undefined)
    throw delegate.bad("name", "nothing, as the delegate has this network's name");
  if (delegate?.raw("ipam") !== undefined) throw delegate.bad("ipam", "nothing, as ipam comes from the subnet");
  delegate?.text("type");
  return {
    subnetFile: fields.text("subnetFile") || DEFAULT_SUBNET_FILE,
    dataDir: fields.text("dataDir") || DEFAULT_DATA_DIR,
    delegate: delegate?.value ?? {},
    ipam: fields.object("ipam")?.value ?? {},
  };
}

function ipamFor(conf: FlannelConf, env: SubnetEnv): JsonObject {
  const given = new Fields(conf.ipam, "ipam").objects("routes").map((route) => route.value);
  const known = new Set(given.map((route) => route.dst));
  return {
    type: "host-local",
    ...conf.ipam,
    ranges: env.subnets.map((subnet) => [{ subnet }]),
    routes: [...given, ...[...new Set(env.networks)].filter((dst) => !known.has(dst)).map((dst) => ({ dst }))],
  };
}

/** The configuration of the delegate. What `delegate` says wins over what the agent wrote. */
export function delegateConf(args: CmdArgs, conf: FlannelConf, env: SubnetEnv): JsonObject {
  const type = typeof conf.delegate.type === "string" && conf.delegate.type !== "" ? conf.delegate.type : "bridge";
  const pass = (key: string): JsonObject => {
    const value = args.conf[key] ?? undefined;
    return value === undefined ? {} : { [key]: value };
  };
  return {
    // the agent masquerades or the bridge does, not both
    ipMasq: !env.ipMasq,
    mtu: env.mtu,
    ...(type === "bridge" ? { isGateway: true } : {}),
    ...conf.delegate,
    name: args.name,
    type,
    cniVersion: args.cniVersion,
    ...pass("runtimeConfig"),
    ...pass("args"),
    ...pass("podwire"),
    ipam: ipamFor(conf, env),
  };
}

async function readSubnetEnv(conf: FlannelConf, host: PluginHost, code: number): Promise<SubnetEnv> {
  const text = await host.files.read(conf.subnetFile);
  if (text === undefined)
    throw new CniError(code, `${conf.subnetFile}: no such file; the flannel agent writes it when it has a subnet`);
  return parseSubnetEnv(text, conf.subnetFile);
}

function typeOf(delegate: JsonObject): string {
  const type = delegate.type;
  if (typeof type === "string" && type !== "") return type;
  throw badField("delegate.type", type, "the name of a plugin");
}

async function run(
  args: CmdArgs,
  host: PluginHost,
  delegate: JsonObject,
  command: Command = args.command,
): Promise<void> {
  const request = delegateRequest(typeOf(delegate), args, command, JSON.stringify(delegate));
  await call(host.exec, request, (text) => host.warn(text));
}

function statePath(conf: FlannelConf, containerId: string): string {
  return `${conf.dataDir}/${containerId}`;
}

function parseState(text: string): JsonObject | undefined {
  try {
    const value = JSON.parse(text) as Json;
    return isObject(value) && typeof value.type === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A kept configuration with what this call knows besides. */
function withPrevResult(delegate: JsonObject, args: CmdArgs): JsonObject {
  const prevResult = args.conf.prevResult ?? undefined;
  return prevResult === undefined ? delegate : { ...delegate, prevResult };
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parseFlannelConf(args.conf);
  const delegate = delegateConf(args, conf, await readSubnetEnv(conf, host, TRY_AGAIN));
  const path = statePath(conf, args.containerId);
  const stdin = JSON.stringify(delegate);
  const undo = new Undo((text) => host.warn(text));
  return undo.guard(async () => {
    // another interface of this container may have left it there; then it is not ours to remove
    const before = await host.files.read(path);
    undo.push(() => (before === undefined ? host.files.remove(path) : host.files.write(path, before, 0o600)));
    await host.files.write(path, stdin, 0o600);
    const request = delegateRequest(typeOf(delegate), args, "ADD", stdin);
    return callAdd(host.exec, request, args.cniVersion, (text) => host.warn(text));
  });
}

/** Without the kept file: what the delegate would be today, if that can be known. */
async function guessDelegate(args: CmdArgs, conf: FlannelConf, host: PluginHost): Promise<JsonObject | undefined> {
  try {
    return delegateConf(args, conf, await readSubnetEnv(conf, host, TRY_AGAIN));
  } catch {
    return undefined;
  }
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFlannelConf(args.conf);
  const path = statePath(conf, args.containerId);
  const text = await host.files.read(path);
  const kept = text === undefined ? undefined : parseState(text);
  if (kept !== undefined) {
    await run(args, host, withPrevResult(kept, args));
  } else {
    const guessed = await guessDelegate(args, conf, host);
    if (guessed !== undefined) {
      try {
        await run(args, host, withPrevResult(guessed, args));
      } catch (error) {
        host.warn(`DEL of ${args.containerId} ${args.ifname}: nothing was kept, and ${(error as Error).message}`);
      }
    }
  }
  await host.files.remove(path);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFlannelConf(args.conf);
  const path = statePath(conf, args.containerId);
  const kept = parseState((await host.files.read(path)) ?? "");
  if (kept === undefined) throw new CniError(NOT_AS_ADDED, `${path}: no configuration of the delegate`);
  await run(args, host, withPrevResult(kept, args));
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFlannelConf(args.conf);
  const valid = new Set(args.validAttachments.map((owner) => owner.containerId));
  const errors: unknown[] = [];
  const delegates: JsonObject[] = [];
  const stale: string[] = [];
  for (const id of await host.files.list(conf.dataDir)) {
    const kept = parseState((await host.files.read(statePath(conf, id))) ?? "");
    if (kept?.name !== args.name) continue;
    if (valid.has(id)) continue;
    stale.push(id);
    delegates.push(kept);
  }
  const today = await guessDelegate(args, conf, host);
  const attachments = args.conf["cni.dev/valid-attachments"] ?? [];
  // one call a distinct configuration: leases of an earlier subnet may lie in another directory
  const distinct = new Map(
    [...(today === undefined ? [] : [today]), ...delegates].map((d) => [`${typeOf(d)} ${JSON.stringify(d.ipam)}`, d]),
  );
  for (const delegate of distinct.values()) {
    try {
      await run(args, host, {
        ...delegate,
        cniVersion: args.cniVersion,
        "cni.dev/valid-attachments": attachments,
        "cni.dev/attachments": attachments,
      });
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 0) for (const id of stale) await host.files.remove(statePath(conf, id));
  throwAll(errors);
}

async function status(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFlannelConf(args.conf);
  const env = await readSubnetEnv(conf, host, UNAVAILABLE);
  await run(args, host, delegateConf(args, conf, env));
}

export const flannel: Plugin = {
  name: "flannel",
  about: "delegates to bridge with the subnet that the flannel agent got",
  add,
  del,
  check,
  gc,
  status,
};
