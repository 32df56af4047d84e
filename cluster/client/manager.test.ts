import { describe, expect, it } from "vitest";
import type { ConfigMap } from "../api/config.ts";
import { MemoryStore } from "../store/store-memory.ts";
import { type Controller, Manager } from "./manager.ts";

const config = (name: string): ConfigMap => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace: "n" },
});

function recorder(
  log: string[],
  onSync: (keys: readonly string[]) => Promise<void> = async () => undefined,
): Controller {
  return {
    name: "recorder",
    kinds: ["ConfigMap"],
    keys: (e) => [e.object.metadata.name],
    sync: async (keys) => {
      log.push(keys.join(" "));
      await onSync(keys);
    },
  };
}

describe("the manager", () => {
  it("hands over what existed and what came, each key once, sorted", async () => {
    const store = new MemoryStore({ now: () => 0 });
    await store.create(config("c"));
    const log: string[] = [];
    const manager = new Manager(store, [recorder(log)]);
    await store.create(config("b"));
    await store.create(config("a"));
    await store.delete("ConfigMap", "n", "b");
    await manager.settle();
    await manager.settle();
    expect(log).toEqual(["a b c"]);
  });

  it("goes on while syncs make work", async () => {
    const store = new MemoryStore({ now: () => 0 });
    const log: string[] = [];
    const manager = new Manager(store, [
      recorder(log, async (keys) => {
        const next = Number(keys[0]) + 1;
        if (next < 4) await store.create(config(String(next)));
      }),
    ]);
    await store.create(config("1"));
    await manager.settle();
    expect(log).toEqual(["1", "2", "3"]);
  });

  it("says who does not settle", async () => {
    const store = new MemoryStore({ now: () => 0 });
    let n = 0;
    const manager = new Manager(store, [recorder([], async () => void (await store.create(config(`c${n++}`))))]);
    await store.create(config("start"));
    await expect(manager.settle(10)).rejects.toThrow(
      "cluster: does not settle after 10 rounds; still dirty: recorder (c9)",
    );
  });

  it("runs a key that was marked by hand", async () => {
    const log: string[] = [];
    const manager = new Manager(new MemoryStore({ now: () => 0 }), [recorder(log)]);
    manager.mark("recorder", "x");
    await manager.settle();
    expect(log).toEqual(["x"]);
  });
});
