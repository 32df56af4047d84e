/**
 * Why a pod cannot run on a node: the scheduler's filters NodeUnschedulable, NodeName, TaintToleration and NodeAffinity,
 * with the words that Kubernetes uses. Filters that look at other pods are in `scheduler.ts`.
 */
import { type LabelRequirement, matchesLabels, matchesRequirement } from "../api/meta.ts";
import type { Node, Taint } from "../api/node.ts";
import type { NodeSelectorTerm, PodSpec, Toleration } from "../api/pod.ts";

export const UNSCHEDULABLE_TAINT: Taint = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };

/** Null: nothing speaks against it. */
export function whyNotNode(pod: { readonly spec: PodSpec }, node: Node): string | null {
  const { spec } = pod;
  if (node.spec?.unschedulable === true && !tolerates(spec.tolerations, UNSCHEDULABLE_TAINT))
    return "node(s) were unschedulable";
  const taint = (node.spec?.taints ?? []).find(
    (t) => t.effect !== "PreferNoSchedule" && !tolerates(spec.tolerations, t),
  );
  if (taint !== undefined)
    return `node(s) had untolerated taint {${taint.key}${taint.value === undefined || taint.value === "" ? "" : `: ${taint.value}`}}`;
  if (!matchesLabels(spec.nodeSelector ?? {}, node.metadata.labels))
    return "node(s) didn't match Pod's node affinity/selector";
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required !== undefined && !required.nodeSelectorTerms.some((term) => matchesTerm(term, node)))
    return "node(s) didn't match Pod's node affinity/selector";
  return null;
}

/** A term without expressions matches nothing. */
function matchesTerm(term: NodeSelectorTerm, node: Node): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length + fields.length === 0) return false;
  const byName = (e: LabelRequirement): boolean =>
    e.key === "metadata.name" && matchesRequirement(e, { "metadata.name": node.metadata.name });
  return expressions.every((e) => matchesRequirement(e, node.metadata.labels)) && fields.every(byName);
}

function tolerates(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return (tolerations ?? []).some((t) => {
    if (t.effect !== undefined && (t.effect as string) !== "" && t.effect !== taint.effect) return false;
    if (t.key === undefined || t.key === "") return t.operator === "Exists";
    if (t.key !== taint.key) return false;
    return t.operator === "Exists" || (t.value ?? "") === (taint.value ?? "");
  });
}
