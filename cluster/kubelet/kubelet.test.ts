import { describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import type { Pod } from "../api/pod.ts";
import { Manager } from "../client/manager.ts";
import { MemoryStore } from "../store/store-memory.ts";
import { Kubelets } from "./kubelet.ts";
import { nodeObject } from "./node-object.ts";
import type { PodNetwork } from "./pod-worker.ts";

type Harness = {
  store: MemoryStore;
  manager: Manager;
  kubelets: Kubelets;
  backend: FakeBackend;
  calls: string[];
  fail: { add: boolean; del: boolean };
};

function harness(ips: readonly string[] = ["192.168.0.11"]): Harness {
  const store = new MemoryStore({ now: () => 0 });
  const backend = new FakeBackend();
  const calls: string[] = [];
  const fail = { add: false, del: false };
  const network: PodNetwork = {
    add: async (pod, path, id) => {
      calls.push(`add ${pod.metadata.name} ${await backend.hasNetns(path)} ${id.length}`);
      if (fail.add) throw new Error("no free address");
      return { ips: ["10.244.1.5", "fd00::5"], result: { cniVersion: "1.0.0" } };
    },
    del: async (pod, path) => {
      calls.push(`del ${pod.metadata.name} ${await backend.hasNetns(path)}`);
      if (fail.del) throw new Error("busy");
    },
  };
  const kubelets = new Kubelets(store, [{ name: "n1", ips, backend, network }]);
  return { store, manager: new Manager(store, [kubelets]), kubelets, backend, calls, fail };
}

const pod = (spec: Partial<Pod["spec"]> = {}): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "p", namespace: "d" },
  spec: { containers: [{ name: "c", image: "i" }], nodeName: "n1", ...spec },
});

describe("the kubelet", () => {
  it("wires a pod that is bound to its node and reports it ready", async () => {
    const { store, manager, kubelets, backend, calls } = harness();
    await store.create(pod());
    await manager.settle();
    const status = store.get("Pod", "d", "p")?.status;
    expect(status).toMatchObject({
      phase: "Running",
      podIP: "10.244.1.5",
      podIPs: [{ ip: "10.244.1.5" }, { ip: "fd00::5" }],
      hostIP: "192.168.0.11",
    });
    // The node's own family comes first, whatever the plugin's order.
    const six = harness(["fd00:192:168::11", "192.168.0.11"]);
    await six.store.create(pod());
    await six.manager.settle();
    expect(six.store.get("Pod", "d", "p")?.status).toMatchObject({
      podIP: "fd00::5",
      podIPs: [{ ip: "fd00::5" }, { ip: "10.244.1.5" }],
      hostIP: "fd00:192:168::11",
      hostIPs: [{ ip: "fd00:192:168::11" }, { ip: "192.168.0.11" }],
    });
    expect(status?.conditions?.filter((c) => c.status === "True").map((c) => c.type)).toContain("Ready");
    expect(calls).toEqual(["add p true 64"]);
    const path = kubelets.sandboxOf("d/p")?.netns ?? "";
    expect(await backend.hasNetns(path)).toBe(true);
    await store.delete("Pod", "d", "p");
    await manager.settle();
    expect(calls).toEqual(["add p true 64", "del p true"]);
    expect(await backend.hasNetns(path)).toBe(false);
  });

  it("leaves pods of other nodes and pods that are not bound alone", async () => {
    const { store, manager, calls } = harness();
    await store.create(pod({ nodeName: "n2" }));
    await manager.settle();
    expect(calls).toEqual([]);
  });

  it("gives a pod on the host network the node's address and no sandbox", async () => {
    const { store, manager, kubelets, calls } = harness();
    await store.create(pod({ hostNetwork: true }));
    await manager.settle();
    expect(store.get("Pod", "d", "p")?.status).toMatchObject({ podIP: "192.168.0.11", phase: "Running" });
    expect(kubelets.sandboxOf("d/p")?.netns).toBeNull();
    expect(calls).toEqual([]);
  });

  it("says why a pod could not be wired, leaves nothing behind, and tries again when asked", async () => {
    const { store, manager, kubelets, calls, fail } = harness();
    fail.add = true;
    await store.create(pod());
    await manager.settle();
    expect(store.get("Pod", "d", "p")?.status).toMatchObject({
      phase: "Pending",
      reason: "FailedCreatePodSandBox",
      message: "no free address",
    });
    expect(kubelets.failures).toMatchObject([{ pod: "d/p", node: "n1" }]);
    expect(calls).toEqual(["add p true 64", "del p true"]);
    fail.add = false;
    for (const key of kubelets.retry()) manager.mark("kubelet", key);
    await manager.settle();
    expect(store.get("Pod", "d", "p")?.status?.phase).toBe("Running");
    expect(store.get("Pod", "d", "p")?.status).not.toHaveProperty("reason");
  });

  it("tries again when its node changes", async () => {
    const { store, manager, fail } = harness();
    const node = await store.create(nodeObject({ name: "n1", ips: ["192.168.0.11"] }));
    fail.add = true;
    await store.create(pod());
    await manager.settle();
    fail.add = false;
    await store.update({ ...node, metadata: { ...node.metadata, annotations: { network: "ready" } } });
    await manager.settle();
    expect(store.get("Pod", "d", "p")?.status?.phase).toBe("Running");
  });

  it("tells both errors when cleaning up fails too", async () => {
    const { store, manager, fail } = harness();
    Object.assign(fail, { add: true, del: true });
    await store.create(pod());
    await manager.settle();
    expect(store.get("Pod", "d", "p")?.status?.message).toBe(
      "pod d/p: ADD failed, and DEL after it: no free address; busy",
    );
  });

  it("takes a pod down when it is finished, and another of its name up", async () => {
    const { store, manager, calls } = harness();
    const made = await store.create(pod());
    await manager.settle();
    await store.delete("Pod", "d", "p");
    await store.create(pod());
    await manager.settle();
    expect(calls).toEqual(["add p true 64", "del p true", "add p true 64"]);
    const again = store.get("Pod", "d", "p");
    expect(again?.metadata.uid).not.toBe(made.metadata.uid);
    if (again !== undefined) await store.update({ ...again, status: { ...again.status, phase: "Succeeded" } });
    await manager.settle();
    expect(calls.at(-1)).toBe("del p true");
  });

  it("takes everything down at the end", async () => {
    const { store, manager, kubelets, calls } = harness();
    await store.create(pod());
    await manager.settle();
    await kubelets.close();
    expect(calls.at(-1)).toBe("del p true");
  });
});

it("registers a node with its addresses and capacity", () => {
  expect(nodeObject({ name: "n1", ips: ["192.168.0.11", "fd00::11"], zone: "z" })).toMatchObject({
    metadata: { labels: { "kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z" } },
    status: {
      addresses: [
        { type: "InternalIP", address: "192.168.0.11" },
        { type: "InternalIP", address: "fd00::11" },
        { type: "Hostname", address: "n1" },
      ],
      allocatable: { pods: "110" },
    },
  });
});
