/**
 * What every object has: TypeMeta and ObjectMeta (k8s.io/apimachinery meta/v1), names, labels and label selectors.
 * Leaves out managedFields and the status of list calls.
 */
import type { Path, Report } from "./issue.ts";
import { show } from "./issue.ts";
import { any, bool, type Fields, int, list, map, obj, type Schema, str } from "./schema.ts";

export type Labels = Readonly<Record<string, string>>;

export type OwnerReference = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
};

export type ObjectMeta = {
  readonly name: string;
  readonly namespace?: string;
  readonly generateName?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339, from the virtual clock. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Labels;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
};

export type KubeObject = { readonly apiVersion: string; readonly kind: string; readonly metadata: ObjectMeta };

export type LabelRequirement = {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
  readonly values?: readonly string[];
};
export type LabelSelector = { readonly matchLabels?: Labels; readonly matchExpressions?: readonly LabelRequirement[] };

export const metaSchema: Schema = obj({
  name: str,
  namespace: str,
  generateName: str,
  uid: str,
  resourceVersion: str,
  generation: int,
  creationTimestamp: any,
  deletionTimestamp: any,
  deletionGracePeriodSeconds: int,
  labels: map(str),
  annotations: map(str),
  ownerReferences: list(
    obj(
      { apiVersion: str, kind: str, name: str, uid: str, controller: bool, blockOwnerDeletion: bool },
      "kind",
      "name",
    ),
  ),
  finalizers: list(str),
  managedFields: any,
  selfLink: str,
});

export const selectorSchema: Schema = obj({
  matchLabels: map(str),
  matchExpressions: list(obj({ key: str, operator: str, values: list(str) }, "key", "operator")),
});

/** The fields of an object of any kind, with the kind's own added. */
export function kindSchema(fields: Fields, ...required: readonly string[]): Schema {
  return obj({ apiVersion: str, kind: str, metadata: metaSchema, ...fields }, "metadata", ...required);
}

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/;

/** RFC 1123 label: at most 63 octets of a-z, 0-9 and `-`. */
export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

/** RFC 1123 subdomain: labels joined by dots, at most 253 octets. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && SUBDOMAIN.test(text);
}

/** RFC 1035 label: as RFC 1123, but it starts with a letter. Services need it. */
export function isDns1035Label(text: string): boolean {
  return LABEL.test(text) && /^[a-z]/.test(text);
}

/** IANA service name: at most 15 octets, one letter at least, no two dashes in a row. Names of ports need it. */
export function isPortName(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(text) && /[a-z]/.test(text) && !text.includes("--");
}

export function isLabelKey(text: string): boolean {
  const slash = text.indexOf("/");
  if (slash < 0) return QUALIFIED.test(text);
  return isDnsSubdomain(text.slice(0, slash)) && QUALIFIED.test(text.slice(slash + 1));
}

export function isLabelValue(text: string): boolean {
  return text === "" || QUALIFIED.test(text);
}

/** Reports keys and values that are not label syntax. */
export function checkLabels(labels: unknown, path: Path, report: Report): void {
  if (typeof labels !== "object" || labels === null) return;
  for (const [key, value] of Object.entries(labels)) {
    if (!isLabelKey(key))
      report("error", [...path, key], show(key), "a label key (prefix/name, name at most 63 characters)");
    if (typeof value === "string" && !isLabelValue(value))
      report("error", [...path, key], show(value), "a label value (at most 63 of A-Z, a-z, 0-9, -, _, .)");
  }
}

/** Whether labels satisfy a plain mapping, as a Service's selector. An empty one matches everything. */
export function matchesLabels(want: Labels, labels: Labels | undefined): boolean {
  for (const key in want) if (labels?.[key] !== want[key]) return false;
  return true;
}

/** Whether labels satisfy a selector with expressions. An empty one matches everything. */
export function matchesSelector(selector: LabelSelector, labels: Labels | undefined): boolean {
  if (!matchesLabels(selector.matchLabels ?? {}, labels)) return false;
  return (selector.matchExpressions ?? []).every((e) => matchesRequirement(e, labels));
}

export function matchesRequirement(e: LabelRequirement, labels: Labels | undefined): boolean {
  const value = labels?.[e.key];
  const values = e.values ?? [];
  switch (e.operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
  }
}

/** The owner that controls an object, if one does. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((o) => o.controller === true);
}

export function ownerOf(object: KubeObject): OwnerReference {
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name: object.metadata.name,
    uid: object.metadata.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** `namespace/name`, or `name` where there is no namespace. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

export function splitKey(key: string): { readonly namespace: string; readonly name: string } {
  const slash = key.indexOf("/");
  return slash < 0 ? { namespace: "", name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
