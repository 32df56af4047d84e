import { describe, expect, it } from "vitest";
import { testCluster } from "../controllers/testing.ts";
import { compareNames } from "./scheduler.ts";

const pod = (name: string, spec = "", labels = "a: b"): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, labels: {${labels}}}\nspec: {containers: [{name: c, image: i}]${spec === "" ? "" : `, ${spec}`}}\n---\n`;
const node = (name: string, spec: string): string =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nspec: {${spec}}\n---\n`;
const apart =
  "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}";
const together = apart.replace("podAntiAffinity", "podAffinity");

async function placed(nodes: string[], text: string): Promise<Record<string, string>> {
  const { store } = await testCluster(nodes, text);
  return Object.fromEntries(
    store
      .list("Pod")
      .map((p) => [
        p.metadata.name,
        p.spec.nodeName ?? p.status?.conditions?.find((c) => c.type === "PodScheduled")?.message ?? "?",
      ]),
  );
}

describe("the scheduler", () => {
  it.each([
    [
      "puts pods where the fewest are, then by name",
      ["n10", "n2"],
      pod("a") + pod("b") + pod("c"),
      { a: "n2", b: "n10", c: "n2" },
    ],
    ["leaves a pod where it says it is", ["n1", "n2"], pod("a", "nodeName: n2") + pod("b"), { a: "n2", b: "n1" }],
    ["heeds node selectors", ["n1", "n2=z"], pod("a", "nodeSelector: {topology.kubernetes.io/zone: z}"), { a: "n2" }],
    [
      "heeds required node affinity",
      ["n1", "n2=z"],
      pod(
        "a",
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: topology.kubernetes.io/zone, operator: Exists}]}]}}}",
      ),
      { a: "n2" },
    ],
    [
      "keeps pods apart",
      ["n1", "n2"],
      pod("a", apart, "app: x") + pod("b", apart, "app: x") + pod("c", apart, "app: x"),
      { a: "n1", b: "n2", c: "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules." },
    ],
    [
      "keeps pods together",
      ["n1", "n2"],
      pod("a", together, "app: x") + pod("b", together, "app: x"),
      { a: "n1", b: "n1" },
    ],
    [
      "says why there is no node",
      ["n1"],
      pod("a", "nodeSelector: {disk: ssd}"),
      { a: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." },
    ],
    ["says that there are no nodes", [], pod("a"), { a: "0/0 nodes are available: there are no nodes." }],
  ])("%s", async (_, nodes, text, want) => {
    expect(await placed(nodes, text)).toEqual(want);
  });

  it("heeds taints, tolerations and cordons", async () => {
    const nodes = node("t", "taints: [{key: gpu, value: big, effect: NoSchedule}]") + node("u", "unschedulable: true");
    const toleration = "tolerations: [{key: gpu, operator: Equal, value: big, effect: NoSchedule}]";
    expect(
      await placed([], nodes + pod("a", toleration) + pod("b") + pod("c", "tolerations: [{operator: Exists}]")),
    ).toEqual({
      a: "t",
      b: "0/2 nodes are available: 1 node(s) had untolerated taint {gpu: big}, 1 node(s) were unschedulable.",
      c: "u",
    });
  });

  it("does not overfill a node", async () => {
    const full = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {allocatable: {pods: '1'}}\n---\n";
    expect(await placed([], full + pod("a") + pod("b"))).toEqual({
      a: "n1",
      b: "0/1 nodes are available: 1 Too many pods.",
    });
  });

  it("tries again when a node comes", async () => {
    const cluster = await testCluster([], pod("a"));
    await cluster.apply(node("late", ""));
    expect(cluster.store.get("Pod", "default", "a")?.spec.nodeName).toBe("late");
  });
});

it("sorts numbers in names as numbers", () => {
  expect(["n10", "n2", "n1", "a-2-b", "a-10-a"].sort(compareNames)).toEqual(["a-2-b", "a-10-a", "n1", "n2", "n10"]);
});
