/**
 * A cluster in this process: manifests in, nodes and pods on an emulated underlay, traces out. The public face of the
 * library; the command line is built on it.
 *
 * Booting runs the control plane until nothing is dirty; after that packets move only when somebody asks for something.
 * The same manifests, options and seed give the same packets, octet for octet.
 */
import type { Host } from "../dataplane/host/host.ts";
import type { Underlay } from "../dataplane/host/underlay.ts";
import type { World } from "../dataplane/host/world.ts";
import type { NetNs } from "../dataplane/netns/netns.ts";
import { PROTO_TCP, PROTO_UDP } from "../dataplane/wire/ipv4.ts";
import type { KubeObject } from "./api/meta.ts";
import type { Pod } from "./api/pod.ts";
import { runTool, type ToolResult } from "./apps/tools.ts";
import { boot, type ClusterOptions, type Parts } from "./boot.ts";
import type { Manager } from "./client/manager.ts";
import { type ResolvConf, resolvConfOf } from "./dns/resolv-conf.ts";
import type { InputIssue } from "./manifests/input-error.ts";
import type { EmulatedNode } from "./node/emulated-node.ts";
import type { Workloads } from "./node/workloads.ts";
import type { MemoryStore } from "./store/store-memory.ts";
import { Choices } from "./trace/choices.ts";
import { type Exchange, type ExchangeOptions, exchange } from "./trace/exchange.ts";
import { Naming } from "./trace/naming.ts";
import { type Traced, type TraceOptions, Tracing } from "./trace/tracing.ts";

export class Cluster {
  readonly world: World;
  readonly underlay: Underlay;
  readonly store: MemoryStore;
  readonly nodes: ReadonlyMap<string, EmulatedNode>;
  readonly external: Host;
  /** What is not a node: the router, the world behind it, and the API server's host. */
  readonly #others: readonly Host[];
  /** What Kubernetes would accept and a person should know. */
  readonly warnings: readonly InputIssue[];
  readonly #manager: Manager;
  readonly #workloads: Workloads;
  readonly #tracing: Tracing;
  readonly #title: string;

  private constructor(parts: Parts) {
    this.world = parts.world;
    this.underlay = parts.underlay;
    this.store = parts.store;
    this.nodes = parts.nodes;
    this.external = parts.external;
    this.#others = parts.others;
    this.warnings = parts.warnings;
    this.#manager = parts.manager;
    this.#workloads = parts.workloads;
    this.#title = parts.title;
    const naming = new Naming({
      store: parts.store,
      podOf: (ns) => this.podOf(ns),
      proxies: parts.proxies,
      origins: parts.origins,
      external: parts.external.root,
    });
    this.#tracing = new Tracing({
      store: parts.store,
      naming,
      external: parts.external.root,
      netnsOfPod: parts.netnsOf,
      netnsOfNode: (name) => this.nodes.get(name)?.host.root,
      nodeIps: (name) => this.nodes.get(name)?.ips ?? [],
      resolvConf: (pod) => this.#resolvConf(pod, parts.dnsIp),
      namespaces: () => this.namespaces(),
      relays: (ns, protocol, port) => this.#relays(parts.proxies, ns, protocol, port),
    });
  }

  /** Boots a cluster. Throws InputError for manifests that Kubernetes would refuse. */
  static async create(options: ClusterOptions): Promise<Cluster> {
    return new Cluster(await boot(options));
  }

  /** Sends one real packet and tells what happened to it. Throws InputError for an end that does not exist. */
  async trace(from: string, to: string, options: TraceOptions = {}): Promise<Traced> {
    return this.#tracing.trace(from, to, { ...options, title: this.#title });
  }

  /** The same for every outcome that chance allows, at most `limit`. */
  async traceAll(from: string, to: string, options: TraceOptions = {}, limit = 1000): Promise<readonly Traced[]> {
    const choices = new Choices();
    const before = this.world.chance;
    const results: Traced[] = [];
    this.world.chance = choices.chance;
    try {
      do results.push(await this.trace(from, to, options));
      while (choices.next() && results.length < limit);
    } finally {
      this.world.chance = before;
    }
    return results;
  }

  /** Runs a network tool in a pod: "pod/NAME", "deploy/NAME" or a pod's name. */
  exec(pod: string, argv: readonly string[], options: { readonly namespace?: string } = {}): ToolResult {
    const { ns, conf } = this.#tracing.place(pod, options.namespace ?? "default");
    return runTool(ns, argv, conf);
  }

  /** Runs one exchange and records it. */
  capture(from: string, to: string, options: ExchangeOptions = {}): Exchange {
    return exchange(this.#tracing, from, to, options);
  }

  /** Creates or replaces objects and lets the control plane settle. */
  async apply(objects: readonly KubeObject[]): Promise<void> {
    for (const object of objects) {
      const { namespace = "", name } = object.metadata;
      const old = this.store.get(object.kind, namespace, name);
      if (old === undefined) await this.store.create(object);
      else await this.store.update({ ...object, metadata: { ...old.metadata, ...object.metadata } });
    }
    await this.#manager.settle();
  }

  async delete(kind: string, namespace: string, name: string): Promise<void> {
    await this.store.delete(kind, namespace, name);
    await this.#manager.settle();
  }

  /** The pod whose sandbox this is. */
  podOf(ns: NetNs): Pod | undefined {
    return this.#workloads.podOf(ns);
  }

  /** Every namespace there is. */
  *namespaces(): IterableIterator<NetNs> {
    for (const host of this.#others) yield host.root;
    for (const node of this.nodes.values()) {
      yield node.host.root;
      yield* node.host.sandboxes.values();
    }
  }

  /** Whether kube-proxy listens there, in userspace mode. */
  #relays(proxies: Parts["proxies"], ns: NetNs, protocol: number, port: number): boolean {
    if (ns !== this.nodes.get(ns.node)?.host.root) return false;
    const name = protocol === PROTO_TCP ? "TCP" : protocol === PROTO_UDP ? "UDP" : null;
    return name !== null && proxies.get(ns.node)?.relayedTo(name, port) !== undefined;
  }

  #resolvConf(pod: Pod | undefined, dnsIp: string): ResolvConf {
    if (pod !== undefined) return resolvConfOf(pod, { clusterDns: [dnsIp] });
    const searches = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    return { nameservers: [dnsIp], searches, options: ["ndots:5"] };
  }
}
