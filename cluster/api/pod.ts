/** Pod (core/v1) and the PodSpec that the workload kinds carry. Volumes and security settings are known by name only. */
import type { Path, Report } from "./issue.ts";
import { show } from "./issue.ts";
import {
  checkLabels,
  isDnsLabel,
  isPortName,
  type KubeObject,
  kindSchema,
  type LabelSelector,
  type Labels,
  metaSchema,
  type ObjectMeta,
  selectorSchema,
} from "./meta.ts";
import {
  any,
  bool,
  int,
  intOrString,
  list,
  map,
  natural,
  obj,
  oneOf,
  opaque,
  port,
  quantity,
  type Schema,
  str,
} from "./schema.ts";

export type Protocol = "TCP" | "UDP" | "SCTP";

export type ContainerPort = {
  readonly name?: string;
  readonly containerPort: number;
  readonly hostPort?: number;
  readonly hostIP?: string;
  readonly protocol?: Protocol;
};
export type EnvVarSource = {
  readonly fieldRef?: { readonly fieldPath: string };
  readonly resourceFieldRef?: { readonly resource: string; readonly containerName?: string };
  readonly configMapKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
  readonly secretKeyRef?: { readonly name: string; readonly key: string; readonly optional?: boolean };
};
export type EnvVar = { readonly name: string; readonly value?: string; readonly valueFrom?: EnvVarSource };
export type EnvFromSource = {
  readonly prefix?: string;
  readonly configMapRef?: { readonly name: string; readonly optional?: boolean };
  readonly secretRef?: { readonly name: string; readonly optional?: boolean };
};
export type Probe = {
  readonly httpGet?: {
    readonly port: number | string;
    readonly path?: string;
    readonly host?: string;
    readonly scheme?: string;
  };
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly grpc?: { readonly port: number; readonly service?: string };
  readonly exec?: { readonly command?: readonly string[] };
};
export type Container = {
  readonly name: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly ContainerPort[];
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly EnvFromSource[];
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly startupProbe?: Probe;
  readonly restartPolicy?: string;
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string | number>>;
    readonly limits?: Readonly<Record<string, string | number>>;
  };
};
export type Toleration = {
  readonly key?: string;
  readonly operator?: "Exists" | "Equal";
  readonly value?: string;
  readonly effect?: string;
  readonly tolerationSeconds?: number;
};
export type NodeSelectorTerm = {
  readonly matchExpressions?: NonNullable<LabelSelector["matchExpressions"]>;
  readonly matchFields?: NonNullable<LabelSelector["matchExpressions"]>;
};
export type PodAffinityTerm = {
  readonly labelSelector?: LabelSelector;
  readonly topologyKey: string;
  readonly namespaces?: readonly string[];
};
export type Affinity = {
  readonly nodeAffinity?: {
    readonly requiredDuringSchedulingIgnoredDuringExecution?: {
      readonly nodeSelectorTerms: readonly NodeSelectorTerm[];
    };
  };
  readonly podAffinity?: { readonly requiredDuringSchedulingIgnoredDuringExecution?: readonly PodAffinityTerm[] };
  readonly podAntiAffinity?: { readonly requiredDuringSchedulingIgnoredDuringExecution?: readonly PodAffinityTerm[] };
};
export type DnsConfig = {
  readonly nameservers?: readonly string[];
  readonly searches?: readonly string[];
  readonly options?: readonly { readonly name: string; readonly value?: string }[];
};
export type PodSpec = {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly nodeName?: string;
  readonly nodeSelector?: Labels;
  readonly affinity?: Affinity;
  readonly tolerations?: readonly Toleration[];
  readonly hostNetwork?: boolean;
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly hostAliases?: readonly { readonly ip: string; readonly hostnames?: readonly string[] }[];
  readonly setHostnameAsFQDN?: boolean;
  readonly dnsPolicy?: "ClusterFirst" | "ClusterFirstWithHostNet" | "Default" | "None";
  readonly dnsConfig?: DnsConfig;
  readonly enableServiceLinks?: boolean;
  readonly restartPolicy?: "Always" | "OnFailure" | "Never";
  readonly serviceAccountName?: string;
  readonly schedulerName?: string;
  readonly terminationGracePeriodSeconds?: number;
};
export type PodCondition = {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason?: string;
  readonly message?: string;
};
export type PodStatus = {
  readonly phase?: "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown";
  readonly podIP?: string;
  readonly podIPs?: readonly { readonly ip: string }[];
  readonly hostIP?: string;
  readonly hostIPs?: readonly { readonly ip: string }[];
  readonly conditions?: readonly PodCondition[];
  readonly startTime?: string;
  readonly message?: string;
  readonly reason?: string;
};
export type Pod = KubeObject & { readonly kind: "Pod"; readonly spec: PodSpec; readonly status?: PodStatus };
export type PodTemplate = { readonly metadata?: Omit<ObjectMeta, "name">; readonly spec: PodSpec };

const probe: Schema = obj({
  httpGet: obj({ path: str, port: intOrString, host: str, scheme: oneOf("HTTP", "HTTPS"), httpHeaders: any }, "port"),
  tcpSocket: obj({ port: intOrString, host: str }, "port"),
  grpc: obj({ port, service: str }, "port"),
  exec: obj({ command: list(str) }),
  initialDelaySeconds: natural,
  timeoutSeconds: natural,
  periodSeconds: natural,
  successThreshold: natural,
  failureThreshold: natural,
  terminationGracePeriodSeconds: natural,
});
const keyRef: Schema = obj({ name: str, key: str, optional: bool }, "key");
const resources: Schema = obj({ limits: map(quantity), requests: map(quantity), claims: any });
const container: Schema = obj(
  {
    name: str,
    image: str,
    imagePullPolicy: oneOf("Always", "IfNotPresent", "Never"),
    command: list(str),
    args: list(str),
    workingDir: str,
    ports: list(
      obj(
        {
          name: str,
          containerPort: port,
          hostPort: { type: "int", min: 0, max: 65535 },
          hostIP: str,
          protocol: oneOf("TCP", "UDP", "SCTP"),
        },
        "containerPort",
      ),
    ),
    env: list(
      obj(
        {
          name: str,
          value: str,
          valueFrom: obj({
            fieldRef: obj({ apiVersion: str, fieldPath: str }, "fieldPath"),
            resourceFieldRef: obj({ containerName: str, resource: str, divisor: any }, "resource"),
            configMapKeyRef: keyRef,
            secretKeyRef: keyRef,
            fileKeyRef: any,
          }),
        },
        "name",
      ),
    ),
    envFrom: list(
      obj({
        prefix: str,
        configMapRef: obj({ name: str, optional: bool }),
        secretRef: obj({ name: str, optional: bool }),
      }),
    ),
    resources,
    resizePolicy: any,
    restartPolicy: str,
    restartPolicyRules: any,
    volumeMounts: list(opaque),
    volumeDevices: list(opaque),
    livenessProbe: probe,
    readinessProbe: probe,
    startupProbe: probe,
    lifecycle: opaque,
    terminationMessagePath: str,
    terminationMessagePolicy: str,
    securityContext: opaque,
    stdin: bool,
    stdinOnce: bool,
    tty: bool,
    targetContainerName: str,
  },
  "name",
);
const requirement: Schema = obj({ key: str, operator: str, values: list(str) }, "key", "operator");
const nodeTerm: Schema = obj({ matchExpressions: list(requirement), matchFields: list(requirement) });
const podTerm: Schema = obj(
  {
    labelSelector: selectorSchema,
    namespaces: list(str),
    topologyKey: str,
    namespaceSelector: selectorSchema,
    matchLabelKeys: list(str),
    mismatchLabelKeys: list(str),
  },
  "topologyKey",
);
const podAffinity: Schema = obj({
  requiredDuringSchedulingIgnoredDuringExecution: list(podTerm),
  preferredDuringSchedulingIgnoredDuringExecution: list(
    obj({ weight: int, podAffinityTerm: podTerm }, "weight", "podAffinityTerm"),
  ),
});

export const podSpecSchema: Schema = obj(
  {
    activeDeadlineSeconds: natural,
    affinity: obj({
      nodeAffinity: obj({
        requiredDuringSchedulingIgnoredDuringExecution: obj({ nodeSelectorTerms: list(nodeTerm) }, "nodeSelectorTerms"),
        preferredDuringSchedulingIgnoredDuringExecution: list(
          obj({ weight: int, preference: nodeTerm }, "weight", "preference"),
        ),
      }),
      podAffinity,
      podAntiAffinity: podAffinity,
    }),
    automountServiceAccountToken: bool,
    containers: list(container),
    dnsConfig: obj({ nameservers: list(str), searches: list(str), options: list(obj({ name: str, value: str })) }),
    dnsPolicy: oneOf("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    enableServiceLinks: bool,
    ephemeralContainers: list(container),
    hostAliases: list(obj({ ip: str, hostnames: list(str) }, "ip")),
    hostIPC: bool,
    hostNetwork: bool,
    hostPID: bool,
    hostUsers: bool,
    hostname: str,
    hostnameOverride: str,
    imagePullSecrets: list(obj({ name: str })),
    initContainers: list(container),
    nodeName: str,
    nodeSelector: map(str),
    os: obj({ name: str }, "name"),
    overhead: map(quantity),
    preemptionPolicy: str,
    priority: int,
    priorityClassName: str,
    readinessGates: list(obj({ conditionType: str }, "conditionType")),
    resourceClaims: any,
    resources,
    restartPolicy: oneOf("Always", "OnFailure", "Never"),
    runtimeClassName: str,
    schedulerName: str,
    schedulingGates: list(obj({ name: str }, "name")),
    securityContext: opaque,
    serviceAccount: str,
    serviceAccountName: str,
    setHostnameAsFQDN: bool,
    shareProcessNamespace: bool,
    subdomain: str,
    terminationGracePeriodSeconds: natural,
    tolerations: list(
      obj({
        key: str,
        operator: oneOf("Exists", "Equal", "Lt", "Gt"),
        value: str,
        effect: oneOf("NoSchedule", "PreferNoSchedule", "NoExecute"),
        tolerationSeconds: int,
      }),
    ),
    topologySpreadConstraints: list(
      obj(
        {
          maxSkew: int,
          topologyKey: str,
          whenUnsatisfiable: str,
          labelSelector: selectorSchema,
          minDomains: int,
          nodeAffinityPolicy: str,
          nodeTaintsPolicy: str,
          matchLabelKeys: list(str),
        },
        "maxSkew",
        "topologyKey",
        "whenUnsatisfiable",
      ),
    ),
    volumes: list(opaque),
    workloadRef: any,
  },
  "containers",
);
export const templateSchema: Schema = obj({ metadata: metaSchema, spec: podSpecSchema }, "spec");
export const podSchema: Schema = kindSchema({ spec: podSpecSchema, status: opaque }, "spec");

/** What needs more than one field: names, duplicate names of containers and ports, host ports. */
export function checkPodSpec(spec: PodSpec, path: Path, report: Report): void {
  if (!Array.isArray(spec.containers)) return;
  if (spec.containers.length === 0) report("error", [...path, "containers"], "an empty list", "one container at least");
  const names = new Set<string>();
  for (const field of ["containers", "initContainers"] as const) {
    const containers = spec[field];
    if (!Array.isArray(containers)) continue;
    for (const [i, c] of containers.entries()) checkContainer(c, [...path, field, i], names, report);
  }
  for (const field of ["hostname", "subdomain"] as const) {
    const name = spec[field];
    if (typeof name === "string" && name !== "" && !isDnsLabel(name))
      report("error", [...path, field], show(name), "a DNS label (a-z, 0-9, -, at most 63 characters)");
  }
}

function checkContainer(c: Container, path: Path, names: Set<string>, report: Report): void {
  if (typeof c !== "object" || c === null) return;
  if (typeof c.name === "string") {
    if (!isDnsLabel(c.name))
      report("error", [...path, "name"], show(c.name), "a DNS label (a-z, 0-9, -, at most 63 characters)");
    if (names.has(c.name))
      report("error", [...path, "name"], show(c.name), "a name that no other container of the pod has");
    names.add(c.name);
  }
  if (c.image === undefined || c.image === "") report("error", [...path, "image"], "nothing", "an image");
  if (!Array.isArray(c.ports)) return;
  const portNames = new Set<string>();
  for (const [i, p] of (c.ports as readonly ContainerPort[]).entries()) {
    if (typeof p?.name !== "string") continue;
    if (!isPortName(p.name))
      report(
        "error",
        [...path, "ports", i, "name"],
        show(p.name),
        "a port name (at most 15 of a-z, 0-9, -, one letter at least)",
      );
    if (portNames.has(p.name))
      report("error", [...path, "ports", i, "name"], show(p.name), "a name that no other port of the container has");
    portNames.add(p.name);
  }
}

export function checkPod(pod: Pod, report: Report): void {
  if (typeof pod.spec === "object" && pod.spec !== null) checkPodSpec(pod.spec, ["spec"], report);
}

/** The pod template of a workload kind, checked as a pod is; its labels must satisfy the kind's selector. */
export function checkTemplate(object: KubeObject, report: Report): void {
  const spec = (object as { spec?: { template?: PodTemplate; selector?: LabelSelector } }).spec;
  const template = spec?.template;
  if (typeof template !== "object" || template === null) return;
  checkLabels(template.metadata?.labels, ["spec", "template", "metadata", "labels"], report);
  if (typeof template.spec === "object" && template.spec !== null)
    checkPodSpec(template.spec, ["spec", "template", "spec"], report);
}

export function isTerminating(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}

export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
}

export function podIps(pod: Pod): readonly string[] {
  const { podIP, podIPs } = pod.status ?? {};
  return podIPs !== undefined && podIPs.length > 0 ? podIPs.map((p) => p.ip) : podIP === undefined ? [] : [podIP];
}

/** All containers that run for the pod's life: the containers, and init containers that are restarted always. */
export function runningContainers(spec: PodSpec): readonly Container[] {
  const sidecars = (spec.initContainers ?? []).filter((c) => c.restartPolicy === "Always");
  return sidecars.length === 0 ? spec.containers : [...sidecars, ...spec.containers];
}
