/** What every store must do; run against each implementation. */
import { describe, expect, it } from "vitest";
import type { ConfigMap } from "../api/config.ts";
import type { Pod } from "../api/pod.ts";
import { isApiError } from "./api-error.ts";
import type { Store, WatchEvent } from "./store.ts";

const config = (name: string, data: Record<string, string> = {}, namespace = "default"): ConfigMap => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace },
  data,
});
const pod = (name: string, labels: Record<string, string>, node?: string): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name,
    namespace: "default",
    labels,
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "rs", uid: "u1", controller: true }],
  },
  spec: { containers: [{ name: "c", image: "i" }], ...(node === undefined ? {} : { nodeName: node }) },
});

async function reasonOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (error) {
    for (const reason of ["NotFound", "AlreadyExists", "Conflict", "Invalid", "Expired"] as const)
      if (isApiError(error, reason)) return reason;
    throw error;
  }
  return "no error";
}

export function storeContract(name: string, make: () => Promise<Store>): void {
  describe(`${name} as a store`, () => {
    it("gives a created object uid, version, generation and creation time", async () => {
      const store = await make();
      const made = await store.create(config("a"));
      expect(made.metadata).toMatchObject({ resourceVersion: "1", generation: 1 });
      expect(made.metadata.uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(made.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      expect(store.get("ConfigMap", "default", "a")).toEqual(made);
    });

    it("refuses a second object of a name, and changes to one that is not there", async () => {
      const store = await make();
      await store.create(config("a"));
      expect(await reasonOf(store.create(config("a")))).toBe("AlreadyExists");
      expect(await reasonOf(store.update(config("b")))).toBe("NotFound");
      expect(await reasonOf(store.delete("ConfigMap", "default", "b"))).toBe("NotFound");
      expect(await reasonOf(store.create(config("")))).toBe("Invalid");
      expect(store.revision).toBe(1);
    });

    it("refuses an update that was made from an older version", async () => {
      const store = await make();
      const first = await store.create(config("a"));
      await store.update({ ...first, data: { k: "1" } });
      expect(await reasonOf(store.update({ ...first, data: { k: "2" } }))).toBe("Conflict");
      expect(store.get("ConfigMap", "default", "a")?.data).toEqual({ k: "1" });
    });

    it("accepts an update without a version", async () => {
      const store = await make();
      await store.create(config("a"));
      await store.update(config("a", { k: "2" }));
      expect(store.get("ConfigMap", "default", "a")?.data).toEqual({ k: "2" });
    });

    it("does nothing when what is written is stored already", async () => {
      const store = await make();
      const first = await store.create(config("a", { k: "1" }));
      const events: WatchEvent[] = [];
      store.watch({}, (e) => events.push(e));
      await store.update(config("a", { k: "1" }));
      expect(events).toEqual([]);
      expect(store.get("ConfigMap", "default", "a")).toEqual(first);
    });

    it("counts the generation with the spec and not with the status", async () => {
      const store = await make();
      const made = await store.create(pod("p", {}));
      const withStatus = await store.update({ ...made, status: { phase: "Running" as const } });
      expect(withStatus.metadata.generation).toBe(1);
      const moved = await store.update({ ...withStatus, spec: { ...withStatus.spec, nodeName: "node-1" } });
      expect(moved.metadata).toMatchObject({ generation: 2, resourceVersion: "3" });
    });

    it("lists by namespace, labels, selector, owner and node, sorted", async () => {
      const store = await make();
      for (const p of [
        pod("c", { app: "x", tier: "a" }, "node-1"),
        pod("a", { app: "x", tier: "b" }, "node-2"),
        pod("b", { app: "y" }),
      ])
        await store.create(p);
      await store.create({
        ...pod("other", { app: "x" }),
        metadata: { name: "other", namespace: "z", labels: { app: "x" } },
      });
      const names = (options: Parameters<Store["list"]>[1]): string[] =>
        store.list("Pod", options).map((p) => p.metadata.name);
      expect(names({})).toEqual(["a", "b", "c", "other"]);
      expect(names({ namespace: "default", labels: { app: "x" } })).toEqual(["a", "c"]);
      expect(names({ labels: { app: "x", tier: "a" } })).toEqual(["c"]);
      expect(names({ labels: { app: "none" } })).toEqual([]);
      expect(names({ selector: { matchExpressions: [{ key: "tier", operator: "NotIn", values: ["a"] }] } })).toEqual([
        "a",
        "b",
        "other",
      ]);
      expect(names({ owner: "u1" })).toEqual(["a", "b", "c"]);
      expect(names({ node: "node-2" })).toEqual(["a"]);
    });

    it("keeps its indexes right when labels change and objects go", async () => {
      const store = await make();
      const made = await store.create(pod("p", { app: "x" }));
      await store.update({ ...made, metadata: { ...made.metadata, labels: { app: "y" } } });
      expect(store.list("Pod", { labels: { app: "x" } })).toEqual([]);
      expect(store.list("Pod", { labels: { app: "y" } })).toHaveLength(1);
      await store.delete("Pod", "default", "p");
      expect(store.list("Pod", { labels: { app: "y" } })).toEqual([]);
      expect(store.list("Pod")).toEqual([]);
    });

    it("tells watchers what came, in order, with what was before", async () => {
      const store = await make();
      const seen: string[] = [];
      const stop = store.watch({ kinds: ["ConfigMap"] }, (e) =>
        seen.push(
          `${e.revision} ${e.type} ${(e.previous as ConfigMap | undefined)?.data?.k ?? "-"} ${(e.object as ConfigMap).data?.k ?? "-"}`,
        ),
      );
      await store.create(config("a", { k: "1" }));
      await store.create(pod("p", {}));
      await store.update(config("a", { k: "2" }));
      await store.delete("ConfigMap", "default", "a");
      stop();
      await store.create(config("late"));
      expect(seen).toEqual(["1 ADDED - 1", "3 MODIFIED 1 2", "4 DELETED 2 2"]);
    });

    it("replays from a revision, or shows what exists first", async () => {
      const store = await make();
      await store.create(config("b"));
      await store.create(config("a"));
      await store.update(config("b", { k: "2" }));
      const after: string[] = [];
      store.watch({ from: 1 }, (e) => after.push(`${e.type} ${e.object.metadata.name}`));
      const all: string[] = [];
      store.watch({ from: 0 }, (e) => all.push(`${e.type} ${e.object.metadata.name}`));
      await store.create(config("c"));
      expect(after).toEqual(["ADDED a", "MODIFIED b", "ADDED c"]);
      expect(all).toEqual(["ADDED a", "ADDED b", "ADDED c"]);
    });

    it("refuses to replay from a revision that it no longer knows", async () => {
      const store = await make();
      const made = await store.create(config("a"));
      for (let i = 0; i < 20_000; i++)
        await store.update({ ...made, metadata: { name: "a", namespace: "default" }, data: { k: String(i) } });
      expect(() => store.watch({ from: 1 }, () => undefined)).toThrow(/revision 1: too old/);
      expect(() => store.watch({ from: 99_999 }, () => undefined)).toThrow(/revision 99999: the last one is 20001/);
    });
  });
}
