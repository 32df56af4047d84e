import { describe, expect, it } from "vitest";
import type { Store } from "../store/store.ts";
import { generatedName, nameSuffix, templateHash } from "./names.ts";
import { template, testCluster } from "./testing.ts";

const pods = (store: Store): string[] => store.list("Pod").map((p) => `${p.metadata.name} ${p.spec.nodeName ?? "-"}`);
const deployment = (replicas: number, image = "nginx"): string =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: ${replicas}\n  selector: {matchLabels: {app: web}}\n${template("app: web")}`.replace(
    "nginx",
    image,
  );

describe("a Deployment", () => {
  it("makes a ReplicaSet and its pods, spread over the nodes, with names like Kubernetes'", async () => {
    const { store } = await testCluster(["node-1", "node-2", "node-10"], deployment(3));
    const rs = store.list("ReplicaSet")[0];
    expect(rs?.metadata.name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2456789]{8,10}$/);
    expect(
      store
        .list("Pod")
        .map((p) => p.spec.nodeName)
        .sort(),
    ).toEqual(["node-1", "node-10", "node-2"]);
    for (const pod of store.list("Pod")) {
      expect(pod.metadata.name).toMatch(new RegExp(`^${rs?.metadata.name}-[bcdfghjklmnpqrstvwxz2456789]{5}$`));
      expect(pod.metadata.labels).toEqual({ app: "web", "pod-template-hash": rs?.metadata.name.slice(4) });
    }
    expect(store.get("Deployment", "default", "web")?.status).toMatchObject({ replicas: 3, readyReplicas: 3 });
  });

  it("gives the same names in each run, whatever else there is", async () => {
    const alone = await testCluster(["n1"], deployment(2));
    const other = await testCluster(
      ["n1"],
      `${deployment(1).replaceAll("web", "api").replaceAll("name: api,", "name: web,")}---\n${deployment(2)}`,
    );
    expect(pods(other.store)).toEqual(expect.arrayContaining(pods(alone.store)));
  });

  it("grows, shrinks and rolls to a new template", async () => {
    const cluster = await testCluster(["n1", "n2"], deployment(2));
    const first = pods(cluster.store);
    await cluster.apply(deployment(4));
    expect(pods(cluster.store)).toEqual(expect.arrayContaining(first));
    expect(cluster.store.list("Pod")).toHaveLength(4);
    await cluster.apply(deployment(1));
    expect(cluster.store.list("Pod")).toHaveLength(1);
    await cluster.apply(deployment(2, "httpd"));
    expect(cluster.store.list("Pod").map((p) => p.spec.containers[0]?.image)).toEqual(["httpd", "httpd"]);
    expect(
      cluster.store
        .list("ReplicaSet")
        .map((r) => r.spec.replicas)
        .sort(),
    ).toEqual([0, 2]);
  });

  it("takes everything with it when it is deleted", async () => {
    const { store, manager } = await testCluster(["n1"], deployment(2));
    await store.delete("Deployment", "default", "web");
    await manager.settle();
    expect([...store.list("ReplicaSet"), ...store.list("Pod")]).toEqual([]);
  });

  it("keeps the ReplicaSet and pods of a dump", async () => {
    const made = await testCluster(["n1"], deployment(2));
    const dump = [...made.store.list("Deployment"), ...made.store.list("ReplicaSet"), ...made.store.list("Pod")];
    const again = await testCluster(["n1"], JSON.stringify({ apiVersion: "v1", kind: "List", items: dump }));
    expect(pods(again.store)).toEqual(pods(made.store));
    expect(again.store.list("ReplicaSet")).toHaveLength(1);
  });
});

describe("the other workloads", () => {
  it("a ReplicaSet adopts pods that match and belong to nobody", async () => {
    const { store } = await testCluster(
      ["n1"],
      `apiVersion: v1\nkind: Pod\nmetadata: {name: lone, labels: {app: web}}\nspec: {containers: [{name: c, image: i}]}\n---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n${template("app: web")}`,
    );
    expect(store.list("Pod")).toHaveLength(2);
    expect(store.get("Pod", "default", "lone")?.metadata.ownerReferences?.[0]).toMatchObject({
      kind: "ReplicaSet",
      name: "web",
      controller: true,
    });
  });

  it("a StatefulSet makes numbered pods with a name in DNS", async () => {
    const { store } = await testCluster(
      ["n1", "n2"],
      `apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  replicas: 2\n  serviceName: db\n  selector: {matchLabels: {app: db}}\n${template("app: db")}`,
    );
    expect(
      store
        .list("Pod")
        .map((p) => [
          p.metadata.name,
          p.spec.hostname,
          p.spec.subdomain,
          p.metadata.labels?.["apps.kubernetes.io/pod-index"],
        ]),
    ).toEqual([
      ["db-0", "db-0", "db", "0"],
      ["db-1", "db-1", "db", "1"],
    ]);
  });

  it("a DaemonSet has a pod on each node that takes it, new ones included", async () => {
    const text = `apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: ds}\nspec:\n  selector: {matchLabels: {app: ds}}\n${template("app: ds", "      nodeSelector: {kubernetes.io/hostname: n2}\n")}`;
    const cluster = await testCluster(["n1", "n2"], text);
    expect(cluster.store.list("Pod").map((p) => p.spec.nodeName)).toEqual(["n2"]);
    await cluster.apply(text.replace("      nodeSelector: {kubernetes.io/hostname: n2}\n", ""));
    await cluster.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n3}\n");
    expect(
      cluster.store
        .list("Pod")
        .map((p) => p.spec.nodeName)
        .sort(),
    ).toEqual(["n1", "n2", "n3"]);
    expect(cluster.store.get("DaemonSet", "default", "ds")?.status).toMatchObject({
      desiredNumberScheduled: 3,
      numberReady: 3,
    });
  });

  it("a Job makes its pods once", async () => {
    const { store } = await testCluster(
      ["n1"],
      `apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  parallelism: 3\n  completions: 2\n${template("a: b")}`,
    );
    expect(store.list("Pod", { labels: { "job-name": "j" } })).toHaveLength(2);
  });
});

it("spells suffixes and hashes in Kubernetes' alphabet, and cuts long names", () => {
  expect(nameSuffix(1, "a")).toMatch(/^[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  expect(nameSuffix(1, "a")).not.toBe(nameSuffix(2, "a"));
  expect(templateHash({ a: 1, b: { c: 2, d: undefined } })).toBe(templateHash({ b: { c: 2 }, a: 1 }));
  expect(generatedName("x".repeat(70), "abcde")).toHaveLength(63);
});
