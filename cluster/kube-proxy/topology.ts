/**
 * Which endpoints a node uses for a Service port (pkg/proxy/topology.go; KEP-1669 for terminating endpoints, KEP-2433
 * and KEP-3015 for hints).
 *
 * Cluster set: the ready endpoints that hints allow, else the serving and terminating ones. Local set: the same choice
 * among this node's endpoints, without hints. Each is computed only where the Service uses it.
 */
import type { EndpointInfo } from "./endpoints-tracker.ts";
import { type ServicePortInfo, usesClusterEndpoints, usesLocalEndpoints } from "./service-tracker.ts";

export type Topology = { readonly nodeName: string; readonly zone: string | undefined };

export type EndpointChoice = {
  readonly cluster: readonly EndpointInfo[];
  readonly local: readonly EndpointInfo[];
  /** Every endpoint that a rule of this node leads to. */
  readonly reachable: readonly EndpointInfo[];
  /** Whether there is a usable endpoint anywhere; if not, traffic is rejected and not dropped. */
  readonly any: boolean;
};

export function chooseEndpoints(
  all: readonly EndpointInfo[],
  info: ServicePortInfo,
  topology: Topology,
): EndpointChoice {
  let cluster: readonly EndpointInfo[] = [];
  let local: readonly EndpointInfo[] = [];
  let any = false;
  if (usesClusterEndpoints(info)) {
    const allowed = hintFilter(all, topology);
    cluster = all.filter((e) => e.ready && allowed(e));
    if (cluster.length === 0) cluster = all.filter(isDraining);
    any = cluster.length > 0;
  }
  if (!usesLocalEndpoints(info)) return { cluster, local, reachable: cluster, any };
  any ||= all.some((e) => e.ready || isDraining(e));
  const here = all.filter((e) => e.isLocal);
  local = here.filter((e) => e.ready);
  if (local.length === 0) local = here.filter(isDraining);
  if (cluster.length === 0) return { cluster, local, reachable: local, any };
  const seen = new Set(cluster.map((e) => e.text));
  return { cluster, local, reachable: [...cluster, ...local.filter((e) => !seen.has(e.text))], any };
}

function isDraining(e: EndpointInfo): boolean {
  return e.serving && e.terminating;
}

/** Hints count only if every ready endpoint has one and one of them names this node, or else this zone. */
function hintFilter(all: readonly EndpointInfo[], { nodeName, zone }: Topology): (e: EndpointInfo) => boolean {
  const ready = all.filter((e) => e.ready);
  if (ready.every((e) => e.nodeHints.length > 0) && ready.some((e) => e.nodeHints.includes(nodeName)))
    return (e) => e.nodeHints.includes(nodeName);
  if (
    zone !== undefined &&
    zone !== "" &&
    ready.every((e) => e.zoneHints.length > 0) &&
    ready.some((e) => e.zoneHints.includes(zone))
  )
    return (e) => e.zoneHints.includes(zone);
  return () => true;
}
