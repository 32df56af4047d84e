/**
 * A lock between processes without native code: a file that exists while the lock is held and names its holder.
 *
 * The file appears whole (written under another name, then link(2), which fails if the name exists). If its holder is
 * dead it is broken. Breaking must not hit a successor's lock: every lock has a serial that is never used again, and
 * only who holds the lock named `PATH.break.SERIAL`, taken the same way, may remove the file, after reading that it
 * still carries that serial.
 *
 * Limits: needs a file system with hard links; a holder in another pid namespace is waited for, not broken; other
 * programs that use flock(2), such as the reference host-local, do not see it.
 */
import { linkSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { threadId } from "node:worker_threads";
import { type Holder, holderOfThisProcess, isAlive } from "./holder.ts";
import { hasCode, type Lock } from "./lock.ts";
import { StoreError } from "./store.ts";

export type LockHost = {
  readonly self: Holder;
  readonly isAlive: (holder: Holder) => boolean;
  readonly sleep: (ms: number) => Promise<void>;
  /** How long to wait for a living holder. */
  readonly patienceMs: number;
};

export function lockHost(sleep: (ms: number) => Promise<void>, patienceMs: number = 60_000): LockHost {
  const self = holderOfThisProcess();
  return { self, isAlive: (holder) => isAlive(holder, self), sleep, patienceMs };
}

type Held = { readonly holder: Holder | undefined; readonly serial: string };

const LOCK_NAME = "podwire.lock";
const FIRST_WAIT_MS = 1;
const LONGEST_WAIT_MS = 16;

/** With pid, start, thread, boot and pid namespace this is never the same twice on a node. */
let serials = 0;

/** Locks as files in the directories that they protect. */
export function fileLocks(host: LockHost): (dir: string) => Lock {
  return (dir) => new FileLock(join(dir, LOCK_NAME), host);
}

export class FileLock implements Lock {
  readonly quiet: boolean = false;
  readonly #path: string;
  readonly #host: LockHost;

  constructor(path: string, host: LockHost) {
    this.#path = path;
    this.#host = host;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#acquire();
    try {
      return await work();
    } finally {
      remove(this.#path);
    }
  }

  async #acquire(): Promise<void> {
    let waited = 0;
    for (let wait = FIRST_WAIT_MS; !this.#tryTake(this.#path); wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      const held = readHeld(this.#path);
      if (held === undefined) continue;
      if (this.#breakDead(this.#path, held)) continue;
      if (waited >= this.#host.patienceMs) {
        throw new StoreError(
          "LOCKED",
          `lock ${this.#path}: still held by process ${held.holder?.pid} after ${waited} ms`,
        );
      }
      await this.#host.sleep(wait);
      waited += wait;
    }
  }

  #tryTake(path: string): boolean {
    const { self } = this.#host;
    const place = `${self.boot.slice(0, 8)}-${self.pidns.replace(/\D/g, "")}`;
    const serial = `${place}-${self.pid}-${self.start}-${threadId}-${++serials}`;
    const mine = `${path}.new.${serial}`;
    try {
      writeFileSync(mine, JSON.stringify({ ...self, serial }), { mode: 0o600 });
      linkSync(mine, path);
      return true;
    } catch (error) {
      if (hasCode(error, "EEXIST")) return false;
      throw new StoreError("IO", `lock ${path}: ${(error as Error).message}`, { cause: error });
    } finally {
      remove(mine);
    }
  }

  /** Removes the lock of a dead holder; false if the holder lives or somebody else is breaking it. */
  #breakDead(path: string, held: Held): boolean {
    if (held.holder !== undefined && this.#host.isAlive(held.holder)) return false;
    const breaking = `${path}.break.${held.serial}`;
    if (!this.#tryTake(breaking)) {
      const other = readHeld(breaking);
      if (other !== undefined) this.#breakDead(breaking, other);
      return false;
    }
    try {
      if (readHeld(path)?.serial === held.serial) remove(path);
      this.#sweep();
    } finally {
      remove(breaking);
    }
    return true;
  }

  /** Files that dead processes left while they tried to take the lock. */
  #sweep(): void {
    const prefix = `${basename(this.#path)}.new.`;
    const dir = dirname(this.#path);
    for (const name of readdirSync(dir)) {
      if (!name.startsWith(prefix)) continue;
      const held = readHeld(join(dir, name));
      if (held?.holder !== undefined && !this.#host.isAlive(held.holder)) remove(join(dir, name));
    }
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw new StoreError("IO", `${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Undefined if there is no such lock. One that cannot be read (power loss) has no holder, and so is dead. */
function readHeld(path: string): Held | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw new StoreError("IO", `lock ${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    const value = JSON.parse(text) as Partial<Holder> & { readonly serial?: unknown };
    if (typeof value.pid === "number" && typeof value.serial === "string" && /^[\w-]+$/.test(value.serial)) {
      const holder = { pid: value.pid, start: `${value.start}`, boot: `${value.boot}`, pidns: `${value.pidns}` };
      return { holder, serial: value.serial };
    }
  } catch {
    // falls through: whatever it is, no living process of ours wrote it
  }
  return { holder: undefined, serial: "unreadable" };
}
