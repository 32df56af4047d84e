/**
 * The words of the CNI specification 1.1.0 as types: JSON, results, and what a plugin is given and answers.
 *
 * `Result` is the one internal form; `result.ts` turns it into other versions at the edge.
 */
import type { Owner } from "../../ipam/lease.ts";
import type { PluginHost } from "./host.ts";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

export type Interface = {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** CNI_NETNS as it was given; absent for what stays on the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
};
export type IpConfig = {
  /** With its prefix: "10.1.0.5/24". */
  readonly address: string;
  readonly gateway?: string;
  /** Index into the result's interfaces. */
  readonly interface?: number;
};
export type Route = {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  /** rtnetlink's number: 0 global, 253 link, 254 host. */
  readonly scope?: number;
};
export type Dns = {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
};
export type Result = {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
};
export const EMPTY_RESULT: Result = { interfaces: [], ips: [], routes: [], dns: {} };

export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One call of a plugin, after `skel.ts` has checked it. A variable that the command does not need may be "". */
export type CmdArgs = {
  readonly command: Command;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS as given. */
  readonly args: string;
  /** CNI_PATH as given. */
  readonly path: string;
  /** The whole environment, for delegates. */
  readonly env: Readonly<Record<string, string>>;
  /** The configuration as text, for delegates. */
  readonly stdin: string;
  readonly conf: JsonObject;
  readonly name: string;
  readonly cniVersion: string;
  readonly prevResult: Result | undefined;
  /** GC: the attachments to keep. */
  readonly validAttachments: readonly Owner[];
};

export interface Plugin {
  readonly name: string;
  /** One line for who starts the executable by hand. */
  readonly about: string;
  add(args: CmdArgs, host: PluginHost): Promise<Result>;
  del(args: CmdArgs, host: PluginHost): Promise<void>;
  check(args: CmdArgs, host: PluginHost): Promise<void>;
  gc(args: CmdArgs, host: PluginHost): Promise<void>;
  status(args: CmdArgs, host: PluginHost): Promise<void>;
}

/** Plugins by name. */
export type PluginSet = Readonly<Record<string, Plugin>>;

export function pluginNamed(plugins: PluginSet, name: string): Plugin | undefined {
  return Object.hasOwn(plugins, name) ? plugins[name] : undefined;
}
