/**
 * The reference host-local's own lock: flock(2) on the file `lock` of a network's directory, so that both kinds of plugin
 * keep each other out. The kernel lets go of it when its holder dies, however that happens.
 */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { errnoName } from "../backend/kernel/errno.ts";
import type { Libc } from "../backend/kernel/ffi.ts";
import type { Lock } from "../ipam/lock.ts";
import { StoreError } from "../ipam/store.ts";

const LOCK_EX = 2;
const EINTR = 4;

export class Flock implements Lock {
  readonly quiet: boolean = true;
  readonly #path: string;
  readonly #libc: Libc;

  constructor(dir: string, libc: Libc) {
    this.#path = join(dir, "lock");
    this.#libc = libc;
  }

  /** Waits as long as it takes; that blocks all of this process, which has one such lock at a time. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    let fd: number;
    try {
      fd = openSync(this.#path, "a+", 0o600);
    } catch (cause) {
      throw new StoreError("IO", `lock ${this.#path}: ${(cause as Error).message}`, { cause });
    }
    try {
      while (this.#libc.flock(fd, LOCK_EX) < 0) {
        const errno = this.#libc.errno();
        if (errno !== EINTR) throw new StoreError("IO", `lock ${this.#path}: ${errnoName(errno)}`);
      }
      return await work();
    } finally {
      closeSync(fd);
    }
  }
}
