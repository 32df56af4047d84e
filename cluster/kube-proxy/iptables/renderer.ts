/**
 * kube-proxy's iptables mode: trackers to the text of one iptables-restore --noflush transaction.
 *
 * A full text holds everything. A partial text holds the shared chains whole, and of the rest only the chains of
 * Services that changed; chains that nobody uses any more are emptied and deleted. Services are written sorted by name
 * (kube-proxy's own order is a map's), so the same input is the same text. For a data plane that keeps what it was given, a
 * partial text can also be had as edits, which leave alone the lines of all other Services and come to the same.
 *
 *   PREROUTING, OUTPUT → KUBE-SERVICES → KUBE-SVC-x | KUBE-EXT-x | KUBE-FW-x → KUBE-SEP-y → DNAT
 *                                      → KUBE-NODEPORTS → KUBE-EXT-x → KUBE-SVC-x | KUBE-SVL-x
 *   POSTROUTING → KUBE-POSTROUTING → MASQUERADE what KUBE-MARK-MASQ has marked
 */
import { contains, type Family, familyOf, parseCidr, parseIp } from "../../api/ip.ts";
import type { ProxyConfig } from "../config.ts";
import type { EndpointsTracker } from "../endpoints-tracker.ts";
import type { Jump } from "../jumps.ts";
import { localDetector } from "../local-detector.ts";
import type { ProxyNode } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import type { ServiceTracker } from "../service-tracker.ts";
import { chooseEndpoints, type Topology } from "../topology.ts";
import { LineCounts, lowerBound } from "./line-counts.ts";
import { type PortContext, type PortRules, portRules } from "./port-rules.ts";

export type IptablesSettings = {
  readonly family: Family;
  readonly node: ProxyNode;
  readonly config: ProxyConfig;
  /** MASQUERADE --random-fully, where the kernel has it. */
  readonly randomFully: boolean;
};

const LARGE_CLUSTER_ENDPOINTS = 1000;
/** From so many changed Services on, sorting once is cheaper than inserting each. */
const MANY = 64;
const NEW = "-m conntrack --ctstate NEW ";

function jump(table: "filter" | "nat", from: string, match: string, comment: string, to: string): Jump {
  return { table, from, rule: `${match}${comment === "" ? "" : `-m comment --comment "${comment}" `}-j ${to}` };
}

const JUMPS: readonly Jump[] = [
  jump("filter", "INPUT", NEW, "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
  jump("filter", "FORWARD", NEW, "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
  jump("filter", "INPUT", "", "kubernetes health check service ports", "KUBE-NODEPORTS"),
  jump("filter", "FORWARD", NEW, "kubernetes service portals", "KUBE-SERVICES"),
  jump("filter", "OUTPUT", NEW, "kubernetes service portals", "KUBE-SERVICES"),
  jump("filter", "FORWARD", "", "kubernetes forwarding rules", "KUBE-FORWARD"),
  jump("filter", "INPUT", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
  jump("filter", "OUTPUT", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
  jump("filter", "FORWARD", NEW, "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
  jump("nat", "OUTPUT", "", "kubernetes service portals", "KUBE-SERVICES"),
  jump("nat", "PREROUTING", "", "kubernetes service portals", "KUBE-SERVICES"),
  jump("nat", "POSTROUTING", "", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
];
/** The kubelet's chain against martian packets, of which kube-proxy keeps a copy. */
const FIREWALL_JUMPS: readonly Jump[] = [
  jump("filter", "INPUT", "", "", "KUBE-FIREWALL"),
  jump("filter", "OUTPUT", "", "", "KUBE-FIREWALL"),
];

const SHARED_CHAINS: ReadonlyMap<string, string> = new Map([
  ["KUBE-SERVICES", "addresses of all services"],
  ["KUBE-NODEPORTS", "node ports of all services"],
  ["KUBE-EXTERNAL-SERVICES", "external addresses that no endpoint serves"],
  ["KUBE-POSTROUTING", "masquerade of marked traffic"],
  ["KUBE-MARK-MASQ", "mark for masquerade"],
  ["KUBE-FORWARD", "forwarding of service traffic"],
  ["KUBE-PROXY-FIREWALL", "source ranges of load balancers"],
  ["KUBE-FIREWALL", "localhost against martian packets"],
  ["KUBE-PROXY-CANARY", "shows that nobody flushed the rules"],
]);

type Portals = Pick<
  PortRules,
  "natServices" | "natNodePorts" | "filterServices" | "filterExternal" | "filterNodePorts" | "filterFirewall"
>;

/** Where the lines of all Services stand, and what a partial text fills anew besides. */
const SHARED: readonly (readonly [keyof Portals, "filter" | "nat", string])[] = [
  ["filterServices", "filter", "KUBE-SERVICES"],
  ["filterExternal", "filter", "KUBE-EXTERNAL-SERVICES"],
  ["filterNodePorts", "filter", "KUBE-NODEPORTS"],
  ["filterFirewall", "filter", "KUBE-PROXY-FIREWALL"],
  ["natServices", "nat", "KUBE-SERVICES"],
  ["natNodePorts", "nat", "KUBE-NODEPORTS"],
];
const FIXED = { filter: ["KUBE-FORWARD"], nat: ["KUBE-POSTROUTING", "KUBE-MARK-MASQ"] } as const;

/** What a partial sync writes: the text, put together when asked for, and the same as edits where they are known. */
export type PartialText = { readonly edits: string | undefined; text(): string };

type Block = { readonly ports: readonly PortRules[]; readonly chainLines: string };

export class IptablesRenderer {
  readonly #settings: IptablesSettings;
  readonly #services: ServiceTracker;
  readonly #endpoints: EndpointsTracker;
  readonly #topology: Topology;
  readonly #mark: string;
  readonly #blocks: Map<string, Block> = new Map();
  readonly #origins: Map<string, RuleOrigin> = new Map();
  /** Services whose chains were not written since they changed. */
  #pending: Set<string> = new Set();
  /** Of those, the blocks as they were written last; null for a Service that had none. */
  #before: Map<string, Block | null> = new Map();
  /** Lines of all blocks in the chains of `SHARED`, as written last; null while that is not known. */
  #counts: LineCounts | null = null;
  /** Chains that were written once and are in no block now. */
  #stale: Set<string> = new Set();
  /** Keys of the blocks, sorted; null when they must be sorted anew. */
  #sorted: string[] | null = [];
  #terse = false;

  constructor(settings: IptablesSettings, services: ServiceTracker, endpoints: EndpointsTracker) {
    this.#settings = settings;
    this.#services = services;
    this.#endpoints = endpoints;
    this.#topology = { nodeName: settings.node.name, zone: settings.node.zone };
    this.#mark = `0x${(2 ** settings.config.masqueradeBit).toString(16)}`;
  }

  /** The jumps that must stand in the built-in chains, in the order in which they are put in front. */
  get jumps(): readonly Jump[] {
    return this.#hasLocalhost ? [...FIREWALL_JUMPS, ...JUMPS] : JUMPS;
  }

  /** Takes in what the trackers know. Returns how many Services changed. */
  update(): number {
    const changed = new Set([...this.#services.takeChanged(), ...this.#endpoints.takeChanged()]);
    const terse = this.#endpoints.total > LARGE_CLUSTER_ENDPOINTS;
    if (terse !== this.#terse) {
      this.#terse = terse;
      for (const key of [...this.#services.keys(), ...this.#blocks.keys()]) changed.add(key);
    }
    const context = this.#context(terse);
    if (changed.size > MANY) this.#sorted = null;
    for (const key of changed) this.#render(key, context);
    return changed.size;
  }

  #context(terse: boolean): PortContext {
    const { node, config, family } = this.#settings;
    return {
      detector: localDetector(config, family, node.podCidrs),
      masqueradeAll: config.masqueradeAll,
      nodeIp: node.ips.find((ip) => familyOf(ip) === family),
      terse,
    };
  }

  #render(key: string, context: PortContext): void {
    const old = this.#blocks.get(key);
    const infos = this.#services.portsOf(key);
    for (const port of old?.ports ?? [])
      for (const chain of port.chains) {
        this.#stale.add(chain);
        this.#origins.delete(chain);
      }
    if (!this.#before.has(key)) this.#before.set(key, old ?? null);
    this.#pending.add(key);
    if (infos.length === 0) {
      if (old !== undefined) this.#sorted?.splice(lowerBound(this.#sorted, key), 1);
      this.#blocks.delete(key);
      return;
    }
    const ports = infos.map((info) => {
      const all = this.#endpoints.endpointsOf(key, info.id.port);
      return portRules(info, chooseEndpoints(all, info, this.#topology), context);
    });
    for (const port of ports) {
      for (const chain of port.chains) this.#stale.delete(chain);
      for (const [chain, origin] of port.origins) this.#origins.set(chain, origin);
    }
    const chainLines = ports.map((p) => p.chains.map((c) => `:${c} - [0:0]\n`).join("")).join("");
    if (old === undefined) this.#sorted?.splice(lowerBound(this.#sorted, key), 0, key);
    this.#blocks.set(key, { ports, chainLines });
  }

  /** A renderer for the same trackers and another node record, which knows nothing of what was written but its chains. */
  withNode(node: ProxyNode): IptablesRenderer {
    const next = new IptablesRenderer({ ...this.#settings, node }, this.#services, this.#endpoints);
    const context = next.#context(this.#terse);
    next.#terse = this.#terse;
    next.#sorted = null;
    for (const key of this.#services.keys()) next.#render(key, context);
    for (const chain of [...this.#stale, ...this.#origins.keys()])
      if (!next.#origins.has(chain)) next.#stale.add(chain);
    return next;
  }

  /** Everything, and with it the jumps that are missing (all of them unless told otherwise). */
  full(missing: readonly Jump[] = this.jumps): string {
    this.#pending.clear();
    this.#before.clear();
    this.#counts = this.#countLines();
    return this.#text(this.#keys(), missing, true, this.#takeStale());
  }

  /** What must be written to bring the last text up to date. */
  partial(): PartialText {
    const changed = [...this.#pending].sort();
    const keys = changed.filter((k) => this.#blocks.has(k));
    const before = this.#before;
    const dead = this.#takeStale();
    this.#pending.clear();
    this.#before = new Map();
    let edits: string | undefined;
    if (this.#counts === null || changed.length > MANY) this.#counts = this.#countLines();
    else edits = this.#edits(this.#counts, changed, before, dead);
    return { edits, text: () => this.#text(keys, [], false, dead) };
  }

  #takeStale(): readonly string[] {
    const dead = [...this.#stale].sort();
    this.#stale.clear();
    return dead;
  }

  #countLines(): LineCounts {
    return new LineCounts(
      SHARED.length,
      this.#keys().map((key) => [key, countsOf(this.#blocks.get(key))]),
    );
  }

  /** Lines that went are deleted, then those that came are inserted in order: each finds the others in their place. */
  #edits(
    counts: LineCounts,
    changed: readonly string[],
    before: ReadonlyMap<string, Block | null>,
    dead: readonly string[],
  ): string {
    const blocks = changed.flatMap((key) => this.#blocks.get(key) ?? []);
    for (const key of changed) {
      const block = this.#blocks.get(key);
      counts.set(key, block === undefined ? null : countsOf(block));
    }
    const edits = { filter: "", nat: "" };
    for (const [i, [portal, table, chain]] of SHARED.entries()) {
      const rules = (block: Block | null | undefined): readonly string[] =>
        (block?.ports ?? []).flatMap((p) => p[portal].split("\n").slice(0, -1));
      const differs = changed.filter((key) => rules(before.get(key)).join() !== rules(this.#blocks.get(key)).join());
      const at = `-A ${chain}`.length;
      for (const key of differs)
        for (const line of rules(before.get(key))) edits[table] += `-D ${chain}${line.slice(at)}\n`;
      for (const key of differs) {
        let number = counts.before(key, i);
        for (const line of rules(this.#blocks.get(key))) edits[table] += `-I ${chain} ${++number}${line.slice(at)}\n`;
      }
      edits[table] += `-Z ${chain}\n`;
    }
    for (const table of ["filter", "nat"] as const) for (const chain of FIXED[table]) edits[table] += `-Z ${chain}\n`;
    if (this.#hasLocalhost) edits.filter += "-Z KUBE-FIREWALL\n";
    return [
      `*filter\n${edits.filter}COMMIT\n*nat\n`,
      ...blocks.map((b) => b.chainLines),
      ...dead.map((c) => `:${c} - [0:0]\n`),
      edits.nat,
      ...blocks.flatMap((b) => b.ports.map((p) => p.rules)),
      ...dead.map((c) => `-X ${c}\n`),
      "COMMIT\n",
    ].join("");
  }

  /** Rules of its own chains, by table. */
  ruleCounts(): Readonly<Record<"filter" | "nat", number>> {
    const p = this.#portals();
    const filter = [p.filterServices, p.filterExternal, p.filterNodePorts, p.filterFirewall, this.#forwardRules()];
    const nat = [p.natServices, p.natNodePorts, this.#masqueradeRules(), this.#nodePortRules()];
    for (const block of this.#blocks.values()) nat.push(...block.ports.map((port) => port.rules));
    const sum = (texts: readonly string[]): number => texts.reduce((n, text) => n + lines(text), 0);
    return { filter: sum(filter) + (this.#hasLocalhost ? 1 : 0), nat: sum(nat) };
  }

  /** The object behind a chain of this proxy, or behind a rule of a shared chain, which its comment names. */
  originOf(chain: string, comment: string = ""): RuleOrigin | undefined {
    const own = this.#origins.get(chain);
    if (own !== undefined) return own;
    const shared = SHARED_CHAINS.get(chain);
    if (shared === undefined) return undefined;
    const m = /^([a-z0-9.-]+)\/([a-z0-9.-]+)(?::([a-z0-9.-]+))?(?: (.*))?$/.exec(comment);
    if (m === null)
      return {
        kind: "kube-proxy",
        namespace: "kube-system",
        name: "kube-proxy",
        detail: comment === "" ? shared : comment,
      };
    const detail = [
      m[3] === undefined ? "" : `port ${m[3]}`,
      m[4] ?? (chain === "KUBE-NODEPORTS" ? "node port" : ""),
    ].filter((t) => t !== "");
    return { kind: "Service", namespace: m[1] ?? "", name: m[2] ?? "", detail: detail.join(", ") };
  }

  get #hasLocalhost(): boolean {
    return this.#settings.family === 4 && this.#settings.config.localhostNodePorts;
  }

  #keys(): readonly string[] {
    this.#sorted ??= [...this.#blocks.keys()].sort();
    return this.#sorted;
  }

  #text(chainsOf: readonly string[], missing: readonly Jump[], full: boolean, dead: readonly string[]): string {
    const portals = this.#portals();
    const blocks = chainsOf.flatMap((key) => this.#blocks.get(key) ?? []);
    const jumpsOf = (table: string): string =>
      missing
        .filter((j) => j.table === table)
        .map((j) => `-I ${j.from} ${j.rule}\n`)
        .join("");
    const canary = full ? ":KUBE-PROXY-CANARY - [0:0]\n" : "";
    return [
      full ? `*mangle\n${canary}COMMIT\n` : "",
      "*filter\n",
      ":KUBE-SERVICES - [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n",
      this.#hasLocalhost ? ":KUBE-FIREWALL - [0:0]\n" : "",
      canary,
      jumpsOf("filter"),
      this.#hasLocalhost
        ? '-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n'
        : "",
      portals.filterServices,
      portals.filterExternal,
      portals.filterNodePorts,
      portals.filterFirewall,
      this.#forwardRules(),
      "COMMIT\n*nat\n",
      ":KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
      canary,
      ...blocks.map((b) => b.chainLines),
      ...dead.map((c) => `:${c} - [0:0]\n`),
      jumpsOf("nat"),
      this.#masqueradeRules(),
      portals.natServices,
      portals.natNodePorts,
      ...blocks.flatMap((b) => b.ports.map((p) => p.rules)),
      this.#nodePortRules(),
      ...dead.map((c) => `-X ${c}\n`),
      "COMMIT\n",
    ].join("");
  }

  /** The lines of all Services in the shared chains. */
  #portals(): Portals {
    const out = {
      natServices: "",
      natNodePorts: "",
      filterServices: "",
      filterExternal: "",
      filterNodePorts: "",
      filterFirewall: "",
    };
    for (const key of this.#keys())
      for (const p of this.#blocks.get(key)?.ports ?? []) {
        out.natServices += p.natServices;
        out.natNodePorts += p.natNodePorts;
        out.filterServices += p.filterServices;
        out.filterExternal += p.filterExternal;
        out.filterNodePorts += p.filterNodePorts;
        out.filterFirewall += p.filterFirewall;
      }
    return out;
  }

  #forwardRules(): string {
    const invalid = this.#settings.config.tcpBeLiberal
      ? ""
      : "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n";
    return `${invalid}-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark ${this.#mark}/${this.#mark} -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n`;
  }

  /** The mark is taken off again, or a tunnel's outer packet would be masqueraded too. */
  #masqueradeRules(): string {
    const fully = this.#settings.randomFully ? " --random-fully" : "";
    return `-A KUBE-POSTROUTING -m mark ! --mark ${this.#mark}/${this.#mark} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark ${this.#mark}
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE${fully}
-A KUBE-MARK-MASQ -j MARK --or-mark ${this.#mark}\n`;
  }

  /** Which of the node's own addresses answer on node ports. */
  #nodePortRules(): string {
    const head =
      '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"';
    const { family, node, config } = this.#settings;
    const chosen = config.nodePortAddresses;
    const own = node.ips.filter((ip) => familyOf(ip) === family);
    if (chosen.includes("primary"))
      return own
        .slice(0, 1)
        .map((ip) => `${head} -d ${ip} -j KUBE-NODEPORTS\n`)
        .join("");
    const cidrs = chosen.flatMap((c) => parseCidr(c) ?? []).filter((c) => c.family === family);
    if (cidrs.length === 0 || cidrs.some((c) => c.bits === 0)) {
      const but = family === 6 ? " ! -d ::1/128" : config.localhostNodePorts ? "" : " ! -d 127.0.0.0/8";
      return `${head} -m addrtype --dst-type LOCAL${but} -j KUBE-NODEPORTS\n`;
    }
    const candidates = this.#hasLocalhost ? [...own, "127.0.0.1"] : own;
    const matching = [...new Set(candidates)].filter((text) => {
      const ip = parseIp(text);
      return ip !== null && cidrs.some((c) => contains(c, ip));
    });
    return matching.map((ip) => `${head} -d ${ip} -j KUBE-NODEPORTS\n`).join("");
  }
}

/** A block's lines in each of the shared chains. */
function countsOf(block: Block | undefined): readonly number[] {
  const ports = block?.ports ?? [];
  return SHARED.map(([portal]) => ports.reduce((n, p) => n + lines(p[portal]), 0));
}

function lines(text: string): number {
  let n = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) n++;
  return n;
}
