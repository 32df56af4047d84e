/**
 * A plugin's view of the world. Plugins touch nothing else: no file system, no process, no clock.
 *
 * Implementations: `host-memory.ts` (a node of the emulator, and tests) and the executable in `cli/`.
 */
import type { Backend } from "../../backend/ops.ts";
import type { LeaseStore } from "../../ipam/store.ts";

export interface Files {
  /** Undefined if there is no such file. */
  read(path: string): Promise<string | undefined>;
  /** Replaces the file as a whole; makes its directories (0700 when `mode` is 0600, else 0755). */
  write(path: string, text: string, mode?: number): Promise<void>;
  /** A missing file is fine. */
  remove(path: string): Promise<void>;
  /** Names in a directory, sorted; none if there is no such directory. */
  list(dir: string): Promise<readonly string[]>;
}

export type ExecRequest = {
  /** The plugin's name: `type` in the configuration. */
  readonly type: string;
  /** CNI_PATH: directories with colons between. */
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
};
export type ExecOutcome = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

/** How a plugin is run: in this process or as a child. Throws CniError where there is no such plugin. */
export interface Exec {
  run(request: ExecRequest): Promise<ExecOutcome>;
}

export interface PluginHost {
  /**
   * The data plane that serves a sandbox path. With "" (DEL, GC and STATUS may have none) the default one of this host:
   * `socket`, the configuration's `podwire.socket`, if given, else what the host was set up with (the executable:
   * the variable PODWIRE_SOCKET).
   */
  backend(netnsPath: string, socket?: string): Promise<Backend>;
  /** Whether the path is the namespace that the plugin itself runs in. */
  isOwnNetns(netnsPath: string): Promise<boolean>;
  readonly files: Files;
  leases(dataDir: string, network: string): LeaseStore;
  readonly exec: Exec;
  /** In [0, 1). */
  random(): number;
  warn(text: string): void;
}
