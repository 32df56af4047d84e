/** Garbage collection by owner: what a deleted object owned is deleted too (background propagation). */
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";

const OWNED: readonly Kind[] = ["ReplicaSet", "Pod", "EndpointSlice", "Job"];

export class GarbageController implements Controller {
  readonly name: string = "garbage";
  readonly kinds: readonly Kind[] = [
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "DaemonSet",
    "StatefulSet",
    "Job",
    "CronJob",
    "Service",
  ];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Keys are uids of deleted owners. */
  keys({ object, type }: WatchEvent): readonly string[] {
    return type === "DELETED" && object.metadata.uid !== undefined ? [object.metadata.uid] : [];
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const owner of keys)
      for (const kind of OWNED)
        for (const object of this.#store.list(kind, { owner })) {
          const others = (object.metadata.ownerReferences ?? []).filter((o) => o.uid !== owner);
          if (others.length === 0)
            await this.#store.delete(kind, object.metadata.namespace ?? "", object.metadata.name);
          else await this.#store.update({ ...object, metadata: { ...object.metadata, ownerReferences: others } });
        }
  }
}
