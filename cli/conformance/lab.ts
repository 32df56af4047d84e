/**
 * Where the conformance suite runs a plugin: a namespace that stands for the host, a sandbox, a directory for state. Only
 * the executables of the directory under test are started; what they did is looked at through the kernel.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLibc } from "../../backend/kernel/ffi.ts";
import { KernelBackend } from "../../backend/kernel/kernel-backend.ts";
import { Namespaces } from "../../backend/kernel/namespaces.ts";
import type { Json, JsonObject } from "../../plugins/cni/types.ts";

const PATIENCE_MS = 60_000;

/** A requirement that was not met: what was found. */
export class Unmet extends Error {
  override readonly name: string = "Unmet";
}

export function must(holds: boolean, found: string): asserts holds {
  if (!holds) throw new Unmet(found);
}

export type Answer = {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What was printed, if it was a JSON object. */
  readonly json: JsonObject;
};

export class Lab {
  readonly plugins: string;
  readonly backend: KernelBackend;
  readonly host: string;
  readonly pod: string;
  /** For state of plugins. */
  readonly dir: string;
  readonly #spaces: Namespaces;

  private constructor(
    plugins: string,
    dir: string,
    host: string,
    pod: string,
    backend: KernelBackend,
    spaces: Namespaces,
  ) {
    this.plugins = plugins;
    this.dir = dir;
    this.host = host;
    this.pod = pod;
    this.backend = backend;
    this.#spaces = spaces;
  }

  static async open(plugins: string): Promise<Lab> {
    const dir = mkdtempSync(join(tmpdir(), "podwire-conformance-"));
    const libc = await openLibc();
    const maker = new Namespaces(libc, { dir });
    const host = maker.add("host");
    maker.close();
    const backend = new KernelBackend(libc, { host, dir });
    await backend.apply([
      { op: "sysctl.set", netns: "host", key: "net.ipv4.ip_forward", value: "0" },
      { op: "link.set", netns: "host", name: "lo", up: true },
    ]);
    return new Lab(plugins, dir, host, await backend.addNetns("pod"), backend, new Namespaces(libc, { host }));
  }

  async close(): Promise<void> {
    for (const name of readdirSync(this.dir)) {
      const path = join(this.dir, name);
      if (await this.backend.hasNetns(path)) await this.backend.delNetns(path);
    }
    await this.backend.close();
    this.#spaces.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  has(plugin: string): boolean {
    return existsSync(join(this.plugins, plugin));
  }

  #environment(command: string, env: Readonly<Record<string, string>>): Record<string, string> {
    const all = {
      PATH: process.env.PATH ?? "",
      CNI_COMMAND: command,
      CNI_CONTAINERID: "c1",
      CNI_NETNS: this.pod,
      CNI_IFNAME: "eth0",
      CNI_PATH: this.plugins,
      ...env,
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "-"));
  }

  /** Runs a plugin in the host's namespace. A variable of "-" is not set at all. */
  call(plugin: string, command: string, conf: Json | string, env: Readonly<Record<string, string>> = {}): Answer {
    const given = this.#environment(command, env);
    const input = typeof conf === "string" ? conf : JSON.stringify(conf);
    const { status, stdout, stderr } = this.#spaces.run("host", () =>
      spawnSync(join(this.plugins, plugin), [], { env: given, input, encoding: "utf8", timeout: PATIENCE_MS }),
    );
    return { status, stdout: stdout ?? "", stderr: stderr ?? "", json: objectOf(stdout ?? "") };
  }

  /** The same beside others. */
  start(
    plugin: string,
    command: string,
    conf: JsonObject,
    env: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const given = this.#environment(command, env);
    const child = this.#spaces.run("host", () => spawn(join(this.plugins, plugin), [], { env: given }));
    child.stdin.end(JSON.stringify(conf));
    return new Promise((resolve, reject) => {
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (part) => {
        stdout += part;
      });
      child.stderr.on("data", (part) => {
        stderr += part;
      });
      child.on("error", reject);
      child.on("close", (status) => resolve({ status, stdout, stderr, json: objectOf(stdout) }));
    });
  }

  /** A call that must succeed. */
  good(plugin: string, command: string, conf: JsonObject, env?: Readonly<Record<string, string>>): JsonObject {
    const answer = this.call(plugin, command, conf, env);
    must(answer.status === 0, `${plugin} ${command}: ${show(answer)}`);
    return answer.json;
  }

  /** A call that must fail with one of these codes and an error object. */
  bad(
    plugin: string,
    command: string,
    conf: Json | string,
    codes: readonly number[],
    env?: Readonly<Record<string, string>>,
  ): JsonObject {
    const answer = this.call(plugin, command, conf, env);
    must(answer.status !== 0, `${plugin} ${command}: succeeded`);
    const { code, msg } = answer.json;
    must(typeof code === "number" && typeof msg === "string", `${plugin} ${command}: no error object: ${show(answer)}`);
    const wanted = codes.length === 0 || codes.includes(code);
    must(wanted, `code ${code}, expected ${codes.join(" or ")}: ${msg}`);
    return answer.json;
  }

  async linkNames(netns: string): Promise<readonly string[]> {
    return (await this.backend.links(netns)).map((link) => link.name).filter((name) => name !== "lo");
  }

  async natRules(family: "ipv4" | "ipv6" = "ipv4"): Promise<string> {
    return (await this.rules(family, "nat")).join("\n");
  }

  async rules(family: "ipv4" | "ipv6", table: string): Promise<readonly string[]> {
    const text = await this.backend.iptablesSave("host", family, table);
    return text.split("\n").filter((line) => line.startsWith("-A "));
  }

  /** The addresses that a network's lease files name. */
  leases(network = "net"): readonly string[] {
    const dir = join(this.dir, "leases", network);
    return existsSync(dir)
      ? readdirSync(dir)
          .filter((name) => /^(?:\d+\.){3}\d+$|:/.test(name))
          .sort()
      : [];
  }
}

function objectOf(text: string): JsonObject {
  try {
    const value = JSON.parse(text) as Json;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
  } catch {
    return {};
  }
}

export function show(answer: Answer): string {
  const text = `${answer.stdout.trim()} ${answer.stderr.trim()}`.trim().replaceAll(/\s+/g, " ");
  return `exit code ${answer.status}${text === "" ? "" : `, ${text.slice(0, 300)}`}`;
}
