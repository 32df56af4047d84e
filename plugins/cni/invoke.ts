/**
 * The runtime's side (CNI specification 1.1.0, sections 3 and 4): runs the plugins of a list with their variables and
 * configuration, hands results on, and caches the last one for DEL and CHECK in libcni's file layout.
 */
import type { Owner } from "../../ipam/lease.ts";
import { call, callAdd } from "./call.ts";
import type { Conflist, PluginConf } from "./conflist.ts";
import { BAD_PLUGIN, CniError, throwAll } from "./error.ts";
import { isObject } from "./fields.ts";
import type { Exec, ExecRequest, Files } from "./host.ts";
import { formatResult, parseResult } from "./result.ts";
import type { Command, Json, JsonObject, Result } from "./types.ts";
import { EMPTY_RESULT } from "./types.ts";
import { atLeast, hasCommand, requireSupported } from "./version.ts";

/** One attachment of a container to a network. */
export type Attachment = {
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS, in order. */
  readonly args?: readonly (readonly [string, string])[];
  /** Values by capability, such as portMappings; a plugin gets those that its configuration turns on. */
  readonly capabilityArgs?: JsonObject;
};

export type RuntimeOptions = {
  readonly exec: Exec;
  readonly files: Files;
  /** CNI_PATH. */
  readonly path?: string;
  readonly cacheDir?: string;
  /** Variables that every plugin gets besides CNI_*. */
  readonly env?: Readonly<Record<string, string>>;
  readonly warn?: (text: string) => void;
};

const CACHE_KIND = "cniCacheV1";

type Cached = {
  readonly attachment: Attachment;
  readonly network: string;
  readonly result: Json;
  readonly path: string;
};

export class CniRuntime {
  readonly #exec: Exec;
  readonly #files: Files;
  readonly #path: string;
  readonly #cacheDir: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #warn: (text: string) => void;

  constructor(options: RuntimeOptions) {
    this.#exec = options.exec;
    this.#files = options.files;
    this.#path = options.path ?? "/opt/cni/bin";
    this.#cacheDir = options.cacheDir ?? "/var/lib/cni";
    this.#env = options.env ?? {};
    this.#warn = options.warn ?? (() => {});
  }

  /** Adds the attachment. If a plugin fails, what was done is deleted and its error thrown. */
  async add(list: Conflist, attachment: Attachment): Promise<Result> {
    let result: Result | undefined;
    for (const [i, plugin] of list.plugins.entries()) {
      try {
        const request = this.#request("ADD", plugin, attachment, confOf(list, plugin, attachment, result));
        result = await callAdd(this.#exec, request, list.cniVersion, this.#warn);
      } catch (error) {
        const done = list.plugins.slice(0, i + 1);
        for (const failure of await this.#delEach(list, done, attachment, result))
          this.#warn(`undo of ADD: ${failure}`);
        throw error;
      }
    }
    const last = result ?? EMPTY_RESULT;
    await this.#remember(list, attachment, last);
    return last;
  }

  /** Deletes the attachment; stops at the first plugin that fails and keeps the cached result for the next try. */
  async del(list: Conflist, attachment: Attachment): Promise<void> {
    const prev = atLeast(list.cniVersion, "0.4.0") ? await this.cachedResult(list.name, attachment) : undefined;
    for (const plugin of [...list.plugins].reverse()) {
      await call(
        this.#exec,
        this.#request("DEL", plugin, attachment, confOf(list, plugin, attachment, prev)),
        this.#warn,
      );
    }
    await this.#files.remove(this.#cachePath(list.name, attachment));
  }

  /** Checks the attachment against its cached result; does nothing where the list is older than CHECK or disables it. */
  async check(list: Conflist, attachment: Attachment): Promise<void> {
    if (list.disableCheck || !hasCommand(list.cniVersion, "CHECK")) return;
    const prev = await this.cachedResult(list.name, attachment);
    if (prev === undefined) {
      throw new CniError(
        BAD_PLUGIN,
        `CHECK of ${attachment.containerId} ${attachment.ifname}: no cached result of network ${list.name}`,
      );
    }
    for (const plugin of list.plugins) {
      await call(
        this.#exec,
        this.#request("CHECK", plugin, attachment, confOf(list, plugin, attachment, prev)),
        this.#warn,
      );
    }
  }

  /** Deletes cached attachments that are not listed, then lets every plugin collect what nothing listed holds. */
  async gc(list: Conflist, valid: readonly Owner[]): Promise<void> {
    if (list.disableGc) return;
    const errors: unknown[] = [];
    const isValid = (a: Attachment): boolean =>
      valid.some((v) => v.containerId === a.containerId && v.ifname === a.ifname);
    for (const cached of await this.#cached(list.name)) {
      if (isValid(cached.attachment)) continue;
      try {
        await this.del(list, cached.attachment);
      } catch (error) {
        errors.push(error);
      }
    }
    if (hasCommand(list.cniVersion, "GC")) {
      const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      for (const plugin of list.plugins) {
        const conf = {
          ...confOf(list, plugin),
          "cni.dev/valid-attachments": attachments,
          "cni.dev/attachments": attachments,
        };
        try {
          await call(this.#exec, this.#request("GC", plugin, undefined, conf), this.#warn);
        } catch (error) {
          errors.push(error);
        }
      }
    }
    throwAll(errors);
  }

  /** Throws the error of the first plugin that could not serve an ADD now. */
  async status(list: Conflist): Promise<void> {
    if (!hasCommand(list.cniVersion, "STATUS")) return;
    for (const plugin of list.plugins) {
      await call(this.#exec, this.#request("STATUS", plugin, undefined, confOf(list, plugin)), this.#warn);
    }
  }

  /** The versions that a plugin speaks. */
  async version(type: string): Promise<readonly string[]> {
    const request = { type, path: this.#path, env: this.#envOf("VERSION"), stdin: '{"cniVersion":"1.1.0"}' };
    const value = JSON.parse(await call(this.#exec, request, this.#warn)) as Json;
    const versions = isObject(value) ? value.supportedVersions : undefined;
    if (!Array.isArray(versions))
      throw new CniError(BAD_PLUGIN, `plugin "${type}": its answer to VERSION has no supportedVersions`);
    return versions.map(String);
  }

  /** Checks that every plugin of the list is there and speaks its version. */
  async validate(list: Conflist): Promise<void> {
    requireSupported(list.cniVersion);
    for (const plugin of list.plugins) {
      const versions = await this.version(plugin.type);
      if (!versions.includes(list.cniVersion)) {
        throw new CniError(
          BAD_PLUGIN,
          `plugin "${plugin.type}": speaks ${versions.join(", ")}, expected ${list.cniVersion}`,
        );
      }
    }
  }

  /** The result of the last ADD of this attachment. */
  async cachedResult(network: string, attachment: Owner): Promise<Result | undefined> {
    const cached = await this.#readCached(this.#cachePath(network, attachment));
    return cached === undefined ? undefined : parseResult(cached.result, "cached result");
  }

  async #delEach(
    list: Conflist,
    plugins: readonly PluginConf[],
    attachment: Attachment,
    prev: Result | undefined,
  ): Promise<readonly string[]> {
    const failures: string[] = [];
    const usable = atLeast(list.cniVersion, "0.4.0") ? prev : undefined;
    for (const plugin of [...plugins].reverse()) {
      try {
        await call(
          this.#exec,
          this.#request("DEL", plugin, attachment, confOf(list, plugin, attachment, usable)),
          this.#warn,
        );
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    return failures;
  }

  #envOf(command: Command, attachment?: Attachment): Readonly<Record<string, string>> {
    const env: Record<string, string> = { ...this.#env, CNI_COMMAND: command, CNI_PATH: this.#path };
    if (attachment !== undefined) {
      env.CNI_CONTAINERID = attachment.containerId;
      env.CNI_NETNS = attachment.netns;
      env.CNI_IFNAME = attachment.ifname;
      env.CNI_ARGS = (attachment.args ?? []).map(([key, value]) => `${key}=${value}`).join(";");
    }
    return env;
  }

  #request(command: Command, plugin: PluginConf, attachment: Attachment | undefined, conf: JsonObject): ExecRequest {
    return { type: plugin.type, path: this.#path, env: this.#envOf(command, attachment), stdin: JSON.stringify(conf) };
  }

  #cachePath(network: string, attachment: Owner): string {
    return `${this.#cacheDir}/results/${network}-${attachment.containerId}-${attachment.ifname}`;
  }

  async #remember(list: Conflist, attachment: Attachment, result: Result): Promise<void> {
    const { containerId, netns, ifname } = attachment;
    const record = {
      kind: CACHE_KIND,
      containerId,
      netns,
      config: Buffer.from(list.text).toString("base64"),
      ifName: ifname,
      networkName: list.name,
      cniArgs: attachment.args ?? [],
      capabilityArgs: attachment.capabilityArgs ?? {},
      result: formatResult(result, list.cniVersion),
    };
    await this.#files.write(this.#cachePath(list.name, attachment), JSON.stringify(record), 0o600);
  }

  async #readCached(path: string): Promise<Cached | undefined> {
    const text = await this.#files.read(path);
    if (text === undefined) return undefined;
    try {
      const value = JSON.parse(text) as Json;
      if (!isObject(value) || value.kind !== CACHE_KIND) return undefined;
      const { containerId, ifName, networkName, netns, cniArgs, capabilityArgs, result } = value;
      if (typeof containerId !== "string" || typeof ifName !== "string" || typeof networkName !== "string")
        return undefined;
      const attachment: Attachment = {
        containerId,
        ifname: ifName,
        netns: typeof netns === "string" ? netns : "",
        args: Array.isArray(cniArgs) ? (cniArgs as unknown as readonly (readonly [string, string])[]) : [],
        capabilityArgs: isObject(capabilityArgs) ? capabilityArgs : {},
      };
      return { attachment, network: networkName, result: result ?? {}, path };
    } catch (error) {
      this.#warn(`cached result ${path} cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  }

  async #cached(network: string): Promise<readonly Cached[]> {
    const dir = `${this.#cacheDir}/results`;
    const all: Cached[] = [];
    for (const name of await this.#files.list(dir)) {
      if (!name.startsWith(`${network}-`)) continue;
      const cached = await this.#readCached(`${dir}/${name}`);
      if (cached?.network === network) all.push(cached);
    }
    return all;
  }
}

/** What a plugin reads on stdin: its part of the list, with what the runtime puts in. */
function confOf(list: Conflist, plugin: PluginConf, attachment?: Attachment, prev?: Result): JsonObject {
  const { capabilities: _, ...rest } = plugin.conf;
  const conf: { [key: string]: Json } = { ...rest, cniVersion: list.cniVersion, name: list.name };
  const given = attachment?.capabilityArgs ?? {};
  const runtimeConfig = Object.fromEntries(
    plugin.capabilities.filter((key) => given[key] !== undefined).map((key) => [key, given[key] ?? null]),
  );
  if (Object.keys(runtimeConfig).length > 0) conf.runtimeConfig = runtimeConfig;
  if (prev !== undefined) conf.prevResult = formatResult(prev, list.cniVersion);
  return conf;
}
