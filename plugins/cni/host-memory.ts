/** A plugin host of an emulated node: one backend, files and leases in memory, plugins in this process. */
import type { Backend } from "../../backend/ops.ts";
import type { LeaseStore } from "../../ipam/store.ts";
import { MemoryLeaseStore } from "../../ipam/store-memory.ts";
import { InProcessExec } from "./exec-in-process.ts";
import { MemoryFiles } from "./files-memory.ts";
import type { Exec, Files, PluginHost } from "./host.ts";
import type { PluginSet } from "./types.ts";

export type MemoryHostOptions = {
  readonly backend: Backend;
  readonly plugins: PluginSet;
  /** In [0, 1): names and MAC addresses come from it. */
  readonly random: () => number;
  readonly warn?: (text: string) => void;
  readonly files?: Files;
};

export function memoryHost(options: MemoryHostOptions): PluginHost {
  const stores = new Map<string, LeaseStore>();
  let exec: Exec | undefined;
  const host: PluginHost = {
    backend: async () => options.backend,
    isOwnNetns: async (path) => path === "host",
    files: options.files ?? new MemoryFiles(),
    leases: (dataDir, network) => {
      const key = `${dataDir}/${network}`;
      const store = stores.get(key) ?? new MemoryLeaseStore();
      stores.set(key, store);
      return store;
    },
    get exec(): Exec {
      exec ??= new InProcessExec(options.plugins, () => host);
      return exec;
    },
    random: options.random,
    warn: options.warn ?? (() => {}),
  };
  return host;
}
