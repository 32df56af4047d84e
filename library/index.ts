/** The public face of the package: `import { Cluster } from "podwire"`. */
export type { ClusterOptions } from "../cluster/boot.ts";
export { Cluster } from "../cluster/cluster.ts";
export { InputError, type InputIssue } from "../cluster/manifests/input-error.ts";
export { readSources, type Source } from "../cluster/manifests/sources.ts";
export type { Network } from "../cluster/node/conflists.ts";
export { passesThrough } from "../cluster/trace/passes.ts";
export { renderTree } from "../cluster/trace/render-tree.ts";
export type { Endpoint, Hop, HopRule, Reason, TraceResult, Verdict } from "../cluster/trace/result.ts";
export type { Traced, TraceOptions } from "../cluster/trace/tracing.ts";
