import { expect, it } from "vitest";
import type { KubeObject } from "../api/meta.ts";
import { storeContract } from "./store.contract.ts";
import { MemoryStore } from "./store-memory.ts";

storeContract("MemoryStore", async () => new MemoryStore({ now: () => 0 }));

it("writes timestamps of the virtual clock, counted from 2026", async () => {
  const leapDay = 59 + 365 * 2;
  const store = new MemoryStore({ now: () => (leapDay * 86400 + 3600 + 61) * 1000 });
  const config: KubeObject = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", namespace: "b" } };
  const made = await store.create(config);
  expect(made.metadata.creationTimestamp).toBe("2028-02-29T01:01:01Z");
});
