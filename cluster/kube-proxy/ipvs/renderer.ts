/**
 * kube-proxy's ipvs mode: trackers to virtual servers, set entries and addresses of kube-ipvs0 (pkg/proxy/ipvs).
 *
 * Each Service is a block of wanted entries; a change compares its block with the one before, so an update costs what
 * changed. The rules are few, always the same, and written anew when a set becomes empty or stops being so. Within a block sets
 * have the names of IPv4.
 */
import { contains, type Family, familyOf, hostPort, parseCidr, parseIp } from "../../api/ip.ts";
import type { ProxyConfig } from "../config.ts";
import type { EndpointInfo, EndpointsTracker } from "../endpoints-tracker.ts";
import type { Jump } from "../jumps.ts";
import { localDetector } from "../local-detector.ts";
import type { ProxyNode } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import type { ServicePortInfo, ServiceTracker } from "../service-tracker.ts";
import { chooseEndpoints, type EndpointChoice } from "../topology.ts";
import { IPVS_JUMPS, IPVS_SETS, ipvsRules, setName, setType } from "./rules.ts";

export type IpvsSettings = {
  readonly family: Family;
  readonly node: ProxyNode;
  readonly config: ProxyConfig;
  readonly randomFully: boolean;
};

/** How many connections a destination has; the words are those of the texts ("-t 10.96.0.1:80", "10.244.0.2:80"). */
export type ConnectionCount = (service: string, destination: string) => number;

type Virtual = { readonly options: string; readonly destinations: readonly string[] };
type Block = {
  /** By "-t 10.96.0.1:80". */
  readonly virtuals: ReadonlyMap<string, Virtual>;
  /** "KUBE-CLUSTER-IP 10.96.0.1,tcp:80". */
  readonly entries: readonly string[];
  /** Of kube-ipvs0. */
  readonly addresses: readonly string[];
  readonly origins: ReadonlyMap<string, RuleOrigin>;
};
const EMPTY: Block = { virtuals: new Map(), entries: [], addresses: [], origins: new Map() };

/** What a sync writes. Texts are "" where nothing changed. */
export type IpvsChange = {
  readonly sets: string;
  readonly servers: string;
  readonly bind: readonly string[];
  readonly unbind: readonly string[];
  /** Whether the rules are not as they were. */
  readonly rules: boolean;
  readonly services: number;
};

export class IpvsRenderer {
  #settings: IpvsSettings;
  readonly #services: ServiceTracker;
  readonly #endpoints: EndpointsTracker;
  readonly #blocks: Map<string, Block> = new Map();
  /** How many blocks want an entry, an address. */
  readonly #entries: Map<string, number> = new Map();
  readonly #sizes: Map<string, number> = new Map();
  readonly #addresses: Map<string, number> = new Map();
  readonly #origins: Map<string, RuleOrigin> = new Map();
  /** Destinations at weight 0 that still have connections: service, then destination. */
  readonly #draining: Map<string, Set<string>> = new Map();
  #nodeIps: readonly string[];
  #all = false;

  constructor(settings: IpvsSettings, services: ServiceTracker, endpoints: EndpointsTracker) {
    this.#settings = settings;
    this.#services = services;
    this.#endpoints = endpoints;
    this.#nodeIps = settings.node.ips.filter((ip) => familyOf(ip) === settings.family);
  }

  get jumps(): readonly Jump[] {
    return IPVS_JUMPS;
  }

  /** Another record of the same node: everything is computed again. */
  setNode(node: ProxyNode): void {
    this.#settings = { ...this.#settings, node };
    this.#all = true;
  }

  /** The node's own addresses, for node ports. */
  setNodeIps(ips: readonly string[]): void {
    if (ips.join() === this.#nodeIps.join()) return;
    this.#nodeIps = ips;
    this.#all = true;
  }

  /** Takes in what the trackers know, and answers what must be written for it. */
  update(connections: ConnectionCount = () => 0): IpvsChange {
    const changed = new Set([...this.#services.takeChanged(), ...this.#endpoints.takeChanged()]);
    if (this.#all) for (const key of [...this.#services.keys(), ...this.#blocks.keys()]) changed.add(key);
    this.#all = false;
    const sets: string[] = [];
    const servers: string[] = this.#reap(connections);
    const [bind, unbind]: [string[], string[]] = [[], []];
    const before = this.#filled();
    for (const key of [...changed].sort()) {
      const old = this.#blocks.get(key) ?? EMPTY;
      const now = this.#block(key);
      for (const entry of now.entries)
        if (this.#count(this.#entries, entry, 1)) sets.push(this.#entry("add", entry, 1));
      for (const entry of old.entries)
        if (this.#count(this.#entries, entry, -1)) sets.push(this.#entry("del", entry, -1));
      for (const a of now.addresses) if (this.#count(this.#addresses, a, 1)) bind.push(a);
      for (const a of old.addresses) if (this.#count(this.#addresses, a, -1)) unbind.push(a);
      this.#servers(old, now, servers, connections);
      for (const chain of old.origins.keys()) this.#origins.delete(chain);
      for (const [chain, origin] of now.origins) this.#origins.set(chain, origin);
      if (now.virtuals.size === 0) this.#blocks.delete(key);
      else this.#blocks.set(key, now);
    }
    const both = new Set(bind.filter((a) => unbind.includes(a)));
    return {
      sets: text(sets),
      servers: text(servers),
      bind: bind.filter((a) => !both.has(a)),
      unbind: unbind.filter((a) => !both.has(a)),
      rules: before !== this.#filled(),
      services: changed.size,
    };
  }

  /** All sets and entries; for sets that may be there already. */
  setsText(): string {
    const { family } = this.#settings;
    const create = IPVS_SETS.flatMap(([set, type]) => {
      const name = setName(set, family);
      return [`create ${name} ${setType(type, family)} -exist`, `flush ${name}`];
    });
    return text([...create, ...[...this.#entries.keys()].sort().map((e) => `add ${this.#named(e)}`)]);
  }

  /** All virtual servers, as ipvsadm -R reads them. */
  serversText(): string {
    const lines = [...this.#blocks.keys()].sort().flatMap((key) => {
      const out: string[] = [];
      this.#compare(EMPTY, this.#blocks.get(key) ?? EMPTY, out);
      return out;
    });
    return text(lines);
  }

  rulesText(missing: readonly Jump[] = this.jumps): string {
    const { family, node, config, randomFully } = this.#settings;
    const filled = (set: string): boolean => (this.#sizes.get(set) ?? 0) > 0;
    const detector = localDetector(config, family, node.podCidrs);
    return ipvsRules({ family, config, detector, randomFully, filled, missing });
  }

  get addresses(): readonly string[] {
    return [...this.#addresses.keys()].sort();
  }

  /** The object behind a virtual server, as a trace names it ("TCP 10.96.0.1:80"). */
  originOf(chain: string): RuleOrigin | undefined {
    return this.#origins.get(chain);
  }

  #filled(): string {
    return IPVS_SETS.map(([name]) => ((this.#sizes.get(name) ?? 0) > 0 ? "1" : "0")).join("");
  }

  /** Whether the count came to be or ceased to be. */
  #count(counts: Map<string, number>, key: string, by: number): boolean {
    const n = (counts.get(key) ?? 0) + by;
    if (n === 0) counts.delete(key);
    else counts.set(key, n);
    return by > 0 ? n === 1 : n === 0;
  }

  #entry(verb: string, entry: string, by: number): string {
    const set = entry.slice(0, entry.indexOf(" "));
    this.#sizes.set(set, (this.#sizes.get(set) ?? 0) + by);
    return `${verb} ${this.#named(entry)}`;
  }

  /** An entry with the name that its set has in this family. */
  #named(entry: string): string {
    const end = entry.indexOf(" ");
    return setName(entry.slice(0, end), this.#settings.family) + entry.slice(end);
  }

  #servers(old: Block, now: Block, out: string[], connections: ConnectionCount): void {
    for (const service of old.virtuals.keys())
      if (!now.virtuals.has(service)) {
        out.push(`-D ${service}`);
        this.#draining.delete(service);
      }
    this.#compare(old, now, out, connections);
  }

  #compare(old: Block, now: Block, out: string[], connections?: ConnectionCount): void {
    for (const [service, { options, destinations }] of now.virtuals) {
      const was = old.virtuals.get(service);
      if (was === undefined) out.push(`-A ${service} ${options}`);
      else if (was.options !== options) out.push(`-E ${service} ${options}`);
      const known = new Set(was?.destinations);
      const draining = this.#draining.get(service);
      for (const d of destinations)
        if (draining?.delete(d) === true) out.push(`-e ${service} -r ${d} -m -w 1`);
        else if (!known.delete(d)) out.push(`-a ${service} -r ${d} -m -w 1`);
      for (const d of known) {
        // Connections of TCP may end in peace; others are cut.
        if (!service.startsWith("-t ") || connections === undefined || connections(service, d) === 0) {
          out.push(`-d ${service} -r ${d}`);
          continue;
        }
        out.push(`-e ${service} -r ${d} -m -w 0`);
        this.#draining.set(service, (this.#draining.get(service) ?? new Set()).add(d));
      }
    }
  }

  /** Destinations whose last connection has ended (graceful_termination.go looks once a minute; here, at each sync). */
  #reap(connections: ConnectionCount): string[] {
    const out: string[] = [];
    for (const [service, destinations] of this.#draining)
      for (const d of destinations) {
        if (connections(service, d) > 0) continue;
        destinations.delete(d);
        out.push(`-d ${service} -r ${d}`);
      }
    return out;
  }

  #block(key: string): Block {
    const block = {
      virtuals: new Map<string, Virtual>(),
      entries: [] as string[],
      addresses: [] as string[],
      origins: new Map<string, RuleOrigin>(),
    };
    const { node } = this.#settings;
    for (const info of this.#services.portsOf(key)) {
      const all = this.#endpoints.endpointsOf(key, info.id.port);
      const chosen = chooseEndpoints(all, info, { nodeName: node.name, zone: node.zone });
      new PortBlock(block, info, all, chosen, this.#settings, this.#nodeIps).add();
    }
    block.entries = [...new Set(block.entries)];
    block.addresses = [...new Set(block.addresses)];
    for (const a of block.addresses) block.entries.push(`KUBE-IPVS-IPS ${a}`);
    return block;
  }
}

/** All addresses, in two prefixes. */
const HALVES: Readonly<Record<Family, readonly string[]>> = {
  4: ["0.0.0.0/1", "128.0.0.0/1"],
  6: ["::/1", "8000::/1"],
};

class PortBlock {
  readonly #block: {
    virtuals: Map<string, Virtual>;
    entries: string[];
    addresses: string[];
    origins: Map<string, RuleOrigin>;
  };
  readonly #info: ServicePortInfo;
  readonly #all: readonly EndpointInfo[];
  readonly #chosen: EndpointChoice;
  readonly #settings: IpvsSettings;
  readonly #nodeIps: readonly string[];

  constructor(
    block: { virtuals: Map<string, Virtual>; entries: string[]; addresses: string[]; origins: Map<string, RuleOrigin> },
    info: ServicePortInfo,
    all: readonly EndpointInfo[],
    chosen: EndpointChoice,
    settings: IpvsSettings,
    nodeIps: readonly string[],
  ) {
    this.#block = block;
    this.#info = info;
    this.#all = all;
    this.#chosen = chosen;
    this.#settings = settings;
    this.#nodeIps = nodeIps;
  }

  add(): void {
    const info = this.#info;
    const proto = info.protocol.toLowerCase();
    for (const e of this.#all) if (e.isLocal) this.#entry("KUBE-LOOP-BACK", `${e.ip},${proto}:${e.port},${e.ip}`);
    this.#entry("KUBE-CLUSTER-IP", `${info.clusterIp},${proto}:${info.port}`);
    this.#server(info.clusterIp, info.port, info.internalPolicyLocal, true);
    const external = info.externalPolicyLocal;
    for (const ip of info.externalIps) {
      this.#entry(external ? "KUBE-EXTERNAL-IP-LOCAL" : "KUBE-EXTERNAL-IP", `${ip},${proto}:${info.port}`);
      this.#server(ip, info.port, external, true);
    }
    for (const ip of info.loadBalancerIps) this.#loadBalancer(ip, `${ip},${proto}:${info.port}`);
    if (info.nodePort !== 0) this.#nodePort(proto);
    if (info.healthCheckNodePort !== 0) this.#entry("KUBE-HEALTH-CHECK-NODE-PORT", String(info.healthCheckNodePort));
  }

  #loadBalancer(ip: string, entry: string): void {
    const info = this.#info;
    this.#entry("KUBE-LOAD-BALANCER", entry);
    if (info.externalPolicyLocal) this.#entry("KUBE-LOAD-BALANCER-LOCAL", entry);
    if (info.sourceRanges.length > 0) {
      this.#entry("KUBE-LOAD-BALANCER-FW", entry);
      const own = parseIp(this.#nodeIps[0] ?? "");
      for (const range of info.sourceRanges) {
        // A set takes no prefix of length 0.
        const parts = /\/0$/.test(range) ? HALVES[this.#settings.family] : [range];
        for (const part of parts) this.#entry("KUBE-LOAD-BALANCER-SOURCE-CIDR", `${entry},${part}`);
        const cidr = parseCidr(range);
        if (own !== null && cidr !== null && contains(cidr, own))
          this.#entry("KUBE-LOAD-BALANCER-SOURCE-IP", `${entry},${ip}`);
      }
    }
    this.#server(ip, info.port, info.externalPolicyLocal, true);
  }

  #nodePort(proto: string): void {
    const { nodePort, externalPolicyLocal } = this.#info;
    const ips = this.#nodePortIps();
    if (ips.length === 0) return;
    const name = proto === "sctp" ? "SCTP-HASH" : proto.toUpperCase();
    const entries = proto === "sctp" ? ips.map((ip) => `${ip},sctp:${nodePort}`) : [String(nodePort)];
    for (const entry of entries) {
      this.#entry(`KUBE-NODE-PORT-${name}`, entry);
      if (externalPolicyLocal) this.#entry(`KUBE-NODE-PORT-LOCAL-${name}`, entry);
    }
    for (const ip of ips) this.#server(ip, nodePort, externalPolicyLocal, false);
  }

  #nodePortIps(): readonly string[] {
    const wanted = this.#settings.config.nodePortAddresses;
    if (wanted.includes("primary")) return this.#nodeIps.slice(0, 1);
    const cidrs = wanted.flatMap((c) => parseCidr(c) ?? []).filter((c) => c.family === this.#settings.family);
    if (cidrs.length === 0) return this.#nodeIps;
    return this.#nodeIps.filter((text) => {
      const ip = parseIp(text);
      return ip !== null && cidrs.some((c) => contains(c, ip));
    });
  }

  #entry(set: string, entry: string): void {
    this.#block.entries.push(`${set} ${entry}`);
  }

  #server(ip: string, port: number, local: boolean, bind: boolean): void {
    const { protocol, stickySeconds, id } = this.#info;
    const word = protocol === "TCP" ? "-t" : protocol === "UDP" ? "-u" : "--sctp-service";
    const scheduler = this.#settings.config.ipvs.scheduler;
    const options = `-s ${scheduler}${stickySeconds === 0 ? "" : ` -p ${stickySeconds}`}${scheduler === "mh" ? " -b mh-port" : ""}`;
    const { cluster, local: here } = this.#chosen;
    const endpoints = local && here.length > 0 ? here : cluster;
    this.#block.virtuals.set(`${word} ${hostPort(ip, port)}`, { options, destinations: endpoints.map((e) => e.text) });
    this.#block.origins.set(`${protocol} ${hostPort(ip, port)}`, {
      kind: "Service",
      namespace: id.namespace,
      name: id.name,
      detail: id.port === "" ? "" : `port ${id.port}`,
    });
    if (bind && !this.#nodeIps.includes(ip)) this.#block.addresses.push(ip);
  }
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
