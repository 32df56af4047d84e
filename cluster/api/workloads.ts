/**
 * The kinds that make pods: Deployment, ReplicaSet, DaemonSet, StatefulSet (apps/v1), ReplicationController (core/v1),
 * Job and CronJob (batch/v1). CronJobs are stored; nothing runs them.
 */
import { type Report, show } from "./issue.ts";
import {
  type KubeObject,
  kindSchema,
  type LabelSelector,
  type Labels,
  matchesSelector,
  selectorSchema,
} from "./meta.ts";
import { checkTemplate, type PodTemplate, templateSchema } from "./pod.ts";
import { any, bool, int, intOrString, list, map, natural, obj, oneOf, opaque, type Schema, str } from "./schema.ts";

export type DeploymentSpec = {
  readonly replicas?: number;
  readonly selector: LabelSelector;
  readonly template: PodTemplate;
};
export type ReplicasStatus = {
  readonly replicas?: number;
  readonly readyReplicas?: number;
  readonly availableReplicas?: number;
  readonly updatedReplicas?: number;
  readonly observedGeneration?: number;
};
export type Deployment = KubeObject & {
  readonly kind: "Deployment";
  readonly spec: DeploymentSpec;
  readonly status?: ReplicasStatus;
};
export type ReplicaSet = KubeObject & {
  readonly kind: "ReplicaSet";
  readonly spec: { readonly replicas?: number; readonly selector: LabelSelector; readonly template: PodTemplate };
  readonly status?: ReplicasStatus;
};
export type ReplicationController = KubeObject & {
  readonly kind: "ReplicationController";
  readonly spec: { readonly replicas?: number; readonly selector?: Labels; readonly template: PodTemplate };
  readonly status?: ReplicasStatus;
};
export type DaemonSetStatus = {
  readonly desiredNumberScheduled: number;
  readonly currentNumberScheduled: number;
  readonly numberReady: number;
};
export type DaemonSet = KubeObject & {
  readonly kind: "DaemonSet";
  readonly spec: { readonly selector: LabelSelector; readonly template: PodTemplate };
  readonly status?: DaemonSetStatus;
};
export type StatefulSet = KubeObject & {
  readonly kind: "StatefulSet";
  readonly spec: {
    readonly replicas?: number;
    readonly selector: LabelSelector;
    readonly serviceName?: string;
    readonly template: PodTemplate;
    readonly ordinals?: { readonly start?: number };
  };
  readonly status?: ReplicasStatus;
};
export type Job = KubeObject & {
  readonly kind: "Job";
  readonly spec: {
    readonly parallelism?: number;
    readonly completions?: number;
    readonly suspend?: boolean;
    readonly template: PodTemplate;
  };
  readonly status?: { readonly active?: number; readonly ready?: number };
};
export type CronJob = KubeObject & { readonly kind: "CronJob"; readonly spec: { readonly schedule: string } };

export const deploymentSchema: Schema = kindSchema(
  {
    spec: obj(
      {
        minReadySeconds: natural,
        paused: bool,
        progressDeadlineSeconds: natural,
        replicas: natural,
        revisionHistoryLimit: natural,
        selector: selectorSchema,
        strategy: obj({
          type: oneOf("Recreate", "RollingUpdate"),
          rollingUpdate: obj({ maxSurge: intOrString, maxUnavailable: intOrString }),
        }),
        template: templateSchema,
      },
      "selector",
      "template",
    ),
    status: opaque,
  },
  "spec",
);
export const replicaSetSchema: Schema = kindSchema(
  {
    spec: obj(
      { minReadySeconds: natural, replicas: natural, selector: selectorSchema, template: templateSchema },
      "selector",
      "template",
    ),
    status: opaque,
  },
  "spec",
);
export const replicationControllerSchema: Schema = kindSchema(
  {
    spec: obj(
      { minReadySeconds: natural, replicas: natural, selector: map(str), template: templateSchema },
      "template",
    ),
    status: opaque,
  },
  "spec",
);
export const daemonSetSchema: Schema = kindSchema(
  {
    spec: obj(
      {
        minReadySeconds: natural,
        revisionHistoryLimit: natural,
        selector: selectorSchema,
        template: templateSchema,
        updateStrategy: opaque,
        templateGeneration: int,
      },
      "selector",
      "template",
    ),
    status: opaque,
  },
  "spec",
);
export const statefulSetSchema: Schema = kindSchema(
  {
    spec: obj(
      {
        minReadySeconds: natural,
        ordinals: obj({ start: natural }),
        persistentVolumeClaimRetentionPolicy: opaque,
        podManagementPolicy: oneOf("OrderedReady", "Parallel"),
        replicas: natural,
        revisionHistoryLimit: natural,
        selector: selectorSchema,
        serviceName: str,
        template: templateSchema,
        updateStrategy: opaque,
        volumeClaimTemplates: list(opaque),
      },
      "selector",
      "template",
    ),
    status: opaque,
  },
  "spec",
);
const jobSpec: Schema = obj(
  {
    activeDeadlineSeconds: natural,
    backoffLimit: natural,
    backoffLimitPerIndex: natural,
    completionMode: oneOf("NonIndexed", "Indexed"),
    completions: natural,
    managedBy: str,
    manualSelector: bool,
    maxFailedIndexes: natural,
    parallelism: natural,
    podFailurePolicy: any,
    podReplacementPolicy: str,
    selector: selectorSchema,
    successPolicy: any,
    suspend: bool,
    template: templateSchema,
    ttlSecondsAfterFinished: natural,
  },
  "template",
);
export const jobSchema: Schema = kindSchema({ spec: jobSpec, status: opaque }, "spec");
export const cronJobSchema: Schema = kindSchema(
  {
    spec: obj(
      {
        concurrencyPolicy: oneOf("Allow", "Forbid", "Replace"),
        failedJobsHistoryLimit: natural,
        jobTemplate: obj({ metadata: any, spec: jobSpec }, "spec"),
        schedule: str,
        startingDeadlineSeconds: natural,
        successfulJobsHistoryLimit: natural,
        suspend: bool,
        timeZone: str,
      },
      "schedule",
      "jobTemplate",
    ),
    status: opaque,
  },
  "spec",
);

/** A workload's pods must be the ones that its selector finds, or it would make pods for ever. */
export function checkWorkload(object: KubeObject, report: Report): void {
  checkTemplate(object, report);
  const spec = (object as { spec?: { selector?: LabelSelector; template?: PodTemplate } }).spec;
  if (typeof spec !== "object" || spec === null || object.kind === "Job" || object.kind === "ReplicationController")
    return;
  const { selector, template } = spec;
  if (typeof selector !== "object" || selector === null || typeof template !== "object" || template === null) return;
  const terms = Object.keys(selector.matchLabels ?? {}).length + (selector.matchExpressions?.length ?? 0);
  if (terms === 0)
    report("error", ["spec", "selector"], "an empty selector", "a selector that finds the template's labels");
  else if (!matchesSelector(selector, template.metadata?.labels))
    report(
      "error",
      ["spec", "template", "metadata", "labels"],
      showLabels(template.metadata?.labels),
      "labels that spec.selector finds",
    );
}

function showLabels(labels: Labels | undefined): string {
  const entries = Object.entries(labels ?? {});
  return entries.length === 0 ? "no labels" : show(entries.map(([k, v]) => `${k}=${v}`).join(","));
}
