/**
 * Booting a cluster: the underlay, the nodes with their agents, the control plane, then the manifests' objects, until
 * nothing is dirty.
 */
import type { Host } from "../dataplane/host/host.ts";
import { Underlay } from "../dataplane/host/underlay.ts";
import { World } from "../dataplane/host/world.ts";
import { connectionsOf } from "../dataplane/ipvs/text.ts";
import type { NetNs } from "../dataplane/netns/netns.ts";
import { FlannelAgent } from "./agents/flannel/agent.ts";
import { flannelConf } from "./agents/flannel/net-conf.ts";
import { ClusterError } from "./api/cluster-error.ts";
import { familyOf } from "./api/ip.ts";
import { formatPath } from "./api/issue.ts";
import { type KubeObject, keyOf } from "./api/meta.ts";
import type { Node } from "./api/node.ts";
import type { Pod } from "./api/pod.ts";
import { type Controller, Manager } from "./client/manager.ts";
import { standardControllers } from "./controllers/standard.ts";
import { dnsServiceIp, systemObjects } from "./controllers/system-objects.ts";
import { DnsServer } from "./dns/server.ts";
import { KubernetesZone } from "./dns/zone.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig, type ProxyMode } from "./kube-proxy/config.ts";
import { KubeProxy } from "./kube-proxy/kube-proxy.ts";
import { type KubeletNode, Kubelets } from "./kubelet/kubelet.ts";
import { nodeObject } from "./kubelet/node-object.ts";
import { InputError, type InputIssue } from "./manifests/input-error.ts";
import { loadManifests, type Origin } from "./manifests/load.ts";
import type { Source } from "./manifests/sources.ts";
import { addressPlan } from "./node/address-plan.ts";
import { type CidrPair, checkNetworks, familiesOf, nodeMaskSizes, parseCidrPair } from "./node/cidr-settings.ts";
import { conflistOf, FLANNEL_BACKENDS, type Network } from "./node/conflists.ts";
import { EmulatedNode } from "./node/emulated-node.ts";
import { LOAD_BALANCER_CIDRS, LoadBalancer } from "./node/load-balancer.ts";
import { API_PORT, bootControlPlane, bootOutside } from "./node/outside.ts";
import { Workloads } from "./node/workloads.ts";
import { MemoryStore } from "./store/store-memory.ts";

/** Where flanneld leaves the settings of a node for the CNI plugin. */
const SUBNET_ENV = "/run/flannel/subnet.env";

/** CoreDNS forwards other names; the emulated world outside has addresses, but no names. */
const NO_SUCH_NAME = (): null => null;

export type { ProxyMode };
export const PROXY_MODES: readonly ProxyMode[] = ["iptables", "ipvs", "nftables", "userspace"];

export type ClusterOptions = {
  readonly sources: readonly Source[];
  /** Three unless given, or as many as the manifests have Node objects. */
  readonly nodes?: number;
  readonly network?: Network;
  readonly proxyMode?: ProxyMode;
  /** Settings of kube-proxy; without `clusterCIDR` it takes the cluster's, and `proxyMode` wins over `mode`. */
  readonly proxyConfig?: Partial<ProxyConfig>;
  /** MTU of the underlay; 1500. */
  readonly mtu?: number;
  readonly seed?: number;
  /** Where pods get their addresses: "10.244.0.0/16", or one CIDR of each family with a comma, primary first. */
  readonly clusterCidr?: string;
  /** Prefix length of what each node gets of it, in a cluster of one family; 24, or 64 of IPv6. */
  readonly nodeCidrMaskSize?: number;
  /** The same of either family, also of two. */
  readonly nodeCidrMaskSizeIpv4?: number;
  readonly nodeCidrMaskSizeIpv6?: number;
  /** Where Services get them, in the same words; "10.96.0.0/12". */
  readonly serviceCidr?: string;
  /** Where addresses of load balancers come from, in the same words; "198.51.100.128/25,2001:db8:1b::/112". */
  readonly loadBalancerCidr?: string;
  /** One way on the underlay, in milliseconds of virtual time; 0.05. */
  readonly delay?: number;
  readonly progress?: (what: string, done: number, total: number) => void;
};

/** What a booted cluster is made of. */
export type Parts = {
  readonly world: World;
  readonly underlay: Underlay;
  readonly store: MemoryStore;
  readonly nodes: ReadonlyMap<string, EmulatedNode>;
  readonly external: Host;
  readonly others: readonly Host[];
  readonly warnings: readonly InputIssue[];
  readonly manager: Manager;
  readonly workloads: Workloads;
  readonly netnsOf: (pod: Pod) => NetNs | undefined;
  readonly proxies: ReadonlyMap<string, KubeProxy>;
  readonly origins: ReadonlyMap<string, Origin>;
  readonly dnsIp: string;
  readonly title: string;
};

/** Boots a cluster. Throws InputError for manifests and settings that Kubernetes would refuse. */
export async function boot(options: ClusterOptions): Promise<Parts> {
  const origins = new Map<string, Origin>();
  try {
    return await bootParts(options, origins);
  } catch (cause) {
    if (cause instanceof ClusterError) throw placed(cause, origins);
    throw cause;
  }
}

async function bootParts(options: ClusterOptions, origins: Map<string, Origin>): Promise<Parts> {
  const { mtu = 1500, seed = 1 } = options;
  const clusterCidrs = parseCidrPair(options.clusterCidr ?? "10.244.0.0/16", "clusterCidr");
  const serviceCidrs = parseCidrPair(options.serviceCidr ?? "10.96.0.0/12", "serviceCidr");
  const families = familiesOf(clusterCidrs);
  const network = options.network ?? "flannel-vxlan";
  const { proxyConfig = {} } = options;
  const proxyMode = options.proxyMode ?? proxyConfig.mode ?? "iptables";
  const { objects, warnings } = loadManifests(options.sources);
  for (const { object, origin } of objects)
    origins.set(`${object.kind}/${object.metadata.namespace ?? ""}/${object.metadata.name}`, origin);
  const given = objects.map((o) => o.object).filter((o): o is Node => o.kind === "Node");
  const plan = addressPlan(given, options.nodes, families);
  const masks = nodeMaskSizes(options, clusterCidrs);
  checkNetworks(clusterCidrs, serviceCidrs, plan.networks, masks);
  checkProxyMode(proxyMode, serviceCidrs);
  const world = new World(seed);
  const underlay = new Underlay(world, { delay: options.delay ?? 0.05 });
  const store = new MemoryStore(world.loop);
  const { router, external } = await bootOutside(world, underlay, plan, mtu, [...clusterCidrs, ...serviceCidrs]);
  const controlPlane = await bootControlPlane(world, underlay, plan, mtu);

  const nodes = new Map<string, EmulatedNode>();
  const proxies = new Map<string, KubeProxy>();
  const agents: Controller[] = [];
  const wired: KubeletNode[] = [];
  const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: clusterCidrs.join(","), ...proxyConfig, mode: proxyMode };
  const conf = flannelConf(clusterCidrs, FLANNEL_BACKENDS[network]);
  for (const [i, { name, addresses }] of plan.nodes.entries()) {
    const conflist = conflistOf(network);
    const { gateways } = plan;
    const node = await EmulatedNode.boot(world, underlay, { name, index: i + 1, addresses, gateways, mtu, conflist });
    nodes.set(name, node);
    const { backend, files, ips } = node;
    wired.push({ name, ips, backend, network: node });
    const connections = (service: string, destination: string): number =>
      connectionsOf(node.host.root, service, destination);
    const proxy = new KubeProxy({
      nodeName: name,
      backend,
      config,
      connections,
      families: familiesOf(serviceCidrs),
      serviceCidrs,
      sockets: node.host.root,
    });
    proxies.set(name, proxy);
    const writeSubnetEnv = (text: string): void => void files.write(SUBNET_ENV, text);
    const device = { dev: "eth0", addresses, mtu };
    agents.push(
      new FlannelAgent({ nodeName: name, store, backend, conf, underlay: device, salt: seed, writeSubnetEnv }),
    );
    agents.push(proxy);
  }
  const kubelets = new Kubelets(store, wired);
  const netnsOf = (pod: Pod): NetNs | undefined => {
    const node = nodes.get(pod.spec.nodeName ?? "");
    if (node === undefined || pod.spec.hostNetwork === true) return node?.host.root;
    return node.netns(kubelets.sandboxOf(keyOf(pod))?.netns ?? "");
  };
  const dns = new DnsServer(new KubernetesZone(store), { upstream: NO_SUCH_NAME });
  const workloads = new Workloads(store, dns, netnsOf);
  const standard = standardControllers(store, {
    serviceCidr: serviceCidrs,
    clusterCidr: clusterCidrs,
    nodeMaskSizes: masks,
    seed,
    loadBalancerCidr:
      options.loadBalancerCidr === undefined
        ? familiesOf(serviceCidrs).map((family) => LOAD_BALANCER_CIDRS[family])
        : parseCidrPair(options.loadBalancerCidr, "loadBalancerCidr"),
  });
  const manager = new Manager(store, [
    ...standard,
    ...agents,
    kubelets,
    workloads,
    new LoadBalancer(store, router, external),
  ]);
  const [serviceCidr = ""] = serviceCidrs;
  const apiServers = plan.apiServer.map((address) => address.split("/")[0] ?? "");
  const apiServer = { ip: apiServers.find((ip) => familyOf(ip) === familyOf(serviceCidr)) ?? "", port: API_PORT };
  for (const object of systemObjects({ serviceCidr, apiServer })) await store.create(object);
  for (const { name, ips } of nodes.values()) {
    const own = given.find((n) => n.metadata.name === name);
    const described = nodeObject({
      name,
      ips,
      ...(own?.spec?.podCIDRs === undefined ? {} : { podCidrs: own.spec.podCIDRs }),
    });
    const labels = { ...described.metadata.labels, ...own?.metadata.labels };
    const annotations = own?.metadata.annotations;
    const metadata = { ...described.metadata, labels, ...(annotations === undefined ? {} : { annotations }) };
    await store.create({ ...described, metadata, spec: { ...described.spec, ...own?.spec } });
  }
  await manager.settle();

  let done = 0;
  for (const { object, origin } of objects) {
    options.progress?.("objects", ++done, objects.length);
    if (object.kind !== "Node") await put(store, object, origin);
  }
  await manager.settle();
  // What wiring put on the wires (addresses announced) arrives before anybody looks.
  world.loop.run({ deadline: world.loop.time + 10 * (underlay.delay + 1) });
  const title = `${network}, ${proxyMode}, seed ${seed}`;
  const dnsIp = dnsServiceIp(serviceCidr);
  const others = [router, external, controlPlane];
  return {
    others,
    world,
    underlay,
    store,
    nodes,
    external,
    warnings,
    manager,
    workloads,
    netnsOf,
    proxies,
    origins,
    dnsIp,
    title,
  };
}

/** userspace mode has one family, whichever that is. */
function checkProxyMode(mode: ProxyMode, serviceCidrs: CidrPair): void {
  if (mode !== "userspace" || serviceCidrs.length < 2) return;
  const expected = "iptables, ipvs or nftables: Services have two families, and userspace mode served one";
  throw new InputError({ file: "settings", line: 0, field: "proxyMode", found: mode, expected });
}

/** A manifest may give again what the cluster has by itself, such as the namespace default. */
async function put(store: MemoryStore, object: KubeObject, origin: Origin): Promise<void> {
  const { namespace = "", name } = object.metadata;
  const old = store.get(object.kind, namespace, name);
  try {
    if (old === undefined) await store.create(object);
    else await store.update({ ...object, metadata: { ...old.metadata, ...object.metadata } });
  } catch (cause) {
    const found = `${object.kind} ${namespace === "" ? "" : `${namespace}/`}${name}`;
    const expected = cause instanceof Error ? cause.message : String(cause);
    throw new InputError({ file: origin.file, line: origin.line, field: "metadata.name", found, expected }, { cause });
  }
}

/** An error of the control plane, at the line of the object that it is about. */
function placed(cause: ClusterError, origins: ReadonlyMap<string, Origin>): InputError {
  const { object, path } = cause;
  const key = object === null ? "" : `${object.kind}/${object.metadata.namespace ?? ""}/${object.metadata.name}`;
  const origin = origins.get(key);
  const file = origin?.file ?? "settings";
  // a Node that no manifest gives has its CIDR by the setting
  const bySetting = origin === undefined && object?.kind === "Node" && cause.reason === "CidrExhausted";
  const whole = object === null ? cause.reason : object.kind;
  const field = bySetting ? "clusterCidr" : path.length === 0 ? whole : formatPath(path);
  const line = origin?.lineOf(path) ?? 0;
  const found =
    object === null || path.length === 0 ? cause.message : `${object.kind} ${keyOf(object)}: ${cause.detail}`;
  return new InputError({ file, line, field, found, expected: EXPECTED[cause.reason] }, { cause });
}

const EXPECTED: Readonly<Record<ClusterError["reason"], string>> = {
  CidrInvalid: "a CIDR such as 10.244.0.0/16",
  CidrExhausted: "a CIDR with room for all nodes",
  CidrOverlap: "CIDRs that do not overlap",
  AddressOutOfRange: "an address of the service CIDR",
  FamilyMissing: "families that the service CIDR has",
  AddressInUse: "an address that no other Service has",
  PortInUse: "a node port that no other Service has",
  PortsExhausted: "fewer node ports than the range has",
};
