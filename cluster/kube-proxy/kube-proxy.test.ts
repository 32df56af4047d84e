import { describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import type { Backend } from "../../backend/ops.ts";
import type { Family } from "../api/ip.ts";
import { Manager } from "../client/manager.ts";
import { nodeObject } from "../kubelet/node-object.ts";
import { MemoryStore } from "../store/store-memory.ts";
import { DEFAULT_PROXY_CONFIG } from "./config.ts";
import { KubeProxy } from "./kube-proxy.ts";
import { service, slice } from "./testing.ts";

type Harness = { store: MemoryStore; manager: Manager; proxy: KubeProxy; backend: Backend; save(): Promise<string> };

async function harness(backend: Backend = new FakeBackend(), families: readonly Family[] = [4]): Promise<Harness> {
  const store = new MemoryStore({ now: () => 0 });
  const proxy = new KubeProxy({
    nodeName: "n1",
    backend,
    config: { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.244.0.0/16,fd00:10:244::/56" },
    families,
  });
  const manager = new Manager(store, [proxy]);
  await store.create(nodeObject({ name: "n1", ips: ["192.168.0.11"], zone: "za" }));
  await store.create(nodeObject({ name: "n2", ips: ["192.168.0.12"] }));
  await manager.settle();
  return { store, manager, proxy, backend, save: () => backend.iptablesSave("host", "ipv4") };
}

const web = (ip = "10.96.0.9"): ReturnType<typeof service> =>
  service("d/web", { clusterIP: ip, ports: [{ port: 80 }] });

describe("kube-proxy", () => {
  it("writes everything first and then only what changed", async () => {
    const { store, manager, proxy, save } = await harness();
    expect(proxy.lastSync.kind).toBe("full");
    await store.create(web());
    await store.create(slice("d/web", "", 8080, ["10.244.1.5@n1", "10.244.2.5@n2"]));
    await manager.settle();
    expect(proxy.lastSync).toMatchObject({ kind: "partial", services: 1 });
    const text = await save();
    expect(text).toContain("10.244.1.5:8080");
    expect(text.match(/-A PREROUTING/g)).toHaveLength(1);
    await store.update(slice("d/web", "", 8080, ["10.244.2.5@n2"]));
    await manager.settle();
    expect(await save()).not.toContain("10.244.1.5:8080");
    await store.delete("Service", "d", "web");
    await manager.settle();
    expect(await save()).not.toMatch(/KUBE-SVC|KUBE-SEP/);
  });

  it("does not double its jumps on a full sync, and drops chains of services that went meanwhile", async () => {
    const { store, manager, proxy, save } = await harness();
    await store.create(web());
    await store.create(slice("d/web", "", 8080, ["10.244.1.5"]));
    await manager.settle();
    const before = await save();
    proxy.resync();
    manager.mark(proxy.name, "sync");
    await manager.settle();
    expect(proxy.lastSync.kind).toBe("full");
    expect((await save()).split("\n").sort()).toEqual(before.split("\n").sort());
  });

  it("computes everything anew when its own node changes, and looks away when another does", async () => {
    const { store, manager, proxy, save } = await harness();
    await store.create(web());
    const close = slice("d/web", "", 8080, [
      { addresses: ["10.244.1.5"], hints: { forZones: [{ name: "za" }] } },
      { addresses: ["10.244.2.5"], hints: { forZones: [{ name: "zb" }] } },
    ]);
    await store.create(close);
    await manager.settle();
    expect(await save()).not.toContain("10.244.2.5");
    await store.update(nodeObject({ name: "n2", ips: ["192.168.0.13"] }));
    await manager.settle();
    expect(proxy.lastSync.kind).toBe("partial");
    await store.update(nodeObject({ name: "n1", ips: ["192.168.0.11"], zone: "zb" }));
    await manager.settle();
    expect(proxy.lastSync.kind).toBe("full");
    const text = await save();
    expect(text).toContain("10.244.2.5:8080");
    expect(text).not.toContain("10.244.1.5");
  });

  it("sets route_localnet where node ports answer on localhost", async () => {
    const { backend } = await harness();
    expect(await backend.sysctl("host", "net.ipv4.conf.all.route_localnet")).toBe("1");
  });

  it("writes everything after a partial sync has failed", async () => {
    const fake = new FakeBackend();
    let broken = false;
    const backend = new Proxy(fake, {
      get: (target, key) => {
        if (key === "apply" && broken) return async () => Promise.reject(new Error("xtables lock"));
        const value: unknown = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const { store, manager, proxy, save } = await harness(backend);
    await store.create(web());
    await store.create(slice("d/web", "", 8080, ["10.244.1.5"]));
    broken = true;
    await expect(manager.settle()).rejects.toThrow("xtables lock");
    broken = false;
    manager.mark(proxy.name, "sync");
    await manager.settle();
    expect(proxy.lastSync.kind).toBe("full");
    expect(await save()).toContain("10.244.1.5:8080");
  });

  it("has a proxier a family, each with its own Services, endpoints and rules", async () => {
    const { store, manager, proxy, backend, save } = await harness(new FakeBackend(), [6, 4]);
    await store.create(
      service("d/web", { clusterIP: "fd00:96::9", clusterIPs: ["fd00:96::9", "10.96.0.9"], ports: [{ port: 80 }] }),
    );
    await store.create(slice("d/web", "", 8080, ["10.244.1.5"], "4"));
    await store.create(slice("d/web", "", 8080, ["fd00:10:244:1::5"], "6"));
    await manager.settle();
    const six = (): Promise<string> => backend.iptablesSave("host", "ipv6");
    expect(await save()).toContain("--to-destination 10.244.1.5:8080");
    expect(await save()).not.toContain("fd00");
    expect(await six()).toContain("--to-destination [fd00:10:244:1::5]:8080");
    expect(await six()).not.toMatch(/10\.(96|244)/);
    expect(proxy.lastSync).toMatchObject({ kind: "partial", services: 1 });
    const four = await save();
    await store.update(slice("d/web", "", 8080, ["fd00:10:244:1::6"], "6"));
    await manager.settle();
    expect(await six()).toContain("[fd00:10:244:1::6]:8080");
    expect(await save()).toBe(four);
    await store.delete("Service", "d", "web");
    await manager.settle();
    for (const text of [await save(), await six()]) expect(text).not.toMatch(/KUBE-SVC|KUBE-SEP/);
  });

  it("names the object behind a rule", async () => {
    const { store, manager, proxy } = await harness();
    await store.create(web());
    await manager.settle();
    expect(proxy.originOf("KUBE-SERVICES", "d/web has no endpoints")).toEqual({
      kind: "Service",
      namespace: "d",
      name: "web",
      detail: "has no endpoints",
    });
  });
});
