/**
 * Leases as files, in the layout of the reference host-local plugin, so that either can take over a node from the other:
 *
 *     DATADIR/NETWORK/10.1.0.5             CONTAINERID\r\nIFNAME, mode 0600
 *     DATADIR/NETWORK/last_reserved_ip.0   the last address given from range set 0
 *     DATADIR/NETWORK/podwire.lock         our lock while it is held (file-lock.ts), or
 *     DATADIR/NETWORK/lock                 the reference's own lock, where flock(2) can be called
 *
 * A lease appears whole or not at all: it is written under another name and linked; the link fails if the address is
 * taken, even by a program that does not know our lock. Files that are no addresses are left alone. An unreadable lease
 * keeps its address taken, has no owner, and goes with the next GC.
 * Where the lock leaves the directory untouched an index by owner saves reading every lease (owner-index.ts).
 */
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { canonicalIp } from "./ip.ts";
import { formatOwner, isOwner, type Lease, type Owner, parseOwner } from "./lease.ts";
import { hasCode, type Lock } from "./lock.ts";
import { Mutex } from "./mutex.ts";
import { OwnerIndex } from "./owner-index.ts";
import { type LeaseStore, type LockedLeases, StoreError } from "./store.ts";

/** One name is enough: only the holder of the lock writes. A crash leaves it, the next write replaces it. */
const DRAFT_NAME = "podwire.draft";
const FEW_QUESTIONS = 16;
const LAST_PREFIX = "last_reserved_ip.";

function ioError(path: string, error: unknown): StoreError {
  return error instanceof StoreError
    ? error
    : new StoreError("IO", `lease ${path}: ${(error as Error).message}`, { cause: error });
}

export class FileLeaseStore implements LeaseStore {
  readonly #dir: string;
  readonly #openLock: (dir: string) => Lock;
  readonly #index: OwnerIndex;
  readonly #mutex = new Mutex();

  /** `openLock` makes the lock of a directory. */
  constructor(dataDir: string, network: string, openLock: (dir: string) => Lock) {
    this.#dir = join(dataDir, network);
    this.#openLock = openLock;
    this.#index = new OwnerIndex(dataDir, network, () => this.#all());
  }

  locked<T>(work: (leases: LockedLeases) => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      try {
        mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
      } catch (error) {
        throw ioError(this.#dir, error);
      }
      const lock = this.#openLock(this.#dir);
      const index = lock.quiet ? this.#index : undefined;
      return lock.run(async () => {
        index?.begin();
        const result = await work(this.#view(index));
        index?.finish();
        return result;
      });
    });
  }

  #view(index: OwnerIndex | undefined): LockedLeases {
    const added = new Set<string>();
    const release = (ip: string): void => {
      const owner = index === undefined ? undefined : this.#ownerOf(ip);
      added.delete(ip);
      this.#release(ip);
      if (owner !== undefined) index?.removed(owner, ip);
    };
    const find = (owner: Owner): readonly string[] => {
      const ips = index?.find(owner) ?? this.#names();
      return ips.filter((ip) => isOwner(this.#ownerOf(ip), owner));
    };
    return {
      reserve: async (ip, owner, set) => {
        const done = this.#reserve(ip, owner);
        if (done) {
          added.add(ip);
          this.#writeLast(set, ip);
          index?.added(owner, ip);
        }
        return done;
      },
      release: async (ip) => release(ip),
      releaseOwner: async (owner) => {
        const ips = find(owner);
        for (const ip of ips) release(ip);
        return ips;
      },
      find: async (owner) => find(owner),
      taken: async () => this.#taken(added),
      all: async () => this.#all(),
      lastReserved: async (set) => this.#readLast(set),
    };
  }

  /** The first questions ask the file system; who asks on gets all names read at once. */
  #taken(added: ReadonlySet<string>): (ip: string) => boolean {
    let asked = 0;
    let names: ReadonlySet<string> | undefined;
    return (ip) => {
      if (added.has(ip)) return true;
      if (names === undefined && ++asked <= FEW_QUESTIONS) return existsSync(join(this.#dir, ip));
      names ??= new Set(this.#names());
      return names.has(ip);
    };
  }

  #all(): readonly Lease[] {
    return this.#names().map((ip): Lease => ({ ip, owner: this.#ownerOf(ip) }));
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
