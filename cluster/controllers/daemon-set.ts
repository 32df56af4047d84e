/** DaemonSet: a pod on each node that its pods may run on. The pod is pinned by affinity; the scheduler binds it. */
import { splitKey } from "../api/meta.ts";
import { isReady, type Pod, type PodSpec, type Toleration } from "../api/pod.ts";
import type { DaemonSet } from "../api/workloads.ts";
import type { Controller } from "../client/manager.ts";
import { whyNotNode } from "../scheduler/filters.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { generatedName, nameSuffix } from "./names.ts";
import { ownedPods, podFromTemplate, surplus, workloadKeys } from "./pods.ts";

/** What the DaemonSet controller lets its pods tolerate, beyond what the template says. */
const TOLERATIONS: readonly Toleration[] = [
  { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/disk-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/pid-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
];
const NETWORK_TOLERATION: Toleration = {
  key: "node.kubernetes.io/network-unavailable",
  operator: "Exists",
  effect: "NoSchedule",
};

export class DaemonSetController implements Controller {
  readonly name: string = "daemonset";
  readonly kinds: readonly Kind[] = ["DaemonSet", "Pod", "Node"];
  readonly #store: Store;
  readonly #salt: number;

  constructor(store: Store, salt: number) {
    this.#store = store;
    this.#salt = salt;
  }

  keys(event: WatchEvent): readonly string[] {
    if (event.object.kind !== "Node") return workloadKeys(this.#store, "DaemonSet", event);
    return this.#store.list("DaemonSet").map((d) => `${d.metadata.namespace}/${d.metadata.name}`);
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const set = this.#store.get("DaemonSet", namespace, name);
      if (set !== undefined) await this.#sync(set);
    }
  }

  async #sync(set: DaemonSet): Promise<void> {
    const { name, namespace = "default" } = set.metadata;
    const pods = await ownedPods(this.#store, set, set.spec.selector);
    const byNode = new Map<string, Pod[]>();
    for (const pod of pods) {
      const node = pod.spec.nodeName ?? pinnedTo(pod.spec) ?? "";
      byNode.set(node, [...(byNode.get(node) ?? []), pod]);
    }
    let ready = 0;
    let desired = 0;
    for (const node of this.#store.list("Node")) {
      const spec = daemonSpec(set.spec.template.spec, node.metadata.name);
      if (whyNotNode({ spec }, node) !== null) continue;
      desired++;
      const here = byNode.get(node.metadata.name) ?? [];
      byNode.delete(node.metadata.name);
      ready += here.some(isReady) ? 1 : 0;
      for (const extra of surplus(here, here.length - 1))
        await this.#store.delete("Pod", namespace, extra.metadata.name);
      if (here.length > 0) continue;
      const podName = generatedName(name, nameSuffix(this.#salt, `daemon ${namespace}/${name} ${node.metadata.name}`));
      if (this.#store.get("Pod", namespace, podName) === undefined)
        await this.#store.create(podFromTemplate(set, { ...set.spec.template, spec }, podName));
    }
    for (const gone of [...byNode.values()].flat()) await this.#store.delete("Pod", namespace, gone.metadata.name);
    await this.#store.update({
      ...set,
      status: { desiredNumberScheduled: desired, currentNumberScheduled: desired, numberReady: ready },
    });
  }
}

function daemonSpec(spec: PodSpec, node: string): PodSpec {
  const pin = { matchFields: [{ key: "metadata.name", operator: "In" as const, values: [node] }] };
  const given = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const nodeSelectorTerms = given === undefined ? [pin] : given.map((term) => ({ ...term, ...pin }));
  return {
    ...spec,
    affinity: {
      ...spec.affinity,
      nodeAffinity: {
        ...spec.affinity?.nodeAffinity,
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms },
      },
    },
    tolerations: [
      ...(spec.tolerations ?? []),
      ...TOLERATIONS,
      ...(spec.hostNetwork === true ? [NETWORK_TOLERATION] : []),
    ],
  };
}

function pinnedTo(spec: PodSpec): string | undefined {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return terms?.[0]?.matchFields?.find((f) => f.key === "metadata.name")?.values?.[0];
}
