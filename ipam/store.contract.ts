/** What every LeaseStore must do. Each implementation's test calls `leaseStoreContract` with a way to make one. */
import { describe, expect, it } from "vitest";
import type { LeaseStore } from "./store.ts";

const A = { containerId: "a", ifname: "eth0" };
const A1 = { containerId: "a", ifname: "eth1" };
const B = { containerId: "b", ifname: "eth0" };

export function leaseStoreContract(name: string, open: () => LeaseStore): void {
  describe(`${name} as a LeaseStore`, () => {
    it("reserves an address once", async () => {
      const store = open();
      expect(await store.locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(true);
      expect(await store.locked((l) => l.reserve("10.1.0.2", B, 0))).toBe(false);
      expect(await store.locked((l) => l.all())).toEqual([{ ip: "10.1.0.2", owner: A }]);
    });

    it("finds addresses by container and interface", async () => {
      const store = open();
      await store.locked(async (l) => {
        await l.reserve("10.1.0.2", A, 0);
        await l.reserve("fd00::2", A, 1);
        await l.reserve("10.1.0.3", A1, 0);
      });
      expect([...(await store.locked((l) => l.find(A)))].sort()).toEqual(["10.1.0.2", "fd00::2"]);
      expect(await store.locked((l) => l.find(B))).toEqual([]);
    });

    it("releases what an attachment holds and leaves the rest", async () => {
      const store = open();
      await store.locked(async (l) => {
        await l.reserve("10.1.0.2", A, 0);
        await l.reserve("10.1.0.3", A1, 0);
        await l.reserve("10.1.0.4", B, 0);
      });
      expect(await store.locked((l) => l.releaseOwner(A))).toEqual(["10.1.0.2"]);
      expect(await store.locked((l) => l.releaseOwner(A))).toEqual([]);
      const left = await store.locked((l) => l.all());
      expect(left.map((lease) => lease.ip).sort()).toEqual(["10.1.0.3", "10.1.0.4"]);
    });

    it("releases an address, and a free one without complaint", async () => {
      const store = open();
      await store.locked(async (l) => {
        await l.reserve("10.1.0.2", A, 0);
        await l.release("10.1.0.2");
        await l.release("10.1.0.9");
      });
      expect(await store.locked((l) => l.reserve("10.1.0.2", B, 0))).toBe(true);
    });

    it("remembers the last reserved address of each set, also after its release", async () => {
      const store = open();
      await store.locked(async (l) => {
        expect(await l.lastReserved(0)).toBeUndefined();
        await l.reserve("10.1.0.2", A, 0);
        await l.reserve("fd00::7", A, 1);
        await l.releaseOwner(A);
      });
      expect(await store.locked((l) => l.lastReserved(0))).toBe("10.1.0.2");
      expect(await store.locked((l) => l.lastReserved(1))).toBe("fd00::7");
      expect(await store.locked((l) => l.lastReserved(2))).toBeUndefined();
    });

    it("tells what is taken, reservations of the same call included", async () => {
      const store = open();
      await store.locked((l) => l.reserve("10.1.0.2", A, 0));
      await store.locked(async (l) => {
        const taken = await l.taken();
        await l.reserve("10.1.0.3", B, 0);
        expect(["10.1.0.2", "10.1.0.3", "10.1.0.4"].map(taken)).toEqual([true, true, false]);
      });
    });

    it("lets one in at a time", async () => {
      const store = open();
      let inside = 0;
      let most = 0;
      const visits = Array.from({ length: 8 }, (_, i) =>
        store.locked(async (l) => {
          most = Math.max(most, ++inside);
          await l.reserve(`10.1.0.${i + 2}`, { containerId: `c${i}`, ifname: "eth0" }, 0);
          await l.all();
          inside--;
        }),
      );
      await Promise.all(visits);
      expect(most).toBe(1);
      expect(await store.locked((l) => l.all())).toHaveLength(8);
    });

    it("lets the next one in after a failure", async () => {
      const store = open();
      await expect(store.locked(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
      expect(await store.locked((l) => l.reserve("10.1.0.2", A, 0))).toBe(true);
    });
  });
}
