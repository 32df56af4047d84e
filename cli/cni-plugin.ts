/**
 * The CNI executable: one program for all plugins of the suite, which one is told by the name it is started under (or
 * PODWIRE_PLUGIN). It gives the plugins the machine's files, locks and child processes, and a data plane:
 *
 *     CNI_NETNS is a podwire sandbox file        the emulator behind its socket
 *     CNI_NETNS is a namespace of the kernel     the kernel
 *     it is empty or gone                        the configuration's `podwire.socket`, else the variable PODWIRE_SOCKET,
 *                                                else the kernel, if this process may change it
 *
 * It runs under Node, and compiled by Bun into one file. Starting is a good part of what a plugin costs, so everything
 * blocks (streams and promises of files take milliseconds to load), and what not every call needs is imported late.
 */
import { readSync, realpathSync, statSync, writeSync } from "node:fs";
import { basename, dirname } from "node:path";
import { type Libc, openLibc } from "../backend/kernel/ffi.ts";
import type { Backend } from "../backend/ops.ts";
import { readSandbox, SandboxFileError } from "../backend/sandbox-file.ts";
import type { Lock } from "../ipam/lock.ts";
import type { LeaseStore } from "../ipam/store.ts";
import { FileLeaseStore } from "../ipam/store-file.ts";
import { BAD_NETNS, BAD_PLUGIN, CniError, errorJson, NO_BACKEND, TRY_AGAIN } from "../plugins/cni/error.ts";
import { ChildExec, findPlugin } from "../plugins/cni/exec-child.ts";
import { InProcessExec } from "../plugins/cni/exec-in-process.ts";
import { NodeFiles } from "../plugins/cni/files-node.ts";
import type { Exec, ExecOutcome, ExecRequest, Files, PluginHost } from "../plugins/cni/host.ts";
import { runPlugin } from "../plugins/cni/skel.ts";
import { pluginNamed } from "../plugins/cni/types.ts";
import { LATEST_VERSION } from "../plugins/cni/version.ts";
import { PLUGINS } from "../plugins/registry.ts";
import { Flock } from "./flock.ts";

const OWN_NETNS = "/proc/self/ns/net";
const IS_BUN = "bun" in process.versions;

/** A plugin of the suite that stands in CNI_PATH beside this program runs in this process, others as a child. */
class SuiteExec implements Exec {
  readonly #inProcess: Exec;
  readonly #child: Exec = new ChildExec();

  constructor(host: () => PluginHost) {
    this.#inProcess = new InProcessExec(PLUGINS, host);
  }

  async run(request: ExecRequest): Promise<ExecOutcome> {
    const ours = pluginNamed(PLUGINS, request.type) !== undefined;
    if (ours && (request.path === "" || isBesideUs(findPlugin(request.type, request.path))))
      return this.#inProcess.run(request);
    return this.#child.run(request);
  }
}

function isBesideUs(file: string): boolean {
  const program = IS_BUN ? process.execPath : (process.argv[1] ?? "");
  return dirname(realpathSync(file)) === dirname(realpathSync(program));
}

class MachineHost implements PluginHost {
  readonly files: Files = new NodeFiles();
  readonly exec: Exec = new SuiteExec(() => this);
  readonly #plugin: string;
  readonly #libc: Libc | undefined;
  readonly #openLock: (dir: string) => Lock;
  readonly #connections = new Map<string, Promise<Backend>>();

  constructor(plugin: string, libc: Libc | undefined, openLock: (dir: string) => Lock) {
    this.#plugin = plugin;
    this.#libc = libc;
    this.#openLock = openLock;
  }

  async backend(netnsPath: string, socket?: string): Promise<Backend> {
    const sandbox = netnsPath === "" ? ({ kind: "missing" } as const) : await this.#sandbox(netnsPath);
    if (sandbox.kind === "kernel") return this.#kernel();
    if (sandbox.kind === "podwire") return this.#socket(sandbox.socket, [netnsPath, sandbox.netns]);
    const path = socket ?? (process.env.PODWIRE_SOCKET || undefined);
    if (path !== undefined) return this.#socket(path);
    if (process.platform === "linux" && process.getuid?.() === 0 && this.#libc !== undefined) return this.#kernel();
    if (netnsPath !== "") throw new CniError(BAD_NETNS, `CNI_NETNS: found "${netnsPath}", which does not exist`);
    throw new CniError(
      NO_BACKEND,
      "data plane: found no sandbox, expected podwire.socket in the configuration or PODWIRE_SOCKET, or root's rights",
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

  #kernel(): Promise<Backend> {
    return this.#connection("kernel", async () => {
      const { KernelBackend } = await import("../backend/kernel/kernel-backend.ts");
      if (this.#libc !== undefined) return new KernelBackend(this.#libc);
      throw new CniError(NO_BACKEND, "kernel: cannot be called from this program", "koffi is missing beside it");
    });
  }

  #socket(path: string, alias?: readonly [string, string]): Promise<Backend> {
    return this.#connection(path, async () => {
      const { SocketBackend, SocketBackendError } = await import("../backend/socket.ts");
      try {
        const backend = await SocketBackend.connect(path);
        if (alias !== undefined) backend.alias(...alias);
        return backend;
      } catch (error) {
        if (!(error instanceof SocketBackendError)) throw error;
        throw new CniError(TRY_AGAIN, error.message, "is the emulator running?", { cause: error });
      }
    });
  }

  #connection(key: string, open: () => Promise<Backend>): Promise<Backend> {
    const known = this.#connections.get(key);
    if (known !== undefined) return known;
    const made = open();
    this.#connections.set(key, made);
    return made;
  }

  async isOwnNetns(netnsPath: string): Promise<boolean> {
    const theirs = statSync(netnsPath, { throwIfNoEntry: false });
    const own = statSync(OWN_NETNS, { throwIfNoEntry: false });
    return theirs !== undefined && own !== undefined && theirs.dev === own.dev && theirs.ino === own.ino;
  }

  leases(dataDir: string, network: string): LeaseStore {
    return new FileLeaseStore(dataDir, network, this.#openLock);
  }

  random(): number {
    return Math.random();
  }

  warn(text: string): void {
    writeAll(2, `${this.#plugin}: ${text}\n`);
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

/** Undefined where native code cannot be called. */
async function libcIfAny(): Promise<Libc | undefined> {
  try {
    return await openLibc();
  } catch {
    return undefined;
  }
}

async function locksFor(libc: Libc | undefined): Promise<(dir: string) => Lock> {
  if (libc !== undefined) return (dir) => new Flock(dir, libc);
  const { fileLocks, lockHost } = await import("../ipam/file-lock.ts");
  return fileLocks(lockHost((ms) => new Promise((resolve) => setTimeout(resolve, ms))));
}

function isAgain(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EAGAIN";
}

/** A moment for the other end of a pipe that does not block. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

function writeAll(fd: number, text: string): void {
  const octets = Buffer.from(text);
  for (let at = 0; at < octets.length; ) {
    try {
      at += writeSync(fd, octets, at);
    } catch (error) {
      if (!isAgain(error)) return;
      pause();
    }
  }
}

function readStdin(): string {
  const parts: Buffer[] = [];
  const buffer = Buffer.allocUnsafe(64 * 1024);
  for (;;) {
    try {
      const length = readSync(0, buffer);
      if (length === 0) return Buffer.concat(parts).toString("utf8");
      parts.push(Buffer.from(buffer.subarray(0, length)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EOF") return Buffer.concat(parts).toString("utf8");
      if (!isAgain(error)) throw error;
      pause();
    }
  }
}

function pluginName(): string {
  return process.env.PODWIRE_PLUGIN || basename((IS_BUN ? process.argv0 : process.argv[1]) ?? "");
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
    writeAll(1, `${errorJson(error, LATEST_VERSION)}\n`);
    return 1;
  }
  const command = process.env.CNI_COMMAND ?? "";
  const libc = command === "" || command === "VERSION" ? undefined : await libcIfAny();
  const host = new MachineHost(name, libc, await locksFor(libc));
  try {
    // by hand, without a command, there is nothing to wait for
    const stdin = command === "" ? "" : readStdin();
    const { exitCode, stdout, stderr } = await runPlugin(plugin, process.env, stdin, host);
    writeAll(2, stderr);
    writeAll(1, stdout);
    return exitCode;
  } finally {
    await host.close();
  }
}

/** Whether this file is what the process was started with. Bundled as CommonJS it has a `__filename`. */
function isStarted(): boolean {
  if (IS_BUN || typeof __filename !== "string") return false;
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
