/** StatefulSet: pods name-0, name-1, … with a host name each, under the domain of their service. Made all at once. */
import { splitKey } from "../api/meta.ts";
import { isReady } from "../api/pod.ts";
import type { StatefulSet } from "../api/workloads.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { ownedPods, podFromTemplate, workloadKeys } from "./pods.ts";

export class StatefulSetController implements Controller {
  readonly name: string = "statefulset";
  readonly kinds: readonly Kind[] = ["StatefulSet", "Pod"];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  keys(event: WatchEvent): readonly string[] {
    return workloadKeys(this.#store, "StatefulSet", event);
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const set = this.#store.get("StatefulSet", namespace, name);
      if (set !== undefined) await this.#sync(set);
    }
  }

  async #sync(set: StatefulSet): Promise<void> {
    const { name, namespace = "default" } = set.metadata;
    const replicas = set.spec.replicas ?? 1;
    const start = set.spec.ordinals?.start ?? 0;
    const wanted = new Map(Array.from({ length: replicas }, (_, i) => [`${name}-${start + i}`, start + i]));
    const pods = await ownedPods(this.#store, set, set.spec.selector);
    for (const pod of pods)
      if (!wanted.has(pod.metadata.name)) await this.#store.delete("Pod", namespace, pod.metadata.name);
    for (const [podName, index] of wanted) {
      if (this.#store.get("Pod", namespace, podName) !== undefined) continue;
      const labels = { "statefulset.kubernetes.io/pod-name": podName, "apps.kubernetes.io/pod-index": String(index) };
      const { serviceName } = set.spec;
      const names = { hostname: podName, ...(serviceName === undefined ? {} : { subdomain: serviceName }) };
      await this.#store.create(podFromTemplate(set, set.spec.template, podName, labels, names));
    }
    const ready = pods.filter((p) => wanted.has(p.metadata.name) && isReady(p)).length;
    await this.#store.update({
      ...set,
      status: { replicas, readyReplicas: ready, availableReplicas: ready, updatedReplicas: replicas },
    });
  }
}
