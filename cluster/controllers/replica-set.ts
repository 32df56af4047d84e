/** ReplicaSet and ReplicationController: as many pods as asked for. */
import { type LabelSelector, splitKey } from "../api/meta.ts";
import { isReady, type PodTemplate } from "../api/pod.ts";
import type { ReplicaSet, ReplicationController } from "../api/workloads.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { generatedName, nameSuffix } from "./names.ts";
import { ownedPods, podFromTemplate, surplus, workloadKeys } from "./pods.ts";

type Replicated = ReplicaSet | ReplicationController;

export class ReplicaSetController implements Controller {
  readonly name: string;
  readonly kinds: readonly Kind[];
  readonly #kind: Replicated["kind"];
  readonly #store: Store;
  readonly #salt: number;

  constructor(store: Store, salt: number, kind: Replicated["kind"] = "ReplicaSet") {
    this.#store = store;
    this.#salt = salt;
    this.#kind = kind;
    this.name = kind === "ReplicaSet" ? "replicaset" : "replicationcontroller";
    this.kinds = [kind, "Pod"];
  }

  keys(event: WatchEvent): readonly string[] {
    return workloadKeys(this.#store, this.#kind, event);
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const object = this.#store.get(this.#kind, namespace, name);
      if (object !== undefined) await this.#sync(object);
    }
  }

  async #sync(object: Replicated): Promise<void> {
    const { template } = object.spec;
    const pods = await ownedPods(this.#store, object, selectorOf(object, template));
    const want = object.spec.replicas ?? 1;
    for (const pod of surplus(pods, pods.length - want))
      await this.#store.delete("Pod", pod.metadata.namespace ?? "", pod.metadata.name);
    for (let i = 0, missing = want - pods.length; missing > 0; i++) {
      const name = generatedName(
        object.metadata.name,
        nameSuffix(this.#salt, `${object.metadata.namespace}/${object.metadata.name} ${i}`),
      );
      if (this.#store.get("Pod", object.metadata.namespace ?? "", name) !== undefined) continue;
      await this.#store.create(podFromTemplate(object, template, name));
      missing--;
    }
    const kept = Math.min(pods.length, want);
    const ready = Math.min(pods.filter(isReady).length, want);
    await this.#store.update({
      ...object,
      status: { replicas: Math.max(want, kept), readyReplicas: ready, availableReplicas: ready },
    } as Replicated);
  }
}

function selectorOf(object: Replicated, template: PodTemplate): LabelSelector {
  if (object.kind === "ReplicaSet") return object.spec.selector;
  return { matchLabels: object.spec.selector ?? template.metadata?.labels ?? {} };
}
