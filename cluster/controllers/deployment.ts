/** Deployment: one ReplicaSet for the present template, the older ones scaled to nothing. A rollout is one step here. */
import { controllerOf, type Labels, ownerOf, splitKey } from "../api/meta.ts";
import type { PodTemplate } from "../api/pod.ts";
import type { Deployment, ReplicaSet } from "../api/workloads.ts";
import type { Controller } from "../client/manager.ts";
import { sameValue } from "../store/same-value.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { generatedName, templateHash } from "./names.ts";
import { workloadKeys } from "./pods.ts";

const HASH_LABEL = "pod-template-hash";

export class DeploymentController implements Controller {
  readonly name: string = "deployment";
  readonly kinds: readonly Kind[] = ["Deployment", "ReplicaSet"];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  keys(event: WatchEvent): readonly string[] {
    return workloadKeys(this.#store, "Deployment", event);
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const deployment = this.#store.get("Deployment", namespace, name);
      if (deployment !== undefined) await this.#sync(deployment);
    }
  }

  async #sync(deployment: Deployment): Promise<void> {
    const { uid = "", namespace = "default" } = deployment.metadata;
    const owned = this.#store.list("ReplicaSet", { owner: uid }).filter((rs) => controllerOf(rs)?.uid === uid);
    const replicas = deployment.spec.replicas ?? 1;
    const template = withoutHash(deployment.spec.template);
    const present = owned.find((rs) => sameValue(withoutHash(rs.spec.template), template));
    const current =
      present === undefined
        ? await this.#store.create(this.#make(deployment, namespace))
        : await this.#scale(present, replicas);
    for (const old of owned) if (old.metadata.name !== current.metadata.name) await this.#scale(old, 0);
    const ready = Math.min(replicas, current.status?.readyReplicas ?? 0);
    await this.#store.update({
      ...deployment,
      status: { replicas, updatedReplicas: replicas, readyReplicas: ready, availableReplicas: ready },
    });
  }

  #make(deployment: Deployment, namespace: string): ReplicaSet {
    const { spec, metadata } = deployment;
    const hash = templateHash(spec.template);
    const withHash = (labels: Labels | undefined): Labels => ({ ...labels, [HASH_LABEL]: hash });
    return {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: {
        name: generatedName(metadata.name, hash),
        namespace,
        labels: withHash(spec.template.metadata?.labels),
        ownerReferences: [ownerOf(deployment)],
      },
      spec: {
        replicas: spec.replicas ?? 1,
        selector: { ...spec.selector, matchLabels: withHash(spec.selector.matchLabels) },
        template: {
          ...spec.template,
          metadata: { ...spec.template.metadata, labels: withHash(spec.template.metadata?.labels) },
        },
      },
    };
  }

  async #scale(rs: ReplicaSet, replicas: number): Promise<ReplicaSet> {
    return (rs.spec.replicas ?? 1) === replicas ? rs : this.#store.update({ ...rs, spec: { ...rs.spec, replicas } });
  }
}

function withoutHash(template: PodTemplate): PodTemplate {
  const { [HASH_LABEL]: _, ...labels } = template.metadata?.labels ?? {};
  return { ...template, metadata: { ...template.metadata, labels } };
}
