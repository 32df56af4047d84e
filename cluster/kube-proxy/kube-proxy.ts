/**
 * kube-proxy on one node: a proxier for each address family of the cluster, behind one controller (pkg/proxy/metaproxier).
 * Events mark the trackers, one sync writes one transaction a family, in the mode of its configuration.
 *
 * There are no timers here: whoever owns the clock calls `resync`. Health check node ports and metrics are there once.
 */
import type { Family } from "../api/ip.ts";
import { type Node, nodeIps, podCidrs, ZONE_LABEL } from "../api/node.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, WatchEvent } from "../store/store.ts";
import { HealthChecks } from "./health-check.ts";
import { type Gauges, ProxyMetrics } from "./metrics.ts";
import type { ProxyNode, SyncStats } from "./mode.ts";
import { Proxier, type ProxierOptions } from "./proxier.ts";
import type { RuleOrigin } from "./rule-origin.ts";

export type KubeProxyOptions = ProxierOptions & {
  /** Those of the cluster, primary first; IPv4 alone unless given. */
  readonly families?: readonly Family[];
};

export class KubeProxy implements Controller {
  readonly name: string;
  readonly kinds: readonly Kind[] = ["Service", "EndpointSlice", "Node"];
  readonly #options: KubeProxyOptions;
  /** IPv4 before IPv6. */
  readonly #proxiers: readonly Proxier[];
  readonly #health: HealthChecks | null;
  readonly #metrics: ProxyMetrics = new ProxyMetrics(() => sumOf(this.#proxiers.map((p) => p.gauges())));
  #node: ProxyNode;
  #lastSync: SyncStats = { kind: "none", services: 0, octets: 0 };

  constructor(options: KubeProxyOptions) {
    const { families = [4], sockets, nodeName } = options;
    this.#options = options;
    this.name = `kube-proxy ${nodeName}`;
    this.#proxiers = [...families].sort().map((family) => new Proxier(family, options));
    this.#health = sockets === undefined ? null : new HealthChecks(sockets, this.#proxiers);
    if (sockets !== undefined) this.#metrics.serve(sockets, families[0] ?? 4);
    this.#node = { name: nodeName, ips: [], podCidrs: [] };
  }

  /** The last sync that wrote something, of all families together. */
  get lastSync(): SyncStats {
    return this.#lastSync;
  }

  keys(event: WatchEvent): readonly string[] {
    const { kind } = event.object;
    if (kind === "Service") {
      for (const proxier of this.#proxiers) proxier.serviceChanged(event);
      this.#metrics.serviceChanges++;
    } else if (kind === "EndpointSlice") {
      for (const proxier of this.#proxiers) proxier.sliceChanged(event);
      this.#metrics.endpointChanges++;
    } else if (!this.#setNode(event.object as Node)) return [];
    return ["sync"];
  }

  /** Forgets what it wrote: the next sync is a full one. */
  resync(): void {
    for (const proxier of this.#proxiers) proxier.resync();
  }

  async sync(): Promise<void> {
    const changed = new Set<string>();
    let all: SyncStats = { kind: "none", services: 0, octets: 0 };
    for (const proxier of this.#proxiers) {
      const partial = !proxier.needsFull;
      const done = await proxier.sync().catch((cause) => {
        if (partial) this.#metrics.partialFailures++;
        throw cause;
      });
      for (const key of done.changed) changed.add(key);
      if (done.stats.kind === "full") this.#metrics.fullSyncs++;
      else if (done.stats.kind === "partial") this.#metrics.partialSyncs++;
      all = together(all, done.stats);
    }
    this.#metrics.lastSync = this.#options.sockets?.world.loop.time ?? 0;
    this.#health?.update(changed);
    if (all.kind !== "none") this.#lastSync = all;
  }

  /** The object behind a chain, or behind a rule of a shared chain, which its comment names. */
  originOf(chain: string, comment: string = ""): RuleOrigin | undefined {
    return firstOf(this.#proxiers, (p) => p.originOf(chain, comment));
  }

  /** The endpoints behind a port of this node that kube-proxy itself listens on (userspace mode). */
  relayedTo(protocol: "TCP" | "UDP", port: number): readonly string[] | undefined {
    return firstOf(this.#proxiers, (p) => p.relayedTo(protocol, port));
  }

  /** Whether the event says something new of this node. */
  #setNode(node: Node): boolean {
    if (node.metadata.name !== this.#options.nodeName) return false;
    const zone = node.metadata.labels?.[ZONE_LABEL];
    const next: ProxyNode = {
      name: node.metadata.name,
      ips: nodeIps(node),
      podCidrs: podCidrs(node),
      ...(zone === undefined ? {} : { zone }),
    };
    if (JSON.stringify(next) === JSON.stringify(this.#node)) return false;
    this.#node = next;
    for (const proxier of this.#proxiers) proxier.setNode(next);
    return true;
  }
}

function firstOf<T, R>(list: readonly T[], ask: (one: T) => R | undefined): R | undefined {
  for (const one of list) {
    const found = ask(one);
    if (found !== undefined) return found;
  }
  return undefined;
}

function together(a: SyncStats, b: SyncStats): SyncStats {
  const kinds = [a.kind, b.kind];
  const kind = kinds.includes("full") ? "full" : kinds.includes("partial") ? "partial" : "none";
  return { kind, services: Math.max(a.services, b.services), octets: a.octets + b.octets };
}

/** A Service counts once in each family. */
function sumOf(gauges: readonly Gauges[]): Gauges {
  const noLocalEndpoints = { internal: 0, external: 0 };
  const iptables: Record<string, number> = {};
  for (const g of gauges) {
    noLocalEndpoints.internal += g.noLocalEndpoints?.internal ?? 0;
    noLocalEndpoints.external += g.noLocalEndpoints?.external ?? 0;
    for (const [table, n] of Object.entries(g.iptables ?? {})) iptables[table] = (iptables[table] ?? 0) + n;
  }
  return { noLocalEndpoints, iptables };
}
