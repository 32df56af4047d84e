/**
 * The kinds that are known, in one list: where they live, what they look like, and what happens to them.
 *
 * "used": podwire acts on it. "stored": well known, kept, and nothing acts on it (a warning says so). "ignored": kept
 * without a word, because nobody expects a network to act on it. Kinds of other API groups are custom resources.
 */

import type { ConfigMap, Namespace, Secret, ServiceAccount } from "./config.ts";
import { configMapSchema, namespaceSchema, secretSchema, serviceAccountSchema } from "./config.ts";
import type { EndpointSlice, Endpoints } from "./endpoint-slice.ts";
import { checkEndpointSlice, checkEndpoints, endpointSliceSchema, endpointsSchema } from "./endpoint-slice.ts";
import type { Report } from "./issue.ts";
import type { KubeObject } from "./meta.ts";
import { checkNode, type Node, nodeSchema } from "./node.ts";
import { checkPod, type Pod, podSchema } from "./pod.ts";
import { checkNetworkPolicy, type Ingress, ingressSchema, type NetworkPolicy, networkPolicySchema } from "./policy.ts";
import type { Schema } from "./schema.ts";
import { checkService, type Service, serviceSchema } from "./service.ts";
import type {
  CronJob,
  DaemonSet,
  Deployment,
  Job,
  ReplicaSet,
  ReplicationController,
  StatefulSet,
} from "./workloads.ts";
import {
  checkWorkload,
  cronJobSchema,
  daemonSetSchema,
  deploymentSchema,
  jobSchema,
  replicaSetSchema,
  replicationControllerSchema,
  statefulSetSchema,
} from "./workloads.ts";

/** The kinds that have a type of their own. */
export type KindMap = {
  ConfigMap: ConfigMap;
  CronJob: CronJob;
  DaemonSet: DaemonSet;
  Deployment: Deployment;
  EndpointSlice: EndpointSlice;
  Endpoints: Endpoints;
  Ingress: Ingress;
  Job: Job;
  Namespace: Namespace;
  NetworkPolicy: NetworkPolicy;
  Node: Node;
  Pod: Pod;
  ReplicaSet: ReplicaSet;
  ReplicationController: ReplicationController;
  Secret: Secret;
  Service: Service;
  ServiceAccount: ServiceAccount;
  StatefulSet: StatefulSet;
};
export type KnownKind = keyof KindMap;
export type KnownObject = KindMap[KnownKind];
export type ObjectOf<K extends string> = K extends KnownKind ? KindMap[K] : KubeObject;

export type KindInfo = {
  readonly kind: string;
  readonly group: string;
  readonly versions: readonly string[];
  readonly plural: string;
  readonly namespaced: boolean;
  readonly use: "used" | "stored" | "ignored";
  /** Why a stored kind is only stored. */
  readonly note?: string;
  readonly schema?: Schema;
  readonly check?: (object: KubeObject, report: Report) => void;
};

type Extra = Pick<KindInfo, "schema" | "check" | "note"> & {
  readonly versions?: readonly string[];
  readonly cluster?: boolean;
};

function kind(group: string, name: string, plural: string, use: KindInfo["use"], extra: Extra = {}): KindInfo {
  const { versions = ["v1"], cluster = false, ...rest } = extra;
  return { kind: name, group, versions, plural, namespaced: !cluster, use, ...rest };
}

/** A kind's check takes its own type; the walker has made sure of the shape as far as it matters. */
function own<T extends KubeObject>(
  check: (object: T, report: Report) => void,
): (object: KubeObject, report: Report) => void {
  return (object, report) => check(object as T, report);
}

const CLUSTER = { cluster: true } as const;
const RBAC = "rbac.authorization.k8s.io";
const ADMISSION = "admissionregistration.k8s.io";
const STORAGE = "storage.k8s.io";

export const KINDS: readonly KindInfo[] = [
  kind("", "Pod", "pods", "used", { schema: podSchema, check: own<Pod>(checkPod) }),
  kind("", "Service", "services", "used", { schema: serviceSchema, check: own<Service>(checkService) }),
  kind("", "Endpoints", "endpoints", "used", { schema: endpointsSchema, check: own<Endpoints>(checkEndpoints) }),
  kind("", "Node", "nodes", "used", { schema: nodeSchema, check: own<Node>(checkNode), cluster: true }),
  kind("", "Namespace", "namespaces", "used", { schema: namespaceSchema, cluster: true }),
  kind("", "ConfigMap", "configmaps", "used", { schema: configMapSchema }),
  kind("", "Secret", "secrets", "used", { schema: secretSchema }),
  kind("", "ServiceAccount", "serviceaccounts", "used", { schema: serviceAccountSchema }),
  kind("", "ReplicationController", "replicationcontrollers", "used", {
    schema: replicationControllerSchema,
    check: checkWorkload,
  }),
  kind("", "PersistentVolume", "persistentvolumes", "ignored", CLUSTER),
  kind("", "PersistentVolumeClaim", "persistentvolumeclaims", "ignored"),
  kind("", "LimitRange", "limitranges", "ignored"),
  kind("", "ResourceQuota", "resourcequotas", "ignored"),
  kind("", "Event", "events", "ignored"),
  kind("", "PodTemplate", "podtemplates", "ignored"),
  kind("", "ComponentStatus", "componentstatuses", "ignored", CLUSTER),
  kind("apps", "Deployment", "deployments", "used", { schema: deploymentSchema, check: checkWorkload }),
  kind("apps", "ReplicaSet", "replicasets", "used", { schema: replicaSetSchema, check: checkWorkload }),
  kind("apps", "DaemonSet", "daemonsets", "used", { schema: daemonSetSchema, check: checkWorkload }),
  kind("apps", "StatefulSet", "statefulsets", "used", { schema: statefulSetSchema, check: checkWorkload }),
  kind("apps", "ControllerRevision", "controllerrevisions", "ignored"),
  kind("batch", "Job", "jobs", "used", { schema: jobSchema, check: checkWorkload }),
  kind("batch", "CronJob", "cronjobs", "stored", {
    schema: cronJobSchema,
    versions: ["v1", "v1beta1"],
    note: "no schedule is run",
  }),
  kind("discovery.k8s.io", "EndpointSlice", "endpointslices", "used", {
    schema: endpointSliceSchema,
    versions: ["v1", "v1beta1"],
    check: own<EndpointSlice>(checkEndpointSlice),
  }),
  kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", "stored", {
    schema: networkPolicySchema,
    check: own<NetworkPolicy>(checkNetworkPolicy),
    note: "policies are not enforced yet",
  }),
  kind("networking.k8s.io", "Ingress", "ingresses", "stored", {
    schema: ingressSchema,
    note: "ingresses are not served yet",
  }),
  kind("networking.k8s.io", "IngressClass", "ingressclasses", "ignored", CLUSTER),
  kind("networking.k8s.io", "IPAddress", "ipaddresses", "ignored", { cluster: true, versions: ["v1", "v1beta1"] }),
  kind("networking.k8s.io", "ServiceCIDR", "servicecidrs", "stored", {
    cluster: true,
    versions: ["v1", "v1beta1"],
    note: "the service CIDR is a setting of the cluster",
  }),
  kind("policy", "PodDisruptionBudget", "poddisruptionbudgets", "ignored"),
  kind("policy", "PodSecurityPolicy", "podsecuritypolicies", "ignored", { cluster: true, versions: ["v1beta1"] }),
  kind("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "ignored", {
    versions: ["v1", "v2", "v2beta1", "v2beta2"],
  }),
  kind(RBAC, "Role", "roles", "ignored"),
  kind(RBAC, "RoleBinding", "rolebindings", "ignored"),
  kind(RBAC, "ClusterRole", "clusterroles", "ignored", CLUSTER),
  kind(RBAC, "ClusterRoleBinding", "clusterrolebindings", "ignored", CLUSTER),
  kind(STORAGE, "StorageClass", "storageclasses", "ignored", CLUSTER),
  kind(STORAGE, "CSIDriver", "csidrivers", "ignored", CLUSTER),
  kind(STORAGE, "CSINode", "csinodes", "ignored", CLUSTER),
  kind(STORAGE, "VolumeAttachment", "volumeattachments", "ignored", CLUSTER),
  kind("scheduling.k8s.io", "PriorityClass", "priorityclasses", "ignored", CLUSTER),
  kind("coordination.k8s.io", "Lease", "leases", "ignored"),
  kind("events.k8s.io", "Event", "events", "ignored"),
  kind("node.k8s.io", "RuntimeClass", "runtimeclasses", "ignored", CLUSTER),
  kind("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests", "ignored", CLUSTER),
  kind("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "stored", {
    cluster: true,
    note: "custom resources are kept and nothing acts on them",
  }),
  kind("apiregistration.k8s.io", "APIService", "apiservices", "ignored", CLUSTER),
  kind(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "stored", {
    cluster: true,
    note: "no webhook is called",
  }),
  kind(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "stored", {
    cluster: true,
    note: "no webhook is called",
  }),
  kind(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "stored", {
    cluster: true,
    note: "no admission policy is run",
  }),
  kind(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "stored", {
    cluster: true,
    note: "no admission policy is run",
  }),
];

const BY_NAME: ReadonlyMap<string, KindInfo> = new Map(
  KINDS.flatMap((k) => k.versions.map((v) => [`${k.group === "" ? v : `${k.group}/${v}`} ${k.kind}`, k] as const)),
);

export function kindInfo(apiVersion: string, kindName: string): KindInfo | undefined {
  return BY_NAME.get(`${apiVersion} ${kindName}`);
}

/** The API versions in which a kind of this name exists. */
export function versionsOf(kindName: string): readonly string[] {
  return KINDS.filter((k) => k.kind === kindName).flatMap((k) =>
    k.versions.map((v) => (k.group === "" ? v : `${k.group}/${v}`)),
  );
}

/** Groups that Kubernetes itself serves: an unknown kind there is a mistake, elsewhere it is a custom resource. */
export function isBuiltinGroup(apiVersion: string): boolean {
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  return KINDS.some((k) => k.group === group);
}
