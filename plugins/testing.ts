/** What the tests of plugins share: a node with a data plane, and one-line calls of a plugin on it. */
import type { Backend } from "../backend/ops.ts";
import type { PluginHost } from "./cni/host.ts";
import { memoryHost } from "./cni/host-memory.ts";
import { runPlugin } from "./cni/skel.ts";
import { type Command, type Json, type JsonObject, pluginNamed } from "./cni/types.ts";
import { PLUGINS } from "./registry.ts";

/** A small generator with a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

export type CallOptions = {
  readonly id?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly path?: string;
};
export type Answer = {
  readonly exitCode: number;
  readonly stdout: string;
  /** The result of a successful ADD or VERSION. */
  readonly result: JsonObject;
  /** The error object; code 0 if there is none. */
  readonly error: {
    readonly code: number;
    readonly msg: string;
    readonly details?: string;
    readonly cniVersion?: string;
  };
};

export class TestNode {
  readonly backend: Backend;
  readonly host: PluginHost;
  readonly warnings: string[] = [];

  constructor(backend: Backend, seed: number = 1) {
    this.backend = backend;
    this.host = memoryHost({
      backend,
      plugins: PLUGINS,
      random: seeded(seed),
      warn: (text) => this.warnings.push(text),
    });
  }

  async call(command: Command, conf: JsonObject, options: CallOptions = {}): Promise<Answer> {
    const plugin = pluginNamed(PLUGINS, String(conf.type));
    if (plugin === undefined) throw new Error(`no plugin ${String(conf.type)}`);
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: options.id ?? "c1",
      CNI_NETNS: options.netns ?? "",
      CNI_IFNAME: options.ifname ?? "eth0",
      CNI_ARGS: options.args ?? "",
      CNI_PATH: options.path ?? "/opt/cni/bin",
    };
    const { exitCode, stdout } = await runPlugin(plugin, env, JSON.stringify(conf), this.host);
    const value = stdout === "" ? {} : (JSON.parse(stdout) as JsonObject);
    return {
      exitCode,
      stdout,
      result: exitCode === 0 ? value : {},
      error: exitCode === 0 ? { code: 0, msg: "" } : (value as unknown as Answer["error"]),
    };
  }

  async leases(dataDir: string, network: string): Promise<Readonly<Record<string, string>>> {
    const all = await this.host.leases(dataDir, network).locked((leases) => leases.all());
    return Object.fromEntries(all.map(({ ip, owner }) => [ip, `${owner?.containerId} ${owner?.ifname}`]).sort());
  }

  /** The nat rules, without their counters and chains. */
  async nat(family: "ipv4" | "ipv6" = "ipv4"): Promise<readonly string[]> {
    const text = await this.backend.iptablesSave("host", family);
    return text.split("\n").filter((line) => line.startsWith("-A "));
  }
}

/** Adds the fields that a runtime puts in. */
export function withPrev(conf: JsonObject, prevResult: Json): JsonObject {
  return { ...conf, prevResult };
}
