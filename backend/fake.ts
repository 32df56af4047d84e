/**
 * A Backend for tests: a small model of namespaces that keeps links, addresses, routes, sysctls and iptables text, and
 * records the operations it was given. It forwards no packets and knows no rule's meaning.
 *
 * It follows the kernel where plugins notice: names are unique, a veth's ends go together, an address brings its prefix
 * route once its link is up, a gateway must be reachable, chains must exist. Left out: everything else; the emulated
 * backend is the one that behaves, and passes the same contract.
 */

import {
  type AddrInfo,
  type AddrOp,
  type FdbInfo,
  type IptablesRestore,
  type LinkAdd,
  type LinkAttrs,
  type LinkInfo,
  type LinkSet,
  type NeighInfo,
  NetlinkError,
  type NetnsRef,
  type NftApply,
  type NftListOptions,
  type QdiscAdd,
  type QdiscDel,
  type QdiscInfo,
  type RouteInfo,
  type RouteOp,
  type RtnlOp,
  type VlanInfo,
  type VlanOp,
} from "../dataplane/netns/rtnl-ops.ts";
import { listRuleset } from "../dataplane/nftables/list.ts";
import { NftError } from "../dataplane/nftables/nft-error.ts";
import { applyNft } from "../dataplane/nftables/parse.ts";
import { printRule } from "../dataplane/nftables/print-rule.ts";
import { Ruleset } from "../dataplane/nftables/ruleset.ts";
import type { Backend } from "./ops.ts";

type FakeLink = { -readonly [K in keyof LinkInfo]: LinkInfo[K] } & { peer: { netns: string; ifindex: number } | null };
type FakeTable = Map<string, { policy: string; rules: string[] }>;
type FakeNetns = {
  links: FakeLink[];
  addrs: AddrInfo[];
  routes: (RouteInfo & { readonly kernel?: true })[];
  neighs: NeighInfo[];
  fdb: FdbInfo[];
  qdiscs: QdiscInfo[];
  vlans: VlanInfo[];
  sysctls: Map<string, string>;
  tables: { ipv4: Map<string, FakeTable>; ipv6: Map<string, FakeTable> };
  nextIfindex: number;
};

const BUILT_IN: Readonly<Record<string, readonly string[]>> = {
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  raw: ["PREROUTING", "OUTPUT"],
};
const DEVICE_SYSCTLS: Readonly<Record<"ipv4" | "ipv6", Readonly<Record<string, string>>>> = {
  ipv4: {
    arp_notify: "0",
    arp_ignore: "0",
    arp_announce: "0",
    route_localnet: "0",
    forwarding: "0",
    rp_filter: "0",
    proxy_arp: "0",
  },
  ipv6: {
    accept_ra: "1",
    accept_dad: "1",
    disable_ipv6: "0",
    keep_addr_on_down: "0",
    enhanced_dad: "1",
    forwarding: "0",
  },
};

function newNetns(): FakeNetns {
  const lo = newLink(1, "lo", "loopback");
  return {
    links: [{ ...lo, mtu: 65536, mac: "00:00:00:00:00:00" }],
    addrs: [],
    routes: [],
    neighs: [],
    fdb: [],
    qdiscs: [],
    vlans: [],
    sysctls: new Map([
      ["net.ipv4.ip_forward", "0"],
      ["net.ipv6.conf.all.forwarding", "0"],
      ["net.ipv6.conf.all.disable_ipv6", "0"],
    ]),
    tables: { ipv4: new Map(), ipv6: new Map() },
    nextIfindex: 2,
  };
}

function newLink(ifindex: number, name: string, kind: string): FakeLink {
  return {
    ifindex,
    name,
    kind,
    mac: `02:00:00:00:00:${ifindex.toString(16).padStart(2, "0")}`,
    mtu: 1500,
    up: false,
    carrier: false,
    promisc: false,
    master: null,
    hairpin: false,
    isolated: false,
    alias: "",
    peerIfindex: null,
    peer: null,
  };
}

/** Whether the operation would be refused; the test says which and how. */
export type FakeFailure = (op: RtnlOp) => string | undefined;

export class FakeBackend implements Backend {
  /** All operations of successful calls, in order. */
  readonly applied: RtnlOp[] = [];
  /** The number of successful calls of `apply`. */
  transactions = 0;
  /** Set by a test: an errno name to fail an operation with. */
  failWith: FakeFailure = () => undefined;
  readonly #nft: Map<string, Ruleset> = new Map();
  #undo: (() => void)[] = [];
  readonly #namespaces: Map<string, FakeNetns> = new Map([["host", newNetns()]]);
  closed = false;

  async apply(ops: readonly RtnlOp[]): Promise<void> {
    const before = structuredClone(this.#namespaces);
    this.#undo = [];
    for (const op of ops) {
      try {
        const code = this.failWith(op);
        if (code !== undefined) throw new NetlinkError(code, `${op.op}: ${code}`, op);
        this.#one(op);
      } catch (error) {
        for (const step of this.#undo.reverse()) step();
        this.#namespaces.clear();
        for (const [name, ns] of before) this.#namespaces.set(name, ns);
        throw error;
      }
    }
    this.applied.push(...ops);
    this.transactions++;
  }

  async addNetns(name: string): Promise<string> {
    const path = `/run/netns/${name}`;
    if (this.#namespaces.has(path)) throw new NetlinkError("EEXIST", `namespace ${path} exists`);
    this.#namespaces.set(path, newNetns());
    return path;
  }

  async delNetns(path: string): Promise<void> {
    const ns = this.#namespaces.get(path);
    if (ns === undefined) return;
    for (const link of [...ns.links]) this.#remove(path, link);
    this.#namespaces.delete(path);
  }

  async hasNetns(path: string): Promise<boolean> {
    return this.#namespaces.has(path);
  }

  async links(netns: NetnsRef): Promise<readonly LinkInfo[]> {
    return this.#ns(netns).links.map(({ peer: _, ...link }) => link);
  }

  async link(netns: NetnsRef, name: string): Promise<LinkInfo | undefined> {
    return (await this.links(netns)).find((link) => link.name === name);
  }

  async addrs(netns: NetnsRef, dev?: string): Promise<readonly AddrInfo[]> {
    return this.#ns(netns).addrs.filter((addr) => dev === undefined || addr.dev === dev);
  }

  async routes(netns: NetnsRef): Promise<readonly RouteInfo[]> {
    return this.#ns(netns).routes.map(({ kernel: _, ...route }) => route);
  }

  async neighs(netns: NetnsRef): Promise<readonly NeighInfo[]> {
    return [...this.#ns(netns).neighs];
  }

  async fdb(netns: NetnsRef): Promise<readonly FdbInfo[]> {
    return [...this.#ns(netns).fdb];
  }

  async vlans(netns: NetnsRef, dev?: string): Promise<readonly VlanInfo[]> {
    return this.#ns(netns).vlans.filter((vlan) => dev === undefined || vlan.dev === dev);
  }

  async qdiscs(netns: NetnsRef, dev?: string): Promise<readonly QdiscInfo[]> {
    return this.#ns(netns).qdiscs.filter((qdisc) => dev === undefined || qdisc.dev === dev);
  }

  async sysctl(netns: NetnsRef, key: string): Promise<string | undefined> {
    return this.#sysctl(this.#ns(netns), key);
  }

  async iptablesSave(netns: NetnsRef, family: "ipv4" | "ipv6"): Promise<string> {
    let text = "";
    for (const [name, table] of this.#ns(netns).tables[family]) {
      text += `*${name}\n`;
      for (const [chain, { policy }] of table) text += `:${chain} ${policy} [0:0]\n`;
      for (const [chain, { rules }] of table) for (const rule of rules) text += `-A ${chain} ${rule}\n`;
      text += "COMMIT\n";
    }
    return text;
  }

  async nftList(netns: NetnsRef, options: NftListOptions = {}): Promise<string> {
    this.#ns(netns);
    const { table, handles = false, stateless = false } = options;
    const rules = this.#nft.get(netns);
    return rules === undefined ? "" : listRuleset(rules, { now: 0, handles, stateless, ...(table && { table }) });
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #ns(netns: NetnsRef): FakeNetns {
    const ns = this.#namespaces.get(netns);
    if (ns === undefined) throw new NetlinkError("ENOENT", `no namespace ${netns}`);
    return ns;
  }

  #link(netns: NetnsRef, name: string, op: RtnlOp): FakeLink {
    const link = this.#ns(netns).links.find((l) => l.name === name);
    if (link === undefined) throw new NetlinkError("ENODEV", `no device ${name} in ${netns}`, op);
    return link;
  }

  #sysctl(ns: FakeNetns, key: string): string | undefined {
    const set = ns.sysctls.get(key);
    if (set !== undefined) return set;
    const [, family, dev, leaf] = /^net\.(ipv4|ipv6)\.conf\.([^.]+)\.(\w+)$/.exec(key) ?? [];
    if (family === undefined || leaf === undefined || dev === undefined) return undefined;
    const name = dev.replaceAll("/", ".");
    if (name !== "all" && name !== "default" && !ns.links.some((l) => l.name === name)) return undefined;
    return DEVICE_SYSCTLS[family as "ipv4" | "ipv6"][leaf];
  }

  #one(op: RtnlOp): void {
    switch (op.op) {
      case "link.add":
        this.#linkAdd(op);
        break;
      case "link.set":
        this.#linkSet(op);
        break;
      case "link.del":
        this.#remove(op.netns, this.#link(op.netns, op.name, op));
        break;
      case "addr.add":
      case "addr.del":
        this.#addr(op);
        break;
      case "route.add":
      case "route.replace":
      case "route.del":
        this.#route(op);
        break;
      case "neigh.replace":
      case "neigh.del":
        this.#neigh(op);
        break;
      case "fdb.replace":
      case "fdb.del":
        this.#fdb(op);
        break;
      case "sysctl.set":
        if (this.#sysctl(this.#ns(op.netns), op.key) === undefined)
          throw new NetlinkError("ENOENT", `no sysctl ${op.key}`, op);
        this.#ns(op.netns).sysctls.set(op.key, op.value);
        break;
      case "vlan.add":
      case "vlan.del":
      case "vlan.flush":
        this.#vlan(op);
        break;
      case "qdisc.add":
      case "qdisc.del":
        this.#qdisc(op);
        break;
      case "filter.add": {
        const { qdiscs } = this.#ns(op.netns);
        const at = qdiscs.findIndex((qdisc) => qdisc.dev === op.dev && qdisc.kind === "ingress");
        if (at < 0) throw new NetlinkError("EINVAL", `no ingress qdisc of ${op.dev}`, op);
        this.#link(op.netns, op.redirect, op);
        qdiscs[at] = { kind: "ingress", dev: op.dev, redirect: op.redirect };
        break;
      }
      case "iptables.restore":
        this.#restore(op);
        break;
      case "nft.apply":
        this.#nftApply(op);
        break;
    }
  }

  #nftApply(op: NftApply): void {
    this.#ns(op.netns);
    const rules = this.#nft.get(op.netns) ?? new Ruleset((rule) => printRule(rule));
    this.#nft.set(op.netns, rules);
    try {
      this.#undo.push(applyNft(rules, op.text, op.source ?? "nft", 0));
    } catch (cause) {
      if (!(cause instanceof NftError)) throw cause;
      throw new NetlinkError(cause.code, cause.message, op, { cause });
    }
  }

  #vlan(op: VlanOp): void {
    const ns = this.#ns(op.netns);
    const link = this.#link(op.netns, op.dev, op);
    if (link.kind !== "bridge" && link.master === null)
      throw new NetlinkError("EOPNOTSUPP", `${op.dev} is no port`, op);
    const last = op.op === "vlan.add" ? (op.vidEnd ?? op.vid) : op.op === "vlan.del" ? op.vid : 0;
    const hit = (vlan: VlanInfo): boolean =>
      vlan.dev === op.dev && (op.op === "vlan.flush" || (vlan.vid >= op.vid && vlan.vid <= last));
    if (op.op === "vlan.del" && !ns.vlans.some(hit)) throw new NetlinkError("ENOENT", `no VLAN ${op.vid}`, op);
    ns.vlans = ns.vlans.filter((vlan) => !hit(vlan));
    if (op.op !== "vlan.add") return;
    const { dev, pvid = false, untagged = false } = op;
    if (pvid) ns.vlans = ns.vlans.map((vlan) => (vlan.dev === dev ? { ...vlan, pvid: false } : vlan));
    for (let { vid } = op; vid <= last; vid++) ns.vlans.push({ dev, vid, pvid, untagged });
    ns.vlans.sort((a, b) => a.vid - b.vid);
  }

  #qdisc(op: QdiscAdd | QdiscDel): void {
    const ns = this.#ns(op.netns);
    this.#link(op.netns, op.dev, op);
    const at = ns.qdiscs.findIndex((qdisc) => qdisc.dev === op.dev && qdisc.kind === op.kind);
    if (op.op === "qdisc.add" && at >= 0) throw new NetlinkError("EEXIST", `qdisc ${op.kind} of ${op.dev}`, op);
    if (op.op === "qdisc.del" && at < 0) throw new NetlinkError("ENOENT", `no qdisc ${op.kind} of ${op.dev}`, op);
    if (op.op === "qdisc.del") ns.qdiscs.splice(at, 1);
    else if (op.kind === "ingress") ns.qdiscs.push({ kind: "ingress", dev: op.dev, redirect: null });
    else {
      const { dev, kind, rate, burst, limit } = op;
      ns.qdiscs.push({ dev, kind, rate, burst, limit, sent: 0, drops: 0 });
    }
  }

  #newLink(netns: NetnsRef, name: string, kind: string, op: RtnlOp): FakeLink {
    const ns = this.#ns(netns);
    if (ns.links.some((l) => l.name === name))
      throw new NetlinkError("EEXIST", `device ${name} exists in ${netns}`, op);
    const link = newLink(ns.nextIfindex++, name, kind);
    ns.links.push(link);
    return link;
  }

  #linkAdd(op: LinkAdd): void {
    const link = this.#newLink(op.netns, op.name, op.kind, op);
    if (op.kind === "bridge") {
      link.vlanFiltering = false;
      this.#vlan({ op: "vlan.add", netns: op.netns, dev: op.name, vid: 1, pvid: true, untagged: true });
    }
    if (op.kind === "veth") {
      const peerNetns = op.peer.netns ?? op.netns;
      const peer = this.#newLink(peerNetns, op.peer.name, "veth", op);
      link.peer = { netns: peerNetns, ifindex: peer.ifindex };
      link.peerIfindex = peer.ifindex;
      peer.peer = { netns: op.netns, ifindex: link.ifindex };
      peer.peerIfindex = link.ifindex;
      this.#attrs(peerNetns, peer, op.peer, op);
    }
    this.#attrs(op.netns, link, op, op);
  }

  #linkSet(op: LinkSet): void {
    const link = this.#link(op.netns, op.name, op);
    this.#attrs(op.netns, link, op, op);
    if (op.rename !== undefined) {
      if (this.#ns(op.netns).links.some((l) => l.name === op.rename))
        throw new NetlinkError("EEXIST", `device ${op.rename} exists`, op);
      link.name = op.rename;
    }
    if (op.toNetns !== undefined) {
      const from = this.#ns(op.netns);
      const to = this.#ns(op.toNetns);
      from.links = from.links.filter((l) => l !== link);
      link.up = false;
      link.master = null;
      link.ifindex = to.nextIfindex++;
      to.links.push(link);
      const peer = this.#peerOf(link);
      if (peer?.peer) {
        peer.peer = { netns: op.toNetns, ifindex: link.ifindex };
        peer.peerIfindex = link.ifindex;
      }
    }
  }

  #peerOf(link: FakeLink): FakeLink | undefined {
    const at = link.peer;
    return at === null ? undefined : this.#namespaces.get(at.netns)?.links.find((l) => l.ifindex === at.ifindex);
  }

  #attrs(netns: NetnsRef, link: FakeLink, attrs: LinkAttrs, op: RtnlOp): void {
    if (attrs.mtu !== undefined) link.mtu = attrs.mtu;
    if (attrs.mac !== undefined) link.mac = attrs.mac;
    if (attrs.promisc !== undefined) link.promisc = attrs.promisc;
    if (attrs.alias !== undefined) link.alias = attrs.alias;
    if (attrs.vlanFiltering !== undefined) link.vlanFiltering = attrs.vlanFiltering;
    if (attrs.master !== undefined) {
      if (attrs.master !== null && this.#link(netns, attrs.master, op).kind !== "bridge") {
        throw new NetlinkError("EINVAL", `device ${attrs.master} is no bridge`, op);
      }
      link.master = attrs.master;
      // a new port is in VLAN 1
      if (attrs.master !== null)
        this.#vlan({ op: "vlan.add", netns, dev: link.name, vid: 1, pvid: true, untagged: true });
    }
    if ((attrs.hairpin !== undefined || attrs.isolated !== undefined) && link.master === null) {
      throw new NetlinkError("EINVAL", `device ${link.name} is no bridge port`, op);
    }
    if (attrs.hairpin !== undefined) link.hairpin = attrs.hairpin;
    if (attrs.isolated !== undefined) link.isolated = attrs.isolated;
    if (attrs.up !== undefined) this.#setUp(netns, link, attrs.up);
  }

  #setUp(netns: NetnsRef, link: FakeLink, up: boolean): void {
    const ns = this.#ns(netns);
    if (up && !link.up && link.kind === "loopback" && !ns.addrs.some((a) => a.dev === "lo")) {
      ns.addrs.push(
        { dev: "lo", address: "127.0.0.1/8", scope: "host" },
        { dev: "lo", address: "::1/128", scope: "host" },
      );
    }
    link.up = up;
    if (!up) ns.routes = ns.routes.filter((r) => r.dev !== link.name);
    else for (const addr of ns.addrs) if (addr.dev === link.name) this.#prefixRoute(ns, link, addr.address);
    const peer = this.#peerOf(link);
    link.carrier = up && (peer === undefined || peer.up);
    if (peer !== undefined) peer.carrier = up && peer.up;
  }

  #remove(netns: NetnsRef, link: FakeLink): void {
    const peer = this.#peerOf(link);
    this.#removeOne(netns, link);
    if (peer !== undefined && link.peer !== null) this.#removeOne(link.peer.netns, peer);
  }

  #removeOne(netns: NetnsRef, link: FakeLink): void {
    const ns = this.#ns(netns);
    ns.links = ns.links.filter((l) => l !== link);
    for (const port of ns.links) if (port.master === link.name) port.master = null;
    ns.addrs = ns.addrs.filter((a) => a.dev !== link.name);
    ns.routes = ns.routes.filter((r) => r.dev !== link.name);
    ns.neighs = ns.neighs.filter((n) => n.dev !== link.name);
    ns.fdb = ns.fdb.filter((f) => f.dev !== link.name);
    ns.qdiscs = ns.qdiscs.filter((q) => q.dev !== link.name);
    ns.vlans = ns.vlans.filter((v) => v.dev !== link.name);
    for (const key of [...ns.sysctls.keys()]) if (key.split(".")[3] === link.name) ns.sysctls.delete(key);
  }

  #prefixRoute(ns: FakeNetns, link: FakeLink, address: string): void {
    const dst = networkText(address);
    if (dst === undefined || link.kind === "loopback") return;
    if (ns.routes.some((r) => r.dst === dst && r.dev === link.name)) return;
    ns.routes.push({
      dst,
      dev: link.name,
      src: address.split("/", 1)[0] ?? "",
      scope: "link",
      proto: "kernel",
      kernel: true,
    });
  }

  #addr(op: AddrOp): void {
    const ns = this.#ns(op.netns);
    const link = this.#link(op.netns, op.dev, op);
    const at = ns.addrs.findIndex((a) => a.dev === op.dev && a.address === op.address);
    if (op.op === "addr.add") {
      if (at >= 0) throw new NetlinkError("EEXIST", `${op.address} exists on ${op.dev}`, op);
      ns.addrs.push({ dev: op.dev, address: op.address, scope: op.scope ?? "global" });
      if (link.up) this.#prefixRoute(ns, link, op.address);
    } else {
      if (at < 0) throw new NetlinkError("EADDRNOTAVAIL", `${op.address} is not on ${op.dev}`, op);
      ns.addrs.splice(at, 1);
      ns.routes = ns.routes.filter((r) => !(r.kernel && r.dev === op.dev && r.dst === networkText(op.address)));
    }
  }

  #route(op: RouteOp): void {
    const ns = this.#ns(op.netns);
    const { op: kind, netns: _, ...given } = op;
    let dev = given.dev;
    if (dev !== undefined && kind !== "route.del" && !this.#link(op.netns, dev, op).up) {
      throw new NetlinkError("ENETDOWN", `device ${dev} is down`, op);
    }
    if (given.via !== undefined && kind !== "route.del" && given.onlink !== true) {
      const onLink = ns.routes.find(
        (r) => r.via === undefined && holds(r.dst, given.via ?? "") && (dev === undefined || r.dev === dev),
      );
      if (onLink === undefined) throw new NetlinkError("ENETUNREACH", `no route to gateway ${given.via}`, op);
      dev ??= onLink.dev;
    }
    const route: RouteInfo = { ...given, ...(dev === undefined ? {} : { dev }) };
    const same = (r: RouteInfo): boolean =>
      r.dst === route.dst && (r.metric ?? 0) === (route.metric ?? 0) && (r.table ?? 254) === (route.table ?? 254);
    const at = ns.routes.findIndex(same);
    if (kind === "route.del") {
      if (at < 0) throw new NetlinkError("ESRCH", `no route ${route.dst}`, op);
      ns.routes.splice(at, 1);
    } else if (at < 0) {
      ns.routes.push(route);
    } else if (kind === "route.add") {
      throw new NetlinkError("EEXIST", `route ${route.dst} exists`, op);
    } else {
      ns.routes[at] = route;
    }
  }

  #neigh(op: Extract<RtnlOp, { op: "neigh.replace" | "neigh.del" }>): void {
    const ns = this.#ns(op.netns);
    this.#link(op.netns, op.dev, op);
    const rest = ns.neighs.filter((n) => n.dev !== op.dev || n.address !== op.address);
    if (op.op === "neigh.del") {
      if (rest.length === ns.neighs.length) throw new NetlinkError("ENOENT", `no neighbor ${op.address}`, op);
      ns.neighs = rest;
    } else {
      ns.neighs = [...rest, { dev: op.dev, address: op.address, mac: op.mac ?? null, state: op.state ?? "permanent" }];
    }
  }

  #fdb(op: Extract<RtnlOp, { op: "fdb.replace" | "fdb.del" }>): void {
    const ns = this.#ns(op.netns);
    this.#link(op.netns, op.dev, op);
    const rest = ns.fdb.filter((f) => f.dev !== op.dev || f.mac !== op.mac);
    if (op.op === "fdb.del") {
      if (rest.length === ns.fdb.length) throw new NetlinkError("ENOENT", `no FDB entry ${op.mac}`, op);
      ns.fdb = rest;
    } else {
      ns.fdb = [...rest, { dev: op.dev, mac: op.mac, dst: op.dst ?? null, state: "permanent" }];
    }
  }

  #restore(op: IptablesRestore): void {
    const tables = this.#ns(op.netns).tables[op.family];
    let table: FakeTable | undefined;
    const bad = (line: string, why: string): NetlinkError =>
      new NetlinkError("EINVAL", `${op.source ?? "iptables-restore"}: ${line}: ${why}`, op);
    for (const raw of op.text.split("\n")) {
      const line = raw.trim();
      if (line === "" || line.startsWith("#") || line === "COMMIT") continue;
      if (line.startsWith("*")) {
        const name = line.slice(1);
        const builtIn = BUILT_IN[name];
        if (builtIn === undefined) throw bad(line, "no such table");
        if (!tables.has(name) || !op.noflush)
          tables.set(name, new Map(builtIn.map((c) => [c, { policy: "ACCEPT", rules: [] }])));
        table = tables.get(name);
        continue;
      }
      if (table === undefined) throw bad(line, "no table");
      if (line.startsWith(":")) {
        const [chain = "", policy = "-"] = line.slice(1).split(" ");
        const known = table.get(chain);
        // of a built-in chain the policy is set, a user chain is made or emptied
        if (known !== undefined && known.policy !== "-") known.policy = policy;
        else table.set(chain, { policy: "-", rules: [] });
        continue;
      }
      const [, command = "", name = "", rest = ""] = /^(-[A-Z]) (\S+) ?(.*)$/.exec(line) ?? [];
      if (command === "-N") {
        if (table.has(name)) throw bad(line, "chain exists");
        table.set(name, { policy: "-", rules: [] });
        continue;
      }
      const chain = table.get(name);
      if (chain === undefined) throw bad(line, "no such chain");
      const target = / -j (\S+)/.exec(` ${rest}`)?.[1];
      if (target?.startsWith("CNI-") && !table.has(target)) throw bad(line, `no chain ${target}`);
      if (command === "-A") chain.rules.push(rest);
      else if (command === "-I") chain.rules.unshift(rest.replace(/^\d+ /, ""));
      else if (command === "-F") chain.rules = [];
      else if (command === "-D") {
        const at = chain.rules.indexOf(rest);
        if (at < 0) throw bad(line, "no such rule");
        chain.rules.splice(at, 1);
      } else if (command === "-X") {
        const used = [...table.values()].some((c) => c.rules.some((r) => ` ${r}`.includes(` -j ${name}`)));
        if (used || chain.rules.length > 0) throw bad(line, "chain is in use");
        table.delete(name);
      } else throw bad(line, "not understood");
    }
  }
}

/** Octets of an address as one number, with its width. Small and lax: tests feed it good text. */
function bitsOf(text: string): { value: bigint; width: number } | undefined {
  if (text.includes(".")) {
    return { value: text.split(".").reduce((n, octet) => n * 256n + BigInt(octet), 0n), width: 32 };
  }
  if (!text.includes(":")) return undefined;
  const [head = "", tail = ""] = text.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const zeros = text.includes("::") ? 8 - groups(head).length - groups(tail).length : 0;
  const all = [...groups(head), ...new Array<string>(zeros).fill("0"), ...groups(tail)];
  return { value: all.reduce((n, group) => n * 65536n + BigInt(`0x${group}`), 0n), width: 128 };
}

function maskedBits(text: string, len: number): bigint | undefined {
  const bits = bitsOf(text);
  return bits === undefined ? undefined : bits.value >> BigInt(bits.width - len);
}

function networkText(prefix: string): string | undefined {
  const [ip = "", lenText = ""] = prefix.split("/");
  const bits = bitsOf(ip);
  const len = Number(lenText);
  if (bits === undefined || len === bits.width) return undefined;
  const value = (bits.value >> BigInt(bits.width - len)) << BigInt(bits.width - len);
  if (bits.width === 32) return `${[24n, 16n, 8n, 0n].map((s) => (value >> s) & 255n).join(".")}/${len}`;
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  return `${groups.join(":").replace(/(?:^|:)0(?::0)+(?::|$)/, "::")}/${len}`;
}

function holds(dst: string, ip: string): boolean {
  if (dst === "default") return false;
  const [network = "", len = ""] = dst.split("/");
  return (
    bitsOf(network)?.width === bitsOf(ip)?.width && maskedBits(network, Number(len)) === maskedBits(ip, Number(len))
  );
}
