/**
 * What can only be seen with all objects at hand: Services that select no pod template, target ports that no container
 * has, duplicate objects, node ports and ClusterIPs that two Services ask for, missing namespaces.
 * Kubernetes accepts the first two, so they are warnings here.
 */
import { formatPath, type Path, type Severity } from "./issue.ts";
import type { KubeObject, Labels } from "./meta.ts";
import type { Pod, PodSpec, PodTemplate } from "./pod.ts";
import { isMapping } from "./schema.ts";
import { clusterIps, type Service, type ServicePort } from "./service.ts";

export type SetReport = (object: KubeObject, severity: Severity, path: Path, found: string, expected: string) => void;

const TEMPLATE_KINDS: ReadonlySet<string> = new Set([
  "Deployment",
  "ReplicaSet",
  "ReplicationController",
  "DaemonSet",
  "StatefulSet",
  "Job",
]);

type Source = { readonly labels: Labels; readonly spec: PodSpec };

export function validateSet(objects: readonly KubeObject[], report: SetReport): void {
  checkDuplicates(objects, report);
  checkNamespaces(objects, report);
  const sources = podSources(objects);
  const given = new Set(
    objects
      .filter((o) => o.kind === "EndpointSlice" || o.kind === "Endpoints")
      .map((o) => `${o.metadata.namespace}/${o.metadata.labels?.["kubernetes.io/service-name"] ?? o.metadata.name}`),
  );
  const used = new Map<string, string>();
  for (const object of objects) {
    if (object.kind !== "Service" || object.apiVersion !== "v1") continue;
    const service = object as Service;
    if (!isMapping(service.spec)) continue;
    checkShared(service, used, report);
    checkSelector(service, sources, given, report);
  }
}

function checkDuplicates(objects: readonly KubeObject[], report: SetReport): void {
  const seen = new Set<string>();
  for (const object of objects) {
    const { namespace, name } = object.metadata;
    if (typeof name !== "string" || name === "") continue;
    const key = `${object.apiVersion} ${object.kind} ${namespace ?? ""}/${name}`;
    if (seen.has(key))
      report(
        object,
        "error",
        ["metadata", "name"],
        `${object.kind} ${namespace === undefined ? "" : `${namespace}/`}${name} a second time`,
        "each object once",
      );
    seen.add(key);
  }
}

const BUILTIN_NAMESPACES: readonly string[] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/** Kubernetes would refuse an object whose namespace is not there; here the namespace is made, with one warning. */
function checkNamespaces(objects: readonly KubeObject[], report: SetReport): void {
  const known = new Set(BUILTIN_NAMESPACES);
  for (const object of objects) if (object.kind === "Namespace") known.add(object.metadata.name);
  for (const object of objects) {
    const { namespace } = object.metadata;
    if (namespace === undefined || known.has(namespace)) continue;
    known.add(namespace);
    report(object, "warning", ["metadata", "namespace"], namespace, "a Namespace object of this name, it is created");
  }
}

/** What could make pods, by namespace and by each of its labels, so that a selector looks at few. */
function podSources(objects: readonly KubeObject[]): ReadonlyMap<string, readonly Source[]> {
  const index = new Map<string, Source[]>();
  const add = (namespace: string | undefined, labels: Labels | undefined, spec: PodSpec | undefined): void => {
    if (spec === undefined || !isMapping(spec)) return;
    for (const [key, value] of Object.entries(labels ?? {})) {
      const at = `${namespace} ${key}=${value}`;
      const list = index.get(at);
      if (list === undefined) index.set(at, [{ labels: labels ?? {}, spec }]);
      else list.push({ labels: labels ?? {}, spec });
    }
  };
  for (const object of objects) {
    if (object.kind === "Pod") add(object.metadata.namespace, object.metadata.labels, (object as Pod).spec);
    else if (TEMPLATE_KINDS.has(object.kind)) {
      const template = (object as { spec?: { template?: PodTemplate } }).spec?.template;
      add(object.metadata.namespace, template?.metadata?.labels, template?.spec);
    }
  }
  return index;
}

function checkSelector(
  service: Service,
  sources: ReadonlyMap<string, readonly Source[]>,
  given: ReadonlySet<string>,
  report: SetReport,
): void {
  const { selector, type } = service.spec;
  const { namespace, name } = service.metadata;
  if (type === "ExternalName" || given.has(`${namespace}/${name}`)) return;
  const terms = Object.entries(selector ?? {});
  const first = terms[0];
  if (first === undefined) {
    report(service, "warning", ["spec", "selector"], "nothing", "a selector, or an EndpointSlice for this service");
    return;
  }
  const matching = (sources.get(`${namespace} ${first[0]}=${first[1]}`) ?? []).filter((s) =>
    terms.every(([k, v]) => s.labels[k] === v),
  );
  if (matching.length === 0) {
    const text = terms.map(([k, v]) => `${k}=${v}`).join(",");
    report(service, "warning", ["spec", "selector"], text, `labels that a pod in namespace ${namespace} has`);
    return;
  }
  for (const [i, p] of (Array.isArray(service.spec.ports)
    ? (service.spec.ports as readonly ServicePort[])
    : []
  ).entries())
    checkTarget(service, p, i, matching, report);
}

function checkTarget(
  service: Service,
  p: ServicePort,
  i: number,
  matching: readonly Source[],
  report: SetReport,
): void {
  const target = p.targetPort;
  if (typeof target !== "string") return;
  const protocol = p.protocol ?? "TCP";
  const names = new Set<string>();
  for (const source of matching)
    for (const container of [...(source.spec.containers ?? []), ...(source.spec.initContainers ?? [])])
      for (const port of container?.ports ?? [])
        if (port?.name !== undefined && (port.protocol ?? "TCP") === protocol) names.add(port.name);
  if (names.has(target)) return;
  const known = [...names].sort();
  report(
    service,
    "warning",
    ["spec", "ports", i, "targetPort"],
    JSON.stringify(target),
    known.length === 0
      ? `the name of a ${protocol} port of the selected pods, which name none`
      : `the name of a ${protocol} port of the selected pods: ${known.join(", ")}`,
  );
}

/** ClusterIPs and node ports that an earlier Service has already. */
function checkShared(service: Service, used: Map<string, string>, report: SetReport): void {
  const me = `${service.metadata.namespace}/${service.metadata.name}`;
  const take = (what: string, path: Path): void => {
    const holder = used.get(what);
    if (holder !== undefined && holder !== me)
      report(service, "error", path, what, `a value that Service ${holder} does not have (${formatPath(path)})`);
    else used.set(what, me);
  };
  for (const ip of clusterIps(service)) take(ip, ["spec", "clusterIP"]);
  for (const [i, p] of (Array.isArray(service.spec.ports)
    ? (service.spec.ports as readonly ServicePort[])
    : []
  ).entries())
    if (p?.nodePort) take(`${p.protocol ?? "TCP"} ${p.nodePort}`, ["spec", "ports", i, "nodePort"]);
}
