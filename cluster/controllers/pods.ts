/** What the workload controllers have in common: making pods from a template, finding and adopting the ones they own. */
import { controllerOf, type KubeObject, type LabelSelector, ownerOf } from "../api/meta.ts";
import { isFinished, isReady, isTerminating, type Pod, type PodSpec, type PodTemplate } from "../api/pod.ts";
import type { Store, WatchEvent } from "../store/store.ts";

export function podFromTemplate(
  owner: KubeObject,
  template: PodTemplate,
  name: string,
  labels: Readonly<Record<string, string>> = {},
  spec: Partial<PodSpec> = {},
): Pod {
  const { metadata } = template;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: owner.metadata.namespace ?? "default",
      labels: { ...metadata?.labels, ...labels },
      ...(metadata?.annotations === undefined ? {} : { annotations: metadata.annotations }),
      ownerReferences: [ownerOf(owner)],
    },
    spec: { ...template.spec, ...spec },
  };
}

/** The pods of a controller that still count; pods that match and belong to nobody are adopted, as Kubernetes does. */
export async function ownedPods(store: Store, owner: KubeObject, selector: LabelSelector): Promise<readonly Pod[]> {
  const uid = owner.metadata.uid ?? "";
  const owned = store.list("Pod", { owner: uid }).filter((p) => controllerOf(p)?.uid === uid);
  const namespace = owner.metadata.namespace ?? "default";
  const orphans = store
    .list("Pod", { namespace, selector })
    .filter((p) => controllerOf(p) === undefined && !isTerminating(p));
  const adopted: Pod[] = [];
  for (const pod of orphans)
    adopted.push(
      await store.update({
        ...pod,
        metadata: { ...pod.metadata, ownerReferences: [...(pod.metadata.ownerReferences ?? []), ownerOf(owner)] },
      }),
    );
  return [...owned, ...adopted].filter((p) => !isTerminating(p) && !isFinished(p));
}

/** Of too many pods, the ones to delete: those without a node first, then not ready, then the youngest. */
export function surplus(pods: readonly Pod[], count: number): readonly Pod[] {
  const rank = (p: Pod): number => (p.spec.nodeName === undefined ? 0 : isReady(p) ? 2 : 1);
  return [...pods]
    .sort((a, b) => rank(a) - rank(b) || Number(b.metadata.resourceVersion) - Number(a.metadata.resourceVersion))
    .slice(0, count);
}

/** Keys that an event makes dirty for a controller of a kind: the object itself, or the owner of a pod. */
export function workloadKeys(store: Store, kind: string, event: WatchEvent): readonly string[] {
  const { object, previous } = event;
  if (object.kind === kind) return [`${object.metadata.namespace}/${object.metadata.name}`];
  const keys = [object, previous]
    .map((o) => (o === undefined ? undefined : controllerOf(o)))
    .flatMap((owner) => (owner?.kind === kind ? [`${object.metadata.namespace}/${owner.name}`] : []));
  if (keys.length > 0 || object.kind !== "Pod" || controllerOf(object) !== undefined || event.type === "DELETED")
    return keys;
  // An orphan: whoever selects it may adopt it.
  return store
    .list(kind, { namespace: object.metadata.namespace ?? "" })
    .map((o) => `${o.metadata.namespace}/${o.metadata.name}`);
}
