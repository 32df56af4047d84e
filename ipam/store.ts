/**
 * The LeaseStore seam: reservations of one network under one lock.
 *
 * Implementations: `store-memory.ts` and `store-file.ts` (the directory layout of the reference host-local plugin);
 * `store.contract.ts` is the suite for both. A choice and its reservation belong in one `locked` call.
 */
import type { Lease, Owner } from "./lease.ts";

export interface LeaseStore {
  /** Runs the work while nobody else, in this process or another, changes the leases of this network. Not reentrant. */
  locked<T>(work: (leases: LockedLeases) => Promise<T>): Promise<T>;
}

/** Addresses are canonical text (RFC 5952). Usable only within the `locked` call that gave it. */
export interface LockedLeases {
  /** False where the address is taken. Also remembers it as the last reserved one of the set. */
  reserve(ip: string, owner: Owner, set: number): Promise<boolean>;
  /** A free address is fine. */
  release(ip: string): Promise<void>;
  /** Releases all that an attachment holds and tells which. */
  releaseOwner(owner: Owner): Promise<readonly string[]>;
  /** The addresses that an attachment holds. */
  find(owner: Owner): Promise<readonly string[]>;
  /** A test for being taken, as of now and of the reservations made since through this object. */
  taken(): Promise<(ip: string) => boolean>;
  all(): Promise<readonly Lease[]>;
  lastReserved(set: number): Promise<string | undefined>;
}

/** LOCKED: another holder did not let go in time. IO: the medium failed. */
export class StoreError extends Error {
  override readonly name: string = "StoreError";
  readonly code: "LOCKED" | "IO";
  constructor(code: "LOCKED" | "IO", message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
