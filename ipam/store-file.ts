/**
 * Leases as files, in the layout of the reference host-local plugin, so that either can take over a node from the other:
 *
 *     DATADIR/NETWORK/10.1.0.5             CONTAINERID\r\nIFNAME, mode 0600
 *     DATADIR/NETWORK/last_reserved_ip.0   the last address given from range set 0
 *     DATADIR/NETWORK/podwire.lock         our lock while it is held (file-lock.ts)
 *
 * A lease appears whole or not at all: it is written under another name and linked; the link fails if the address is
 * taken, even by a program that does not know our lock. Files that are no addresses are left alone. An unreadable lease
 * keeps its address taken, has no owner, and goes with the next GC.
 * Left out: an index by owner. `find` reads every lease, as the reference does.
 */
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileLock, hasCode, type LockHost } from "./file-lock.ts";
import { canonicalIp } from "./ip.ts";
import { formatOwner, isOwner, type Lease, type Owner, parseOwner } from "./lease.ts";
import { Mutex } from "./mutex.ts";
import { type LeaseStore, type LockedLeases, StoreError } from "./store.ts";

const LOCK_NAME = "podwire.lock";
/** One name is enough: only the holder of the lock writes. A crash leaves it, the next write replaces it. */
const DRAFT_NAME = "podwire.draft";
const LAST_PREFIX = "last_reserved_ip.";

function ioError(path: string, error: unknown): StoreError {
  return error instanceof StoreError
    ? error
    : new StoreError("IO", `lease ${path}: ${(error as Error).message}`, { cause: error });
}

export class FileLeaseStore implements LeaseStore {
  readonly #dir: string;
  readonly #lock: FileLock;
  readonly #mutex = new Mutex();

  constructor(dataDir: string, network: string, host: LockHost) {
    this.#dir = join(dataDir, network);
    this.#lock = new FileLock(join(this.#dir, LOCK_NAME), host);
  }

  locked<T>(work: (leases: LockedLeases) => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      try {
        mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
      } catch (error) {
        throw ioError(this.#dir, error);
      }
      return this.#lock.run(() => work(this.#view()));
    });
  }

  #view(): LockedLeases {
    const added = new Set<string>();
    return {
      reserve: async (ip, owner, set) => {
        const done = this.#reserve(ip, owner);
        if (done) {
          added.add(ip);
          this.#writeLast(set, ip);
        }
        return done;
      },
      release: async (ip) => {
        added.delete(ip);
        this.#release(ip);
      },
      releaseOwner: async (owner) => {
        const ips = this.#find(owner);
        for (const ip of ips) {
          added.delete(ip);
          this.#release(ip);
        }
        return ips;
      },
      find: async (owner) => this.#find(owner),
      taken: async () => {
        const names = new Set(this.#names());
        return (ip) => names.has(ip) || added.has(ip);
      },
      all: async () => this.#names().map((ip): Lease => ({ ip, owner: this.#ownerOf(ip) })),
      lastReserved: async (set) => this.#readLast(set),
    };
  }

  /** The addresses that have a file, canonical. */
  #names(): readonly string[] {
    try {
      return readdirSync(this.#dir).filter((name) => canonicalIp(name) === name);
    } catch (error) {
      throw ioError(this.#dir, error);
    }
  }

  #ownerOf(ip: string): Owner | undefined {
    const path = join(this.#dir, ip);
    try {
      return parseOwner(readFileSync(path, "utf8"));
    } catch (error) {
      if (hasCode(error, "ENOENT") || hasCode(error, "EISDIR")) return undefined;
      throw ioError(path, error);
    }
  }

  #find(owner: Owner): readonly string[] {
    return this.#names().filter((ip) => isOwner(this.#ownerOf(ip), owner));
  }

  #reserve(ip: string, owner: Owner): boolean {
    const path = join(this.#dir, ip);
    const draft = join(this.#dir, DRAFT_NAME);
    try {
      writeFileSync(draft, formatOwner(owner), { mode: 0o600 });
      linkSync(draft, path);
      return true;
    } catch (error) {
      if (hasCode(error, "EEXIST")) return false;
      throw ioError(path, error);
    } finally {
      this.#unlink(draft);
    }
  }

  #release(ip: string): void {
    this.#unlink(join(this.#dir, ip));
  }

  #unlink(path: string): void {
    try {
      unlinkSync(path);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw ioError(path, error);
    }
  }

  #writeLast(set: number, ip: string): void {
    const path = join(this.#dir, `${LAST_PREFIX}${set}`);
    const draft = join(this.#dir, DRAFT_NAME);
    try {
      writeFileSync(draft, ip, { mode: 0o600 });
      renameSync(draft, path);
    } catch (error) {
      throw ioError(path, error);
    }
  }

  #readLast(set: number): string | undefined {
    const path = join(this.#dir, `${LAST_PREFIX}${set}`);
    try {
      return canonicalIp(readFileSync(path, "utf8").trim());
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw ioError(path, error);
    }
  }
}
