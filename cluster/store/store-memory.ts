/**
 * The store in memory: a map per kind, and indexes for what is asked often (labels and owners of all kinds, the node of
 * a pod). The last events are kept for watches that start from an earlier revision.
 */

import type { Clock } from "../../dataplane/sim/clock.ts";
import { hashText } from "../../dataplane/sim/random.ts";
import type { ObjectOf } from "../api/kinds.ts";
import type { KubeObject, Labels } from "../api/meta.ts";
import { matchesLabels, matchesSelector } from "../api/meta.ts";
import type { Pod } from "../api/pod.ts";
import { ApiError } from "./api-error.ts";
import { sameValue } from "./same-value.ts";
import type { Kind, ListOptions, Store, WatchEvent, WatchOptions } from "./store.ts";

type Watcher = { readonly kinds: ReadonlySet<string> | null; readonly handler: (event: WatchEvent) => void };

/** How many events are kept for replay. */
const HISTORY = 8192;

/** One kind's objects, by key, with the indexes. */
class Table {
  readonly objects: Map<string, KubeObject> = new Map();
  readonly #index: Map<string, Set<string>> = new Map();
  #sorted: readonly KubeObject[] | null = null;

  set(key: string, object: KubeObject): void {
    const old = this.objects.get(key);
    if (old !== undefined) for (const term of terms(old)) this.#index.get(term)?.delete(key);
    for (const term of terms(object)) {
      const keys = this.#index.get(term);
      if (keys === undefined) this.#index.set(term, new Set([key]));
      else keys.add(key);
    }
    this.objects.set(key, object);
    this.#sorted = null;
  }

  delete(key: string): void {
    const old = this.objects.get(key);
    if (old !== undefined)
      for (const term of terms(old)) {
        const keys = this.#index.get(term);
        keys?.delete(key);
        if (keys?.size === 0) this.#index.delete(term);
      }
    this.objects.delete(key);
    this.#sorted = null;
  }

  all(): readonly KubeObject[] {
    this.#sorted ??= [...this.objects.values()].sort(byName);
    return this.#sorted;
  }

  /** Objects under all of these index terms, sorted. */
  find(wanted: readonly string[]): readonly KubeObject[] {
    let smallest: ReadonlySet<string> | undefined;
    const sets: ReadonlySet<string>[] = [];
    for (const term of wanted) {
      const keys = this.#index.get(term);
      if (keys === undefined) return [];
      sets.push(keys);
      if (smallest === undefined || keys.size < smallest.size) smallest = keys;
    }
    const out: KubeObject[] = [];
    for (const key of smallest ?? []) {
      const object = this.objects.get(key);
      if (object !== undefined && sets.every((s) => s.has(key))) out.push(object);
    }
    return out.sort(byName);
  }
}

export class MemoryStore implements Store {
  readonly #tables: Map<string, Table> = new Map();
  readonly #watchers: Set<Watcher> = new Set();
  readonly #clock: Clock;
  #history: WatchEvent[] = [];
  #revision = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get revision(): number {
    return this.#revision;
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined {
    return this.#tables.get(kind)?.objects.get(keyIn(namespace, name)) as ObjectOf<K> | undefined;
  }

  list<K extends Kind>(kind: K, options: ListOptions = {}): readonly ObjectOf<K>[] {
    const table = this.#tables.get(kind);
    if (table === undefined) return [];
    const { namespace, labels, selector, owner, node } = options;
    const wanted: string[] = [];
    for (const [key, value] of Object.entries({ ...labels, ...selector?.matchLabels }))
      wanted.push(labelTerm(key, value));
    if (owner !== undefined) wanted.push(ownerTerm(owner));
    if (node !== undefined) wanted.push(nodeTerm(node));
    if (namespace !== undefined) wanted.push(namespaceTerm(namespace));
    const found = wanted.length === 0 ? table.all() : table.find(wanted);
    const rest = found.filter(
      (o) => matchesLabels(labels ?? NONE, o.metadata.labels) && matchesSelector(selector ?? NONE, o.metadata.labels),
    );
    return rest as readonly KubeObject[] as readonly ObjectOf<K>[];
  }

  async create<T extends KubeObject>(object: T): Promise<T> {
    const { kind, metadata } = object;
    if (metadata.name === undefined || metadata.name === "")
      throw new ApiError("Invalid", kind, "", `${kind}: metadata.name: required`);
    const key = keyIn(metadata.namespace ?? "", metadata.name);
    const table = this.#table(kind);
    if (table.objects.has(key))
      throw new ApiError("AlreadyExists", kind, key, `${kind} ${display(key)}: already exists`);
    const revision = ++this.#revision;
    const stored = {
      ...object,
      metadata: {
        ...metadata,
        uid: metadata.uid ?? uidOf(kind, key, revision),
        resourceVersion: String(revision),
        generation: 1,
        creationTimestamp: timestamp(this.#clock),
      },
    };
    table.set(key, stored);
    this.#emit({ type: "ADDED", object: stored, previous: undefined, revision });
    return stored;
  }

  async update<T extends KubeObject>(object: T): Promise<T> {
    const { kind, metadata } = object;
    const key = keyIn(metadata.namespace ?? "", metadata.name);
    const table = this.#table(kind);
    const old = table.objects.get(key);
    if (old === undefined) throw new ApiError("NotFound", kind, key, `${kind} ${display(key)}: not found`);
    const seen = metadata.resourceVersion;
    if (seen !== undefined && seen !== old.metadata.resourceVersion)
      throw new ApiError(
        "Conflict",
        kind,
        key,
        `${kind} ${display(key)}: resourceVersion ${seen}, the stored one is ${old.metadata.resourceVersion}`,
      );
    const kept = {
      uid: old.metadata.uid,
      creationTimestamp: old.metadata.creationTimestamp,
      resourceVersion: old.metadata.resourceVersion,
    };
    const generation = old.metadata.generation ?? 1;
    const next = { ...object, metadata: { ...metadata, ...kept, generation } } as T;
    if (sameValue(next, old)) return old as T;
    const revision = ++this.#revision;
    const specChanged = !sameValue((object as { spec?: unknown }).spec, (old as { spec?: unknown }).spec);
    const stored = {
      ...next,
      metadata: {
        ...next.metadata,
        resourceVersion: String(revision),
        generation: specChanged ? generation + 1 : generation,
      },
    };
    table.set(key, stored);
    this.#emit({ type: "MODIFIED", object: stored, previous: old, revision });
    return stored;
  }

  async delete(kind: Kind, namespace: string, name: string): Promise<KubeObject> {
    const key = keyIn(namespace, name);
    const old = this.#tables.get(kind)?.objects.get(key);
    if (old === undefined) throw new ApiError("NotFound", kind, key, `${kind} ${display(key)}: not found`);
    this.#table(kind).delete(key);
    const revision = ++this.#revision;
    const last = { ...old, metadata: { ...old.metadata, resourceVersion: String(revision) } };
    this.#emit({ type: "DELETED", object: last, previous: old, revision });
    return old;
  }

  watch(options: WatchOptions, handler: (event: WatchEvent) => void): () => void {
    const watcher: Watcher = { kinds: options.kinds === undefined ? null : new Set(options.kinds), handler };
    if (options.from !== undefined) this.#replay(options.from, watcher);
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  #replay(from: number, watcher: Watcher): void {
    if (from === 0) {
      for (const [kind, table] of [...this.#tables].sort(([a], [b]) => (a < b ? -1 : 1)))
        if (watcher.kinds === null || watcher.kinds.has(kind))
          for (const object of table.all())
            watcher.handler({
              type: "ADDED",
              object,
              previous: undefined,
              revision: Number(object.metadata.resourceVersion),
            });
      return;
    }
    if (from > this.#revision)
      throw new ApiError("Invalid", "", "", `revision ${from}: the last one is ${this.#revision}`);
    const oldest = this.#history[0]?.revision ?? this.#revision + 1;
    if (from < oldest - 1)
      throw new ApiError("Expired", "", "", `revision ${from}: too old, events are kept from ${oldest}`);
    for (const event of this.#history) if (event.revision > from) deliver(watcher, event);
  }

  #emit(event: WatchEvent): void {
    this.#history.push(event);
    if (this.#history.length >= 2 * HISTORY) this.#history = this.#history.slice(-HISTORY);
    for (const watcher of this.#watchers) deliver(watcher, event);
  }

  #table(kind: string): Table {
    const table = this.#tables.get(kind);
    if (table !== undefined) return table;
    const made = new Table();
    this.#tables.set(kind, made);
    return made;
  }
}

const NONE: Labels = {};

function deliver(watcher: Watcher, event: WatchEvent): void {
  if (watcher.kinds === null || watcher.kinds.has(event.object.kind)) watcher.handler(event);
}

function keyIn(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function display(key: string): string {
  return key.startsWith("/") ? key.slice(1) : key;
}

function byName(a: KubeObject, b: KubeObject): number {
  const x = a.metadata.namespace ?? "";
  const y = b.metadata.namespace ?? "";
  if (x !== y) return x < y ? -1 : 1;
  return a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0;
}

function terms(object: KubeObject): string[] {
  const { labels, ownerReferences, namespace } = object.metadata;
  const out: string[] = [];
  if (namespace !== undefined) out.push(namespaceTerm(namespace));
  for (const key in labels) out.push(labelTerm(key, labels[key] ?? ""));
  for (const owner of ownerReferences ?? []) out.push(ownerTerm(owner.uid));
  const node = object.kind === "Pod" ? (object as Pod).spec.nodeName : undefined;
  if (node !== undefined) out.push(nodeTerm(node));
  return out;
}

const labelTerm = (key: string, value: string): string => `l ${key}=${value}`;
const ownerTerm = (uid: string): string => `o ${uid}`;
const nodeTerm = (name: string): string => `n ${name}`;
const namespaceTerm = (name: string): string => `s ${name}`;

/** A UUID in shape, the same for the same run. */
function uidOf(kind: string, key: string, revision: number): string {
  const hex = [0, 1, 2, 3]
    .map((i) => hashText(`${i} ${kind} ${key} ${revision}`).toString(16).padStart(8, "0"))
    .join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The clock counts from the start of the run; runs start at 2026-01-01 so that timestamps look like timestamps. */
const EPOCH_DAYS_2026 = 20454;

function timestamp(clock: Clock): string {
  let seconds = Math.floor(clock.now() / 1000) + EPOCH_DAYS_2026 * 86400;
  const time = [3600, 60, 1].map((unit) => {
    const n = Math.floor((seconds % 86400) / unit) % (unit === 3600 ? 24 : 60);
    return String(n).padStart(2, "0");
  });
  seconds -= seconds % 86400;
  const { year, month, day } = civil(seconds / 86400);
  return `${year}-${String(month).padStart(2, "0")}-${String(day).padStart(2, "0")}T${time.join(":")}Z`;
}

/** Days since 1970 as a date of the Gregorian calendar, counted in eras of 400 years that start in March. */
function civil(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  const shifted = days + 719468;
  const era = Math.floor(shifted / 146097);
  const ofEra = shifted - era * 146097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36524) - Math.floor(ofEra / 146096)) / 365,
  );
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * ofYear + 2) / 153);
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: ofYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
  };
}
