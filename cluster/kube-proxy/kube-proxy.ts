/**
 * kube-proxy on one node: events mark the trackers, one sync writes one transaction, in the mode of its configuration.
 *
 * The first sync and any sync after the rules were flushed by somebody (the canary is gone) or the node's zone changed
 * is full; others are partial. A partial sync that fails is followed by a full one. There are no timers here: whoever
 * owns the clock calls `resync`.
 */
import type { Backend } from "../../backend/ops.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { Family } from "../api/ip.ts";
import { type Node, nodeIps, podCidrs, ZONE_LABEL } from "../api/node.ts";
import type { Service } from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, WatchEvent } from "../store/store.ts";
import type { ProxyConfig } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { HealthChecks } from "./health-check.ts";
import { IptablesMode } from "./iptables/mode.ts";
import { IpvsMode } from "./ipvs/mode.ts";
import type { ConnectionCount } from "./ipvs/renderer.ts";
import { type Gauges, ProxyMetrics } from "./metrics.ts";
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "./mode.ts";
import { NftablesMode } from "./nftables/mode.ts";
import type { RuleOrigin } from "./rule-origin.ts";
import { ServiceTracker, usesLocalEndpoints } from "./service-tracker.ts";
import { chooseEndpoints } from "./topology.ts";
import { UdpCleanup } from "./udp-cleanup.ts";
import { UserspaceMode } from "./userspace/mode.ts";

export type KubeProxyOptions = {
  readonly nodeName: string;
  readonly backend: Backend;
  readonly config: ProxyConfig;
  readonly family?: Family;
  readonly randomFully?: boolean;
  /** nftables mode: what is in them and no Service's is dropped. */
  readonly serviceCidrs?: readonly string[];
  /** ipvs mode: how many connections a destination has, for it to be deleted when they have ended; at once without it. */
  readonly connections?: ConnectionCount;
  /** Where its own sockets are: health check node ports, and the relays of userspace mode. */
  readonly sockets?: NetNs;
};

export class KubeProxy implements Controller {
  readonly name: string;
  readonly kinds: readonly Kind[] = ["Service", "EndpointSlice", "Node"];
  readonly #options: KubeProxyOptions;
  readonly #family: Family;
  readonly #services: ServiceTracker;
  readonly #endpoints: EndpointsTracker;
  readonly #udp: UdpCleanup;
  readonly #health: HealthChecks | null;
  readonly #metrics: ProxyMetrics = new ProxyMetrics(() => this.#gauges());
  #mode: ProxyMode | null = null;
  #node: ProxyNode;
  #needFull = true;
  #lastSync: SyncStats = { kind: "none", services: 0, octets: 0 };

  constructor(options: KubeProxyOptions) {
    this.#options = options;
    this.#family = options.family ?? 4;
    this.name = `kube-proxy ${options.nodeName}${this.#family === 6 ? " (IPv6)" : ""}`;
    this.#services = new ServiceTracker(this.#family);
    this.#endpoints = new EndpointsTracker(this.#family, options.nodeName);
    this.#udp = new UdpCleanup(this.#family, this.#services, this.#endpoints);
    const { sockets } = options;
    this.#health = sockets === undefined ? null : new HealthChecks(sockets, this.#services, this.#endpoints);
    if (sockets !== undefined) this.#metrics.serve(sockets);
    this.#node = { name: options.nodeName, ips: [], podCidrs: [] };
  }

  /** The last sync that wrote something. */
  get lastSync(): SyncStats {
    return this.#lastSync;
  }

  keys(event: WatchEvent): readonly string[] {
    const { object, type } = event;
    if (object.kind === "Service") {
      if (type === "DELETED") this.#services.delete(object.metadata.namespace ?? "", object.metadata.name);
      else this.#services.set(object as Service);
      this.#metrics.serviceChanges++;
    } else if (object.kind === "EndpointSlice") {
      if (event.previous !== undefined) this.#endpoints.delete(event.previous as EndpointSlice);
      if (type !== "DELETED") this.#endpoints.set(object as EndpointSlice);
      this.#metrics.endpointChanges++;
    } else if (!this.#setNode(object as Node)) return [];
    return ["sync"];
  }

  /** Forgets what it wrote: the next sync is a full one. */
  resync(): void {
    this.#needFull = true;
  }

  async sync(): Promise<void> {
    this.#mode ??= this.#newMode();
    const full = this.#needFull;
    const changed = new Set([...this.#services.changed, ...this.#endpoints.changed]);
    this.#needFull = true;
    const stats = await this.#mode.sync(full).catch((cause) => {
      if (!full) this.#metrics.partialFailures++;
      throw cause;
    });
    this.#needFull = false;
    if (stats.kind === "full") this.#metrics.fullSyncs++;
    else if (stats.kind === "partial") this.#metrics.partialSyncs++;
    this.#metrics.lastSync = this.#options.sockets?.world.loop.time ?? 0;
    const stale = this.#udp.after(changed);
    if (stale.length > 0) await this.#options.backend.apply(stale);
    this.#health?.update(changed);
    if (stats.kind !== "none") this.#lastSync = stats;
  }

  /** The object behind a chain, or behind a rule of a shared chain, which its comment names. */
  originOf(chain: string, comment: string = ""): RuleOrigin | undefined {
    return this.#mode?.originOf(chain, comment);
  }

  /** The endpoints behind a port of this node that kube-proxy itself listens on (userspace mode). */
  relayedTo(protocol: "TCP" | "UDP", port: number): readonly string[] | undefined {
    return this.#mode?.relayedTo?.(protocol, port);
  }

  #gauges(): Gauges {
    const noLocalEndpoints = { internal: 0, external: 0 };
    const topology = { nodeName: this.#node.name, zone: this.#node.zone };
    for (const key of this.#services.keys())
      for (const info of this.#services.portsOf(key)) {
        if (!usesLocalEndpoints(info)) continue;
        const { any, local } = chooseEndpoints(this.#endpoints.endpointsOf(key, info.id.port), info, topology);
        if (!any || local.length > 0) continue;
        if (info.internalPolicyLocal) noLocalEndpoints.internal++;
        if (info.externalPolicyLocal) noLocalEndpoints.external++;
      }
    const iptables = this.#mode?.ruleCounts?.();
    return { noLocalEndpoints, ...(iptables === undefined ? {} : { iptables }) };
  }

  #newMode(): ProxyMode {
    const { backend, config, randomFully = true, serviceCidrs = [], connections = () => 0, sockets } = this.#options;
    const [family, node, services, endpoints] = [this.#family, this.#node, this.#services, this.#endpoints];
    const context: ModeContext = { family, node, config, randomFully, services, endpoints, backend, serviceCidrs };
    switch (config.mode) {
      case "iptables":
        return new IptablesMode(context);
      case "ipvs":
        return new IpvsMode(context, connections);
      case "userspace":
        if (sockets === undefined) throw new Error("mode userspace: there is no namespace for kube-proxy's sockets");
        return new UserspaceMode(context, sockets);
      case "nftables":
        return new NftablesMode(context);
    }
  }

  /** Whether the event says something new of this node. A change makes everything be computed again. */
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
    this.#mode?.setNode(next);
    this.#needFull = true;
    return true;
  }
}
