/**
 * kube-proxy on one node: events mark the trackers, one sync writes one transaction, in the mode of its configuration.
 *
 * The first sync and any sync after the rules were flushed by somebody (the canary is gone) or the node's zone changed
 * is full; others are partial. A partial sync that fails is followed by a full one. There are no timers here: whoever
 * owns the clock calls `resync`.
 */
import type { Backend } from "../../backend/ops.ts";
import type { IptablesRestore, SysctlSet } from "../../dataplane/netns/rtnl-ops.ts";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { Family } from "../api/ip.ts";
import { type Node, nodeIps, podCidrs, ZONE_LABEL } from "../api/node.ts";
import type { Service } from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, WatchEvent } from "../store/store.ts";
import type { ProxyConfig } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { IptablesRenderer, type Jump, type ProxyNode } from "./iptables.ts";
import { type ConnectionCount, IpvsRenderer } from "./ipvs.ts";
import { ipvsSync, ownAddresses } from "./ipvs-sync.ts";
import type { RuleOrigin } from "./rule-origin.ts";
import { ServiceTracker } from "./service-tracker.ts";

export type KubeProxyOptions = {
  readonly nodeName: string;
  readonly backend: Backend;
  readonly config: ProxyConfig;
  readonly family?: Family;
  readonly randomFully?: boolean;
  /** ipvs mode: how many connections a destination has, for it to be deleted when they have ended; at once without it. */
  readonly connections?: ConnectionCount;
};

export type SyncStats = {
  readonly kind: "full" | "partial" | "none";
  readonly services: number;
  readonly octets: number;
};

export class KubeProxy implements Controller {
  readonly name: string;
  readonly kinds: readonly Kind[] = ["Service", "EndpointSlice", "Node"];
  readonly #options: KubeProxyOptions;
  readonly #family: Family;
  readonly #services: ServiceTracker;
  readonly #endpoints: EndpointsTracker;
  #renderer: IptablesRenderer | null = null;
  #ipvs: IpvsRenderer | null = null;
  #node: ProxyNode;
  #needFull = true;
  #lastSync: SyncStats = { kind: "none", services: 0, octets: 0 };

  constructor(options: KubeProxyOptions) {
    this.#options = options;
    this.#family = options.family ?? 4;
    this.name = `kube-proxy ${options.nodeName}${this.#family === 6 ? " (IPv6)" : ""}`;
    this.#services = new ServiceTracker(this.#family);
    this.#endpoints = new EndpointsTracker(this.#family, options.nodeName);
    this.#node = { name: options.nodeName, ips: [], podCidrs: [] };
  }

  get lastSync(): SyncStats {
    return this.#lastSync;
  }

  keys(event: WatchEvent): readonly string[] {
    const { object, type } = event;
    if (object.kind === "Service") {
      if (type === "DELETED") this.#services.delete(object.metadata.namespace ?? "", object.metadata.name);
      else this.#services.set(object as Service);
    } else if (object.kind === "EndpointSlice") {
      if (event.previous !== undefined) this.#endpoints.delete(event.previous as EndpointSlice);
      if (type !== "DELETED") this.#endpoints.set(object as EndpointSlice);
    } else if (!this.#setNode(object as Node)) return [];
    return ["sync"];
  }

  /** Forgets what it wrote: the next sync is a full one. */
  resync(): void {
    this.#needFull = true;
  }

  async sync(): Promise<void> {
    const { backend, config, randomFully } = this.#options;
    if (config.mode === "ipvs") {
      await this.#syncIpvs();
      return;
    }
    this.#renderer ??= new IptablesRenderer(
      { family: this.#family, node: this.#node, config, randomFully: randomFully ?? true },
      this.#services,
      this.#endpoints,
    );
    const renderer = this.#renderer;
    const services = renderer.update();
    if (this.#needFull) {
      const saved = await backend.iptablesSave("host", this.#protocol);
      const missing = renderer.jumps.filter((j) => !hasJump(saved, j));
      await this.#write(renderer.full(missing), [...(await this.#sysctls())]);
      this.#needFull = false;
      this.#lastSync = { ...this.#lastSync, kind: "full", services };
      return;
    }
    if (services === 0) return;
    try {
      await this.#write(renderer.partial(), []);
    } catch (error) {
      this.#needFull = true;
      throw error;
    }
    this.#lastSync = { ...this.#lastSync, kind: "partial", services };
  }

  async #syncIpvs(): Promise<void> {
    const { backend, config, randomFully = true, connections = () => 0, nodeName } = this.#options;
    this.#ipvs ??= new IpvsRenderer({ node: this.#node, config, randomFully }, this.#services, this.#endpoints);
    const renderer = this.#ipvs;
    renderer.setNodeIps(await ownAddresses(backend));
    let missing: readonly Jump[] | null = null;
    if (this.#needFull) {
      const saved = await backend.iptablesSave("host", this.#protocol);
      missing = renderer.jumps.filter((j) => !hasJump(saved, j));
    }
    const source = `kube-proxy on ${nodeName}`;
    const { ops, services, octets } = await ipvsSync(renderer, backend, config, source, missing, connections);
    if (ops.length > 0) await backend.apply(ops);
    this.#needFull = false;
    this.#lastSync = { kind: missing === null ? "partial" : "full", services, octets };
  }

  /** The object behind a chain, or behind a rule of a shared chain, which its comment names. */
  originOf(chain: string, comment: string = ""): RuleOrigin | undefined {
    return this.#ipvs?.originOf(chain) ?? this.#renderer?.originOf(chain, comment);
  }

  get #protocol(): "ipv4" | "ipv6" {
    return this.#family === 4 ? "ipv4" : "ipv6";
  }

  async #write(text: string, sysctls: readonly SysctlSet[]): Promise<void> {
    const restore: IptablesRestore = {
      op: "iptables.restore",
      netns: "host",
      family: this.#protocol,
      text,
      noflush: true,
      source: `kube-proxy on ${this.#options.nodeName}`,
    };
    await this.#options.backend.apply([...sysctls, restore]);
    this.#lastSync = { ...this.#lastSync, octets: text.length };
  }

  /** Only keys that the node's kernel has: conntrack's are absent until its module is there. */
  async #sysctls(): Promise<readonly SysctlSet[]> {
    if (this.#family === 6) return [];
    const { conntrack, localhostNodePorts, tcpBeLiberal } = this.#options.config;
    const wanted: [string, string][] = [
      ["net.netfilter.nf_conntrack_tcp_timeout_established", String(conntrack.tcpEstablishedTimeout)],
      ["net.netfilter.nf_conntrack_tcp_timeout_close_wait", String(conntrack.tcpCloseWaitTimeout)],
    ];
    if (localhostNodePorts) wanted.unshift(["net.ipv4.conf.all.route_localnet", "1"]);
    if (tcpBeLiberal) wanted.push(["net.netfilter.nf_conntrack_tcp_be_liberal", "1"]);
    const out: SysctlSet[] = [];
    for (const [key, value] of wanted) {
      const now = await this.#options.backend.sysctl("host", key);
      if (now !== undefined && now !== value) out.push({ op: "sysctl.set", netns: "host", key, value });
    }
    return out;
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
    this.#renderer = this.#renderer?.withNode(next) ?? null;
    this.#ipvs?.setNode(next);
    this.#needFull = true;
    return true;
  }
}

/** Whether a saved ruleset has a jump; iptables-save may print its matches in another order. */
function hasJump(saved: string, jump: Jump): boolean {
  const start = saved.indexOf(`*${jump.table}\n`);
  if (start < 0) return false;
  const end = saved.indexOf("COMMIT", start);
  const target = / -j (\S+)$/.exec(` ${jump.rule}`)?.[1] ?? "";
  return saved
    .slice(start, end < 0 ? undefined : end)
    .split("\n")
    .some((line) => line.startsWith(`-A ${jump.from} `) && line.endsWith(`-j ${target}`));
}
