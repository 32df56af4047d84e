/**
 * The Store seam: the cluster's objects, versioned as etcd versions them (one counter for everything; an object's
 * resourceVersion is the revision that wrote it; a deletion has a revision too).
 *
 * Reads are from memory and synchronous; writes are asynchronous, because a durable or distributed store waits there.
 * Objects are immutable: whoever changes one writes a new one.
 */
import type { KnownKind, ObjectOf } from "../api/kinds.ts";
import type { KubeObject, LabelSelector, Labels } from "../api/meta.ts";

/** A kind with a type of its own, or any other by name. */
export type Kind = KnownKind | (string & {});

export type WatchEvent = {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
  /** What the object was before; undefined for an addition. */
  readonly previous: KubeObject | undefined;
  readonly revision: number;
};

export type ListOptions = {
  readonly namespace?: string;
  /** All of these labels; an empty mapping finds everything. */
  readonly labels?: Labels;
  readonly selector?: LabelSelector;
  /** uid of an owner in metadata.ownerReferences. */
  readonly owner?: string;
  /** Pods bound to this node. */
  readonly node?: string;
};

export type WatchOptions = {
  readonly kinds?: readonly Kind[];
  /**
   * Absent: only what comes. 0: what exists, as ADDED, then what comes. N: what came after revision N, then what comes;
   * ApiError "Expired" when that is no longer known.
   */
  readonly from?: number;
};

export interface Store {
  /** The revision of the last write; 0 before the first. */
  readonly revision: number;
  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined;
  /** Sorted by namespace, then name. */
  list<K extends Kind>(kind: K, options?: ListOptions): readonly ObjectOf<K>[];
  /** Adds uid, resourceVersion, generation and creationTimestamp. "AlreadyExists" if the name is taken. */
  create<T extends KubeObject>(object: T): Promise<T>;
  /**
   * Replaces an object. "NotFound" if there is none; "Conflict" if metadata.resourceVersion is given and is not the
   * stored one. Writing what is stored already changes nothing and makes no event.
   */
  update<T extends KubeObject>(object: T): Promise<T>;
  /** Removes an object and returns what it was. "NotFound" if there is none. */
  delete(kind: Kind, namespace: string, name: string): Promise<KubeObject>;
  /** Handlers are called in the order of revisions. Returns the function that ends the watch. */
  watch(options: WatchOptions, handler: (event: WatchEvent) => void): () => void;
}
