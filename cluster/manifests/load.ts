/**
 * Manifests to objects: documents, `List` kinds and `kubectl get -o yaml` dumps, checked, with the place of each.
 *
 * Of a dump, what the cluster writes is dropped (resourceVersion, managedFields, creation time, status), except a
 * Service's load balancer addresses and a Node's status, which are input here. uid stays, because owner references use it.
 */
import { formatPath, type Path, show } from "../api/issue.ts";
import { kindInfo } from "../api/kinds.ts";
import type { KubeObject } from "../api/meta.ts";
import { isMapping } from "../api/schema.ts";
import { validateObject } from "../api/validate.ts";
import { validateSet } from "../api/validate-set.ts";
import { type ManifestDocument, splitDocuments } from "./document.ts";
import { InputError, type InputIssue, placeIssue } from "./input-error.ts";
import type { Source } from "./sources.ts";

/** Where an object came from. */
export type Origin = {
  readonly file: string;
  /** Line of the object's first field. */
  readonly line: number;
  /** Line of a field, or of the nearest thing around it that exists. */
  lineOf(path: Path): number;
};

export type LoadedObject = { readonly object: KubeObject; readonly origin: Origin };
export type Manifests = { readonly objects: readonly LoadedObject[]; readonly warnings: readonly InputIssue[] };

/** Reads all sources. Throws the first InputError in the order of the input; warnings are returned. */
export function loadManifests(sources: readonly Source[]): Manifests {
  const loader = new Loader();
  for (const source of sources) loader.addSource(source);
  return loader.finish();
}

class Loader {
  readonly #objects: LoadedObject[] = [];
  readonly #warnings: InputIssue[] = [];

  addSource({ file, text }: Source): void {
    const documents = splitDocuments(file, text);
    if (documents.length === 0) this.#warn(file, 0, "file", "no objects", "a Kubernetes object at least");
    for (const doc of documents) this.#addDocument(doc);
  }

  #addDocument(doc: ManifestDocument): void {
    this.#addValue(doc.value, doc, []);
  }

  #addValue(value: unknown, doc: ManifestDocument, at: Path): void {
    if (isMapping(value) && typeof value.kind === "string") {
      if (value.kind.endsWith("List") && (Array.isArray(value.items) || value.kind === "List")) {
        this.#addList(value, doc, at);
        return;
      }
      if (typeof value.apiVersion === "string" && value.apiVersion.startsWith("kustomize.config.k8s.io/")) {
        this.#warn(doc.file, doc.lineOf(at), "kind", value.kind, "plain manifests: pipe `kustomize build` into `-f -`");
        return;
      }
    }
    this.#addObject(value, originOf(doc, at));
  }

  #addList(value: Record<string, unknown>, doc: ManifestDocument, at: Path): void {
    const items = value.items ?? [];
    if (!Array.isArray(items))
      throw new InputError({
        file: doc.file,
        line: doc.lineOf([...at, "items"]),
        field: "items",
        found: show(items),
        expected: "a list",
      });
    const itemKind = String(value.kind).slice(0, -4);
    for (const [i, item] of items.entries()) {
      const full =
        itemKind !== "" && isMapping(item)
          ? { apiVersion: item.apiVersion ?? value.apiVersion, kind: item.kind ?? itemKind, ...item }
          : item;
      this.#addValue(full, doc, [...at, "items", i]);
    }
  }

  #addObject(value: unknown, origin: Origin): void {
    for (const issue of validateObject(value)) {
      const placed = placeIssue(issue, origin.file, origin.lineOf(issue.path));
      if (issue.severity === "error") throw new InputError(placed);
      this.#warnings.push(placed);
    }
    this.#objects.push({ object: normalise(value as KubeObject), origin });
  }

  finish(): Manifests {
    const origins = new Map(this.#objects.map((o) => [o.object, o.origin]));
    validateSet(
      this.#objects.map((o) => o.object),
      (object, severity, path, found, expected) => {
        const origin = origins.get(object);
        const file = origin?.file ?? "";
        const issue: InputIssue = {
          severity,
          file,
          line: origin?.lineOf(path) ?? 0,
          field: formatPath(path),
          found,
          expected,
        };
        if (severity === "error") throw new InputError(issue);
        this.#warnings.push(issue);
      },
    );
    return { objects: this.#objects, warnings: this.#warnings };
  }

  #warn(file: string, line: number, field: string, found: string, expected: string): void {
    this.#warnings.push({ severity: "warning", file, line, field, found, expected });
  }
}

function originOf(doc: ManifestDocument, at: Path): Origin {
  return {
    file: doc.file,
    get line() {
      return at.length === 0 ? doc.line : doc.lineOf(at);
    },
    lineOf: (path) => (path.length === 0 && at.length === 0 ? doc.line : doc.lineOf([...at, ...path])),
  };
}

/** An object as it is written to the store: with a namespace where it needs one, without what the cluster writes. */
export function normalise(object: KubeObject): KubeObject {
  const info = kindInfo(object.apiVersion, object.kind);
  const { metadata, status, ...rest } = object as KubeObject & { readonly status?: unknown };
  const {
    resourceVersion,
    managedFields,
    creationTimestamp,
    deletionTimestamp,
    generation,
    selfLink,
    namespace,
    ...kept
  } = metadata as typeof metadata & { managedFields?: unknown; selfLink?: unknown };
  const place =
    info?.namespaced === false
      ? {}
      : { namespace: namespace === undefined || namespace === "" ? "default" : namespace };
  const keptStatus = (object.kind === "Service" || object.kind === "Node") && isMapping(status) ? { status } : {};
  const custom = info === undefined && namespace === undefined;
  return withoutNulls({ ...rest, metadata: { ...kept, ...(custom ? {} : place) }, ...keptStatus }) as KubeObject;
}

/** Null is the same as absent, as the API server decodes it. Values without nulls are returned as they are. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.some(hasNull) ? value.map(withoutNulls) : value;
  if (!isMapping(value) || !hasNull(value)) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([k, v]) => (v === null ? [] : [[k, withoutNulls(v)]])));
}

function hasNull(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  for (const key in value) if (hasNull((value as Record<string, unknown>)[key])) return true;
  return false;
}
