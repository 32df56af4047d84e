/** Leases in memory: for a node of the emulator, where nothing outlives the process. */
import { isOwner, type Lease, type Owner } from "./lease.ts";
import { Mutex } from "./mutex.ts";
import type { LeaseStore, LockedLeases } from "./store.ts";

export class MemoryLeaseStore implements LeaseStore {
  readonly #owners = new Map<string, Owner>();
  /** Addresses by container id: a container has few. */
  readonly #ips = new Map<string, Set<string>>();
  readonly #last = new Map<number, string>();
  readonly #mutex = new Mutex();

  locked<T>(work: (leases: LockedLeases) => Promise<T>): Promise<T> {
    return this.#mutex.run(() => work(this.#view));
  }

  readonly #view: LockedLeases = {
    reserve: async (ip, owner, set) => {
      if (this.#owners.has(ip)) return false;
      this.#owners.set(ip, owner);
      const ips = this.#ips.get(owner.containerId);
      if (ips === undefined) this.#ips.set(owner.containerId, new Set([ip]));
      else ips.add(ip);
      this.#last.set(set, ip);
      return true;
    },
    release: async (ip) => this.#release(ip),
    releaseOwner: async (owner) => {
      const ips = this.#find(owner);
      for (const ip of ips) this.#release(ip);
      return ips;
    },
    find: async (owner) => this.#find(owner),
    taken: async () => (ip) => this.#owners.has(ip),
    all: async () => [...this.#owners].map(([ip, owner]): Lease => ({ ip, owner })),
    lastReserved: async (set) => this.#last.get(set),
  };

  #find(owner: Owner): readonly string[] {
    const ips = this.#ips.get(owner.containerId);
    return ips === undefined ? [] : [...ips].filter((ip) => isOwner(this.#owners.get(ip), owner));
  }

  #release(ip: string): void {
    const owner = this.#owners.get(ip);
    if (owner === undefined) return;
    this.#owners.delete(ip);
    const ips = this.#ips.get(owner.containerId);
    ips?.delete(ip);
    if (ips?.size === 0) this.#ips.delete(owner.containerId);
  }
}
