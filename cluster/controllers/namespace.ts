/** Namespaces: one for each that an object is in (Kubernetes would refuse the object), and nothing left in deleted ones. */
import { KINDS } from "../api/kinds.ts";
import type { KubeObject } from "../api/meta.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";

const NAME_LABEL = "kubernetes.io/metadata.name";

export class NamespaceController implements Controller {
  readonly name: string = "namespace";
  readonly kinds: readonly Kind[] = KINDS.filter((k) => k.use !== "ignored").map((k) => k.kind);
  readonly #store: Store;
  readonly #deleted: Set<string> = new Set();

  constructor(store: Store) {
    this.#store = store;
  }

  keys({ object, type }: WatchEvent): readonly string[] {
    if (object.kind === "Namespace") {
      if (type === "DELETED") this.#deleted.add(object.metadata.name);
      return [object.metadata.name];
    }
    const { namespace } = object.metadata;
    return type === "ADDED" && namespace !== undefined && this.#store.get("Namespace", "", namespace) === undefined
      ? [namespace]
      : [];
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const name of keys) {
      if (this.#deleted.delete(name)) await this.#empty(name);
      else await this.#ensure(name);
    }
  }

  async #ensure(name: string): Promise<void> {
    const found = this.#store.get("Namespace", "", name);
    if (found === undefined) await this.#store.create(namespaceObject(name));
    else if (found.metadata.labels?.[NAME_LABEL] !== name)
      await this.#store.update({
        ...found,
        metadata: { ...found.metadata, labels: { ...found.metadata.labels, [NAME_LABEL]: name } },
      });
  }

  async #empty(namespace: string): Promise<void> {
    for (const { kind, namespaced } of KINDS) {
      if (!namespaced) continue;
      for (const object of this.#store.list(kind, { namespace }))
        await this.#store.delete(kind, namespace, object.metadata.name);
    }
  }
}

export function namespaceObject(name: string): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { [NAME_LABEL]: name } } };
}
