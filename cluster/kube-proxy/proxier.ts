/**
 * kube-proxy's rules of one address family on one node: trackers that events mark, and the mode that writes what they know.
 *
 * The first sync, one after a sync that failed, and one after the rules were flushed by somebody or the node's record
 * changed is full; others are partial.
 */
import type { Backend } from "../../backend/ops.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { Family } from "../api/ip.ts";
import type { Service } from "../api/service.ts";
import type { WatchEvent } from "../store/store.ts";
import type { ProxyConfig } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { IptablesMode } from "./iptables/mode.ts";
import { IpvsMode } from "./ipvs/mode.ts";
import type { ConnectionCount } from "./ipvs/renderer.ts";
import type { Gauges } from "./metrics.ts";
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "./mode.ts";
import { NftablesMode } from "./nftables/mode.ts";
import type { RuleOrigin } from "./rule-origin.ts";
import { ServiceTracker, usesLocalEndpoints } from "./service-tracker.ts";
import { chooseEndpoints } from "./topology.ts";
import { UdpCleanup } from "./udp-cleanup.ts";
import { UserspaceMode } from "./userspace/mode.ts";

export type ProxierOptions = {
  readonly nodeName: string;
  readonly backend: Backend;
  readonly config: ProxyConfig;
  readonly randomFully?: boolean;
  /** nftables mode: what is in them and no Service's is dropped. */
  readonly serviceCidrs?: readonly string[];
  /** ipvs mode: how many connections a destination has, for it to be deleted when they have ended; at once without it. */
  readonly connections?: ConnectionCount;
  /** Where its own sockets are: health check node ports, and the relays of userspace mode. */
  readonly sockets?: NetNs;
};

/** What a sync did: what it wrote, and whether all of it. */
export type ProxierSync = { readonly stats: SyncStats; readonly changed: ReadonlySet<string> };

export class Proxier {
  readonly family: Family;
  readonly services: ServiceTracker;
  readonly endpoints: EndpointsTracker;
  readonly #options: ProxierOptions;
  readonly #udp: UdpCleanup;
  #mode: ProxyMode | null = null;
  #node: ProxyNode;
  #needFull = true;

  constructor(family: Family, options: ProxierOptions) {
    this.family = family;
    this.#options = options;
    this.services = new ServiceTracker(family);
    this.endpoints = new EndpointsTracker(family, options.nodeName);
    this.#udp = new UdpCleanup(family, this.services, this.endpoints);
    this.#node = { name: options.nodeName, ips: [], podCidrs: [] };
  }

  serviceChanged(event: WatchEvent): void {
    const { metadata } = event.object;
    if (event.type === "DELETED") this.services.delete(metadata.namespace ?? "", metadata.name);
    else this.services.set(event.object as Service);
  }

  sliceChanged(event: WatchEvent): void {
    if (event.previous !== undefined) this.endpoints.delete(event.previous as EndpointSlice);
    if (event.type !== "DELETED") this.endpoints.set(event.object as EndpointSlice);
  }

  /** Another record of the node: everything is computed again. */
  setNode(node: ProxyNode): void {
    this.#node = node;
    this.#mode?.setNode(node);
    this.#needFull = true;
  }

  resync(): void {
    this.#needFull = true;
  }

  /** Whether the next sync writes everything. */
  get needsFull(): boolean {
    return this.#needFull;
  }

  async sync(): Promise<ProxierSync> {
    this.#mode ??= this.#newMode();
    const full = this.#needFull;
    const changed = new Set([...this.services.changed, ...this.endpoints.changed]);
    this.#needFull = true;
    const stats = await this.#mode.sync(full);
    this.#needFull = false;
    const stale = this.#udp.after(changed);
    if (stale.length > 0) await this.#options.backend.apply(stale);
    return { stats, changed };
  }

  originOf(chain: string, comment: string): RuleOrigin | undefined {
    return this.#mode?.originOf(chain, comment);
  }

  relayedTo(protocol: "TCP" | "UDP", port: number): readonly string[] | undefined {
    return this.#mode?.relayedTo?.(protocol, port);
  }

  gauges(): Gauges {
    const noLocalEndpoints = { internal: 0, external: 0 };
    const topology = { nodeName: this.#node.name, zone: this.#node.zone };
    for (const key of this.services.keys())
      for (const info of this.services.portsOf(key)) {
        if (!usesLocalEndpoints(info)) continue;
        const { any, local } = chooseEndpoints(this.endpoints.endpointsOf(key, info.id.port), info, topology);
        if (!any || local.length > 0) continue;
        if (info.internalPolicyLocal) noLocalEndpoints.internal++;
        if (info.externalPolicyLocal) noLocalEndpoints.external++;
      }
    const iptables = this.#mode?.ruleCounts?.();
    return { noLocalEndpoints, ...(iptables === undefined ? {} : { iptables }) };
  }

  #newMode(): ProxyMode {
    const { backend, config, randomFully = true, serviceCidrs = [], connections = () => 0, sockets } = this.#options;
    const { family, services, endpoints } = this;
    const node = this.#node;
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
}
