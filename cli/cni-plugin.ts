/**
 * The CNI executable: one program for all plugins of the suite, which one is told by the name it is started under (or
 * PODWIRE_PLUGIN). It gives the plugins the machine's files, locks and child processes, and a data plane:
 *
 *     CNI_NETNS is a podwire sandbox file        the emulator behind its socket
 *     CNI_NETNS is a namespace of the kernel     the kernel (not built yet)
 *     it is empty or gone                        the configuration's `podwire.socket`, else the variable PODWIRE_SOCKET
 */
import { realpathSync, statSync } from "node:fs";
import { basename } from "node:path";
import { readSandbox, SandboxFileError } from "../backend/sandbox-file.ts";
import { SocketBackend, SocketBackendError } from "../backend/socket.ts";
import { lockHost } from "../ipam/file-lock.ts";
import type { LeaseStore } from "../ipam/store.ts";
import { FileLeaseStore } from "../ipam/store-file.ts";
import { BAD_NETNS, BAD_PLUGIN, CniError, errorJson, NO_BACKEND, TRY_AGAIN } from "../plugins/cni/error.ts";
import { ChildExec } from "../plugins/cni/exec-child.ts";
import { InProcessExec } from "../plugins/cni/exec-in-process.ts";
import { NodeFiles } from "../plugins/cni/files-node.ts";
import type { Exec, Files, PluginHost } from "../plugins/cni/host.ts";
import { runPlugin } from "../plugins/cni/skel.ts";
import { pluginNamed } from "../plugins/cni/types.ts";
import { LATEST_VERSION } from "../plugins/cni/version.ts";
import { PLUGINS } from "../plugins/registry.ts";

const OWN_NETNS = "/proc/self/ns/net";

class MachineHost implements PluginHost {
  readonly files: Files = new NodeFiles();
  readonly exec: Exec = new InProcessExec(PLUGINS, () => this, new ChildExec());
  readonly #plugin: string;
  readonly #connections = new Map<string, Promise<SocketBackend>>();
  readonly #locks = lockHost((ms) => new Promise((resolve) => setTimeout(resolve, ms)));

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  async backend(netnsPath: string, socket?: string): Promise<SocketBackend> {
    const sandbox = netnsPath === "" ? ({ kind: "missing" } as const) : await this.#sandbox(netnsPath);
    if (sandbox.kind === "kernel") {
      throw new CniError(
        NO_BACKEND,
        `sandbox ${netnsPath}: is a namespace of the kernel, and the kernel backend is not built yet`,
      );
    }
    if (sandbox.kind === "podwire") {
      const backend = await this.#connect(sandbox.socket);
      backend.alias(netnsPath, sandbox.netns);
      return backend;
    }
    const path = socket ?? (process.env.PODWIRE_SOCKET || undefined);
    if (path !== undefined) return this.#connect(path);
    if (netnsPath !== "") throw new CniError(BAD_NETNS, `CNI_NETNS: found "${netnsPath}", which does not exist`);
    throw new CniError(
      NO_BACKEND,
      "data plane: found no sandbox, expected podwire.socket in the configuration or PODWIRE_SOCKET",
    );
  }

  async #sandbox(path: string): ReturnType<typeof readSandbox> {
    try {
      return await readSandbox(path);
    } catch (error) {
      if (!(error instanceof SandboxFileError)) throw error;
      throw new CniError(BAD_NETNS, error.message, "", { cause: error });
    }
  }

  #connect(path: string): Promise<SocketBackend> {
    const known = this.#connections.get(path);
    if (known !== undefined) return known;
    const made = SocketBackend.connect(path).catch((error: unknown) => {
      if (!(error instanceof SocketBackendError)) throw error;
      throw new CniError(TRY_AGAIN, error.message, "is the emulator running?", { cause: error });
    });
    this.#connections.set(path, made);
    return made;
  }

  async isOwnNetns(netnsPath: string): Promise<boolean> {
    try {
      const [theirs, own] = [statSync(netnsPath), statSync(OWN_NETNS)];
      return theirs.dev === own.dev && theirs.ino === own.ino;
    } catch {
      return false;
    }
  }

  leases(dataDir: string, network: string): LeaseStore {
    return new FileLeaseStore(dataDir, network, this.#locks);
  }

  random(): number {
    return Math.random();
  }

  warn(text: string): void {
    process.stderr.write(`${this.#plugin}: ${text}\n`);
  }

  async close(): Promise<void> {
    for (const connection of this.#connections.values()) {
      try {
        await (await connection).close();
      } catch {
        // it was reported where it was used
      }
    }
  }
}

async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

function pluginName(): string {
  return process.env.PODWIRE_PLUGIN || basename(process.argv[1] ?? "");
}

/** Runs the plugin that this process was started as; answers the exit code. */
export async function main(): Promise<number> {
  const name = pluginName();
  const plugin = pluginNamed(PLUGINS, name);
  if (plugin === undefined) {
    const error = new CniError(
      BAD_PLUGIN,
      `plugin "${name}": not in this suite, expected one of ${Object.keys(PLUGINS).join(", ")}`,
    );
    process.stdout.write(`${errorJson(error, LATEST_VERSION)}\n`);
    return 1;
  }
  const host = new MachineHost(name);
  try {
    // by hand, without a command, there is nothing to wait for
    const stdin = (process.env.CNI_COMMAND ?? "") === "" ? "" : await readStdin();
    const { exitCode, stdout, stderr } = await runPlugin(plugin, process.env, stdin, host);
    process.stderr.write(stderr);
    process.stdout.write(stdout);
    return exitCode;
  } finally {
    await host.close();
  }
}

/** Whether this file is what the process was started with. Bundled as CommonJS it has a `__filename`. */
function isStarted(): boolean {
  if (typeof __filename !== "string") return false;
  try {
    return realpathSync(process.argv[1] ?? "") === realpathSync(__filename);
  } catch {
    return false;
  }
}

// not when it is imported
if (isStarted()) {
  void main().then((code) => {
    process.exitCode = code;
  });
}
