/**
 * Which addresses an attachment holds, without reading every lease: an index beside the network's directory, one file an
 * attachment, so that a call costs the same with ten leases and with ten thousand.
 *
 *     DATADIR/.podwire/NETWORK/CONTAINERID:IFNAME   addresses, one a line
 *     DATADIR/.podwire/NETWORK/stamp                inode and times of DATADIR/NETWORK when the index was true
 *
 * The leases are the truth. Any change of theirs, by the reference plugin, by hand, or by a call that was killed before
 * it wrote the stamp, changes the directory's times; the index is then built anew. (A foreign change in the very clock
 * tick of the stamp would be missed; kernels since 6.13 keep such times apart.) What an entry says is checked against
 * the lease itself. Used only under the network's lock.
 */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lease, Owner } from "./lease.ts";
import { hasCode } from "./lock.ts";

/** Longer names are not kept: NAME_MAX is 255. */
const LONGEST_NAME = 240;
const STAMP = "stamp";

function nameOf(owner: Owner): string | undefined {
  const name = `${owner.containerId}:${owner.ifname}`;
  return name.length > LONGEST_NAME || name.includes("/") ? undefined : name;
}

export class OwnerIndex {
  readonly #dir: string;
  readonly #leases: string;
  readonly #read: () => readonly Lease[];
  #isTrue = false;
  #changed = false;

  /** `read` reads all leases, for when the index cannot be trusted. */
  constructor(dataDir: string, network: string, read: () => readonly Lease[]) {
    this.#dir = join(dataDir, ".podwire", network);
    this.#leases = join(dataDir, network);
    this.#read = read;
  }

  /** At the start of the work, under the lock. */
  begin(): void {
    this.#isTrue = textOf(join(this.#dir, STAMP)) === this.#now();
    this.#changed = false;
  }

  /** At the end of the work, before the lock goes. */
  finish(): void {
    if (this.#isTrue && this.#changed) writeFileSync(join(this.#dir, STAMP), this.#now(), { mode: 0o600 });
  }

  /** The addresses that an attachment may hold; undefined if only the leases can tell. */
  find(owner: Owner): readonly string[] | undefined {
    const name = nameOf(owner);
    if (name === undefined) return undefined;
    if (!this.#isTrue) this.#build();
    // leases of very old versions have no interface
    return [...this.#entry(name), ...this.#entry(`${owner.containerId}:`)];
  }

  /** A lease was made. */
  added(owner: Owner, ip: string): void {
    const name = nameOf(owner);
    if (!this.#isTrue) return;
    this.#changed = true;
    if (name !== undefined) this.#write(name, [...this.#entry(name), ip]);
  }

  /** A lease was released. */
  removed(owner: Owner, ip: string): void {
    const name = nameOf(owner);
    if (!this.#isTrue) return;
    this.#changed = true;
    if (name !== undefined)
      this.#write(
        name,
        this.#entry(name).filter((other) => other !== ip),
      );
  }

  #write(name: string, ips: readonly string[]): void {
    const path = join(this.#dir, name);
    if (ips.length === 0) rmSync(path, { force: true });
    else writeFileSync(path, ips.join("\n"), { mode: 0o600 });
  }

  #entry(name: string): readonly string[] {
    return textOf(join(this.#dir, name))
      .split("\n")
      .filter((line) => line !== "");
  }

  #now(): string {
    const { ino, mtimeNs, ctimeNs } = statSync(this.#leases, { bigint: true });
    return `${ino} ${mtimeNs} ${ctimeNs}`;
  }

  #build(): void {
    rmSync(this.#dir, { recursive: true, force: true });
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    const entries = new Map<string, string[]>();
    for (const { ip, owner } of this.#read()) {
      const name = owner === undefined ? undefined : nameOf(owner);
      if (name === undefined) continue;
      const known = entries.get(name);
      if (known === undefined) entries.set(name, [ip]);
      else known.push(ip);
    }
    for (const [name, ips] of entries) this.#write(name, ips);
    this.#isTrue = true;
    this.#changed = true;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT") || hasCode(error, "ENOTDIR")) return "";
    throw error;
  }
}
