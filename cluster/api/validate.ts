/**
 * One object, checked as the API server would: kind, name, labels, shape, and what the kind adds.
 * What needs several objects (selectors that find nothing, missing namespaces) is in `validate-set.ts`.
 */
import { formatPath, type Issue, type Report, show } from "./issue.ts";
import { isBuiltinGroup, type KindInfo, kindInfo, versionsOf } from "./kinds.ts";
import { checkLabels, isDnsLabel, isDnsSubdomain, type KubeObject } from "./meta.ts";
import { isMapping, walk } from "./schema.ts";

export function validateObject(value: unknown): readonly Issue[] {
  const issues: Issue[] = [];
  const report: Report = (severity, path, found, expected) => {
    if (issues.some((i) => i.severity === severity && formatPath(i.path) === formatPath(path))) return;
    issues.push({ severity, path, found, expected });
  };
  if (!isMapping(value)) {
    report("error", [], show(value), "a Kubernetes object");
    return issues;
  }
  const info = checkKind(value, report);
  if (info === null) return issues;
  checkMetadata(value.metadata, info, report);
  if (info?.schema !== undefined) walk(info.schema, value, [], report);
  if (info !== undefined && isMapping(value.metadata)) info.check?.(value as KubeObject, report);
  return issues;
}

/** The kind's entry; undefined for a custom resource; null when the object cannot be used at all. */
function checkKind(value: Record<string, unknown>, report: Report): KindInfo | undefined | null {
  const { apiVersion, kind } = value;
  if (typeof kind !== "string" || kind === "") {
    report("error", ["kind"], show(kind), "a kind such as Service");
    return null;
  }
  if (typeof apiVersion !== "string" || apiVersion === "") {
    const known = versionsOf(kind);
    report(
      "error",
      ["apiVersion"],
      show(apiVersion),
      known.length > 0 ? known.join(" or ") : "an API version such as v1",
    );
    return null;
  }
  const info = kindInfo(apiVersion, kind);
  if (info !== undefined) {
    if (info.use === "stored")
      report("warning", ["kind"], kind, `a kind that podwire acts on: ${info.note ?? "it is only stored"}`);
    return info;
  }
  const known = versionsOf(kind);
  if (isBuiltinGroup(apiVersion) || !/^[a-z0-9][-a-z0-9]*(\.[-a-z0-9]+)+\/v\d\w*$/.test(apiVersion)) {
    if (known.length > 0) report("error", ["apiVersion"], show(apiVersion), `${known.join(" or ")} for kind ${kind}`);
    else report("error", ["kind"], `${kind} of ${apiVersion}`, "a kind that Kubernetes has");
    return null;
  }
  report(
    "warning",
    ["kind"],
    `${kind} of ${apiVersion}`,
    "a kind that podwire acts on: custom resources are only stored",
  );
  return undefined;
}

function checkMetadata(metadata: unknown, info: KindInfo | undefined, report: Report): void {
  if (!isMapping(metadata)) {
    report("error", ["metadata"], show(metadata), "a mapping with a name");
    return;
  }
  const { name, generateName, namespace } = metadata;
  if (name === undefined || name === null || name === "") {
    if (typeof generateName !== "string" || generateName === "")
      report("error", ["metadata", "name"], "nothing", "a name");
  } else if (typeof name !== "string") report("error", ["metadata", "name"], show(name), "a string");
  else if (info !== undefined && info.kind !== "Service" && !validName(info, name))
    report("error", ["metadata", "name"], show(name), nameRule(info));
  if (namespace !== undefined && namespace !== null && namespace !== "") {
    if (typeof namespace !== "string" || !isDnsLabel(namespace))
      report("error", ["metadata", "namespace"], show(namespace), "a DNS label (a-z, 0-9, -, at most 63 characters)");
    else if (info?.namespaced === false)
      report("warning", ["metadata", "namespace"], show(namespace), `nothing, kind ${info.kind} has no namespace`);
  }
  checkLabels(metadata.labels, ["metadata", "labels"], report);
  if (isMapping(metadata.annotations))
    for (const key of Object.keys(metadata.annotations))
      checkLabels({ [key]: "" }, ["metadata", "annotations"], report);
}

function validName(info: KindInfo, name: string): boolean {
  if (info.group.startsWith("rbac.")) return !/[/%]/.test(name) && name !== "." && name !== "..";
  return info.kind === "Namespace" ? isDnsLabel(name) : isDnsSubdomain(name);
}

function nameRule(info: KindInfo): string {
  return info.kind === "Namespace"
    ? "a DNS label (a-z, 0-9, -, at most 63 characters)"
    : "a DNS subdomain (a-z, 0-9, - and ., at most 253 characters)";
}
