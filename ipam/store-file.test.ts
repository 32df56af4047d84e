import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileLocks, type LockHost, lockHost } from "./file-lock.ts";
import { type Holder, holderOfThisProcess, isAlive } from "./holder.ts";
import type { Lock } from "./lock.ts";
import { leaseStoreContract } from "./store.contract.ts";
import { FileLeaseStore } from "./store-file.ts";

const A = { containerId: "a", ifname: "eth0" };
const host: LockHost = lockHost((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
/** Gives up at once where a living holder is in the way. */
const hasty: LockHost = { ...host, patienceMs: 0 };

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "podwire-ipam-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

leaseStoreContract("FileLeaseStore", () => new FileLeaseStore(dir, "net", fileLocks(host)));

/** As flock(2) is: it leaves the directory alone. One process, so it need not lock. */
const quiet = (): Lock => ({ quiet: true, run: (work) => work() });
leaseStoreContract("FileLeaseStore with an index", () => new FileLeaseStore(dir, "net", quiet));

/** A process that has just ended: its pid names nobody, or somebody who started later. */
function deadHolder(): Holder {
  const child = spawnSync(process.execPath, ["-e", ""]);
  return { ...host.self, pid: child.pid, start: "1" };
}

function plant(name: string, text: string): string {
  mkdirSync(join(dir, "net"), { recursive: true });
  const path = join(dir, "net", name);
  writeFileSync(path, text);
  return path;
}

describe("the files of a network", () => {
  it("have the layout of the reference plugin", async () => {
    const store = new FileLeaseStore(dir, "net", fileLocks(host));
    await store.locked((l) => l.reserve("10.1.0.2", A, 0));
    expect(readdirSync(join(dir, "net")).sort()).toEqual(["10.1.0.2", "last_reserved_ip.0"]);
    expect(readFileSync(join(dir, "net", "10.1.0.2"), "utf8")).toBe("a\r\neth0");
    expect(statSync(join(dir, "net", "10.1.0.2")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(dir, "net", "last_reserved_ip.0"), "utf8")).toBe("10.1.0.2");
  });

  it("are read where the reference plugin wrote them, the old form without an interface too", async () => {
    plant("10.1.0.7", "old-container");
    plant("lock", "");
    const store = new FileLeaseStore(dir, "net", fileLocks(host));
    expect(await store.locked((l) => l.find({ containerId: "old-container", ifname: "eth0" }))).toEqual(["10.1.0.7"]);
    expect(await store.locked((l) => l.all())).toHaveLength(1);
  });

  it("keep the address of an unreadable lease taken, owned by nobody", async () => {
    plant("10.1.0.2", "");
    const store = new FileLeaseStore(dir, "net", fileLocks(host));
    expect(await store.locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(false);
    expect(await store.locked((l) => l.all())).toEqual([{ ip: "10.1.0.2", owner: undefined }]);
  });

  it("forget a last reserved address that cannot be read", async () => {
    plant("last_reserved_ip.0", "10.1.");
    expect(await new FileLeaseStore(dir, "net", fileLocks(host)).locked((l) => l.lastReserved(0))).toBeUndefined();
  });

  it("survive a draft that a crash left", async () => {
    plant("podwire.draft", "half a le");
    const store = new FileLeaseStore(dir, "net", fileLocks(host));
    expect(await store.locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(true);
    expect(readFileSync(join(dir, "net", "10.1.0.2"), "utf8")).toBe("a\r\neth0");
  });
});

describe("the index of owners", () => {
  const B = { containerId: "b", ifname: "eth0" };
  const store = () => new FileLeaseStore(dir, "net", quiet);
  const find = (owner: typeof A) => store().locked((l) => l.find(owner));

  it("follows reservations and releases from call to call", async () => {
    await store().locked(async (l) => {
      expect(await l.find(A)).toEqual([]);
      await l.reserve("10.1.0.2", A, 0);
      await l.reserve("fd00::2", A, 1);
      await l.reserve("10.1.0.3", B, 0);
    });
    expect(await find(A)).toEqual(["10.1.0.2", "fd00::2"]);
    await store().locked((l) => l.release("10.1.0.2"));
    expect(await find(A)).toEqual(["fd00::2"]);
    expect(await store().locked((l) => l.releaseOwner(A))).toEqual(["fd00::2"]);
    expect(await find(A)).toEqual([]);
    expect(await find(B)).toEqual(["10.1.0.3"]);
  });

  it("does not read the leases of others", async () => {
    await store().locked(async (l) => {
      await l.find(A);
      await l.reserve("10.1.0.2", A, 0);
    });
    expect(readdirSync(join(dir, ".podwire", "net")).sort()).toEqual(["a:eth0", "stamp"]);
    // a lease whose text is changed in place keeps the directory's times: only who reads it sees the change
    writeFileSync(join(dir, "net", "10.1.0.2"), "b\r\neth0");
    expect(await find(B)).toEqual([]);
    expect(await find(A)).toEqual([]);
  });

  it("is built anew after others changed the leases", async () => {
    await store().locked(async (l) => {
      await l.find(A);
      await l.reserve("10.1.0.2", A, 0);
    });
    plant("10.1.0.9", "b\r\neth0");
    rmSync(join(dir, "net", "10.1.0.2"));
    expect(await find(B)).toEqual(["10.1.0.9"]);
    expect(await find(A)).toEqual([]);
  });

  it("is built anew after a call that did not come to its end", async () => {
    await store().locked((l) => l.find(A));
    const cut = store().locked(async (l) => {
      await l.reserve("10.1.0.4", B, 0);
      throw new Error("killed");
    });
    await expect(cut).rejects.toThrow("killed");
    rmSync(join(dir, ".podwire", "net", "b:eth0"));
    expect(await find(B)).toEqual(["10.1.0.4"]);
  });

  it("finds a lease without an interface", async () => {
    plant("10.1.0.7", "a");
    expect(await find(A)).toEqual(["10.1.0.7"]);
  });
});

describe("the lock", () => {
  it("of a dead process is broken, and leaves nothing behind", async () => {
    plant("podwire.lock", JSON.stringify({ ...deadHolder(), serial: "dead-1" }));
    plant("podwire.lock.new.77-1-1", JSON.stringify({ ...deadHolder(), serial: "dead-2" }));
    const store = new FileLeaseStore(dir, "net", fileLocks(hasty));
    await store.locked((l) => l.reserve("10.1.0.2", A, 0));
    expect(readdirSync(join(dir, "net")).sort()).toEqual(["10.1.0.2", "last_reserved_ip.0"]);
  });

  it("of a dead process is broken even if another died while breaking it", async () => {
    plant("podwire.lock", JSON.stringify({ ...deadHolder(), serial: "dead-1" }));
    plant("podwire.lock.break.dead-1", JSON.stringify({ ...deadHolder(), serial: "dead-2" }));
    const store = new FileLeaseStore(dir, "net", fileLocks(host));
    expect(await store.locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(true);
    expect(existsSync(join(dir, "net", "podwire.lock"))).toBe(false);
  });

  it("from before the last boot is broken", async () => {
    plant("podwire.lock", JSON.stringify({ ...host.self, boot: "another", serial: "old-1" }));
    expect(await new FileLeaseStore(dir, "net", fileLocks(hasty)).locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(
      true,
    );
  });

  it("that cannot be read is broken", async () => {
    plant("podwire.lock", "");
    expect(await new FileLeaseStore(dir, "net", fileLocks(hasty)).locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(
      true,
    );
  });

  it("of a living process is waited for, then reported with its pid", async () => {
    plant("podwire.lock", JSON.stringify({ ...host.self, serial: "alive-1" }));
    await expect(new FileLeaseStore(dir, "net", fileLocks(hasty)).locked((l) => l.all())).rejects.toMatchObject({
      code: "LOCKED",
      message: expect.stringContaining(`held by process ${process.pid}`),
    });
  });

  it("of a holder in another pid namespace is not broken", () => {
    const self = holderOfThisProcess();
    expect(isAlive({ ...self, pid: 4_000_000, pidns: "pid:[1]" }, self)).toBe(true);
    expect(isAlive({ ...self, pid: 4_000_000 }, self)).toBe(false);
    expect(isAlive(self, self)).toBe(true);
  });

  it("keeps two stores on one directory apart", async () => {
    const stores = [new FileLeaseStore(dir, "net", fileLocks(host)), new FileLeaseStore(dir, "net", fileLocks(host))];
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        stores[i % 2]?.locked(async (l) => {
          most = Math.max(most, ++inside);
          await l.reserve(`10.1.0.${i + 2}`, { containerId: `c${i}`, ifname: "eth0" }, 0);
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
  });
});
