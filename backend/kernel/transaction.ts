/**
 * A list of operations on the kernel, whole or not at all. The kernel has no transactions, so each operation that is done
 * leaves a way back, and a failure goes all of them in reverse. A link that was deleted cannot be brought back: links are
 * looked up where the list says, and deleted at its end, when nothing else can fail, unless the list makes their name
 * anew.
 *
 * What the way back cannot restore: routes that the kernel itself drops with an address or a link that is set down,
 * packet counters, learned neighbours.
 */
import {
  type AddrOp,
  type FdbOp,
  type FilterAdd,
  type IptablesRestore,
  type LinkAdd,
  type LinkAttrs,
  type LinkDel,
  type LinkSet,
  type NeighOp,
  NetlinkError,
  type NetnsRef,
  type NftApply,
  type QdiscAdd,
  type QdiscDel,
  type RouteOp,
  type RtnlOp,
  type SysctlSet,
  type VlanOp,
} from "../../dataplane/netns/rtnl-ops.ts";
import { flushConntrack, NETLINK_NETFILTER } from "./conntrack.ts";
import { AF_INET6, parseAddress, parsePrefix } from "./ip-text.ts";
import type { Iptables } from "./iptables.ts";
import {
  hasPortFlags,
  type RawLink,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  type SetLinkRefs,
  writeAddLink,
  writeDelLink,
  writePortFlags,
  writeSetLink,
  writeVlanFiltering,
} from "./link-message.ts";
import type { LinkTable } from "./link-table.ts";
import type { Namespaces } from "./namespaces.ts";
import {
  AF_BRIDGE,
  parseFdbMessage,
  parseNeighborMessage,
  parseRouteMessage,
  type RawRoute,
  RTM_DELADDR,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTM_NEWADDR,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  writeAddress,
  writeFdb,
  writeGetNeighbors,
  writeGetRoutes,
  writeNeighbor,
  writeRoute,
} from "./net-message.ts";
import { type Body, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "./netlink-socket.ts";
import type { Nft } from "./nft.ts";
import {
  parseQdisc,
  RTM_DELQDISC,
  RTM_GETQDISC,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  writeAddIngress,
  writeAddRedirect,
  writeAddTbf,
  writeDelQdisc,
  writeGetQdiscs,
} from "./qdisc-message.ts";
import { readSysctl, writeSysctl } from "./sysctl.ts";
import { parseVlans, type RawVlan, RTM_SETLINK, writeGetVlans, writeVlan } from "./vlan-message.ts";

type Step = () => void;

export class Transaction {
  readonly #spaces: Namespaces;
  readonly #links: LinkTable;
  readonly #iptables: Iptables;
  readonly #nft: Nft;
  readonly #undo: Step[] = [];
  readonly #atEnd: { readonly op: LinkDel; readonly link: RawLink }[] = [];

  constructor(spaces: Namespaces, links: LinkTable, iptables: Iptables, nft: Nft) {
    this.#spaces = spaces;
    this.#links = links;
    this.#iptables = iptables;
    this.#nft = nft;
  }

  /** Throws NetlinkError with the operation that failed; nothing is changed then. */
  run(ops: readonly RtnlOp[]): void {
    let current: RtnlOp | null = null;
    try {
      for (const [i, op] of ops.entries()) {
        current = op;
        this.#one(op, ops.slice(i + 1));
      }
      for (const { op, link } of this.#atEnd) {
        current = op;
        this.#deleteLink(op, link);
      }
    } catch (cause) {
      this.#back();
      if (!(cause instanceof NetlinkError)) throw cause;
      throw new NetlinkError(cause.code, cause.message, current, { cause });
    }
  }

  #back(): void {
    for (const step of this.#undo.reverse()) {
      try {
        step();
      } catch {
        // what is gone needs no way back, and the first failure is the one to tell
      }
    }
  }

  #one(op: RtnlOp, later: readonly RtnlOp[]): void {
    switch (op.op) {
      case "link.add":
        this.#addLink(op);
        return;
      case "link.set":
        this.#setLink(op);
        return;
      case "link.del":
        this.#delLink(op, later);
        return;
      case "addr.add":
      case "addr.del":
        this.#address(op);
        return;
      case "route.add":
      case "route.replace":
      case "route.del":
        this.#route(op);
        return;
      case "neigh.replace":
      case "neigh.del":
        this.#neighbor(op);
        return;
      case "fdb.replace":
      case "fdb.del":
        this.#fdb(op);
        return;
      case "sysctl.set":
        this.#sysctl(op);
        return;
      case "vlan.add":
      case "vlan.del":
      case "vlan.flush":
        this.#vlan(op);
        return;
      case "qdisc.add":
        this.#addQdisc(op);
        return;
      case "qdisc.del":
        this.#delQdisc(op);
        return;
      case "filter.add":
        this.#addFilter(op);
        return;
      case "iptables.restore":
        this.#restore(op, later);
        return;
      case "nft.apply":
        this.#nftApply(op, later);
        return;
      case "conntrack.flush":
        this.#spaces.withSocket(op.netns, NETLINK_NETFILTER, (socket) => flushConntrack(socket, op));
        return;
      default:
        throw new NetlinkError("EINVAL", `operation ${(op as { op: string }).op} is not known`, op);
    }
  }

  #request(netns: NetnsRef, type: number, flags: number, body: Body, what: string): void {
    this.#spaces.socket(netns).request(type, flags, body, what);
  }

  #indexOf(netns: NetnsRef, name: string): number {
    return this.#links.need(netns, name).ifindex;
  }

  #addLink(op: LinkAdd): void {
    const what = `link ${op.name} in ${op.netns}`;
    const peer = op.kind === "veth" ? op.peer : undefined;
    const peerNetns = peer?.netns ?? op.netns;
    const underlay = op.kind === "vxlan" ? op.dev : undefined;
    const refs = {
      masterIndex: typeof op.master === "string" ? this.#indexOf(op.netns, op.master) : undefined,
      peerNetnsFd: peer === undefined || peerNetns === op.netns ? undefined : this.#spaces.fd(peerNetns),
      underlayIndex: underlay === undefined ? undefined : this.#indexOf(op.netns, underlay),
    };
    this.#request(op.netns, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, (out) => writeAddLink(out, op, refs), what);
    this.#undo.push(() => this.#deleteLink({ op: "link.del", netns: op.netns, name: op.name }));
    if (op.kind !== "vxlan" && hasPortFlags(op)) this.#portFlags(op.netns, op.name, op);
    if (peer === undefined) return;
    // flags wait until the two ends know each other: the driver refuses to bring up one alone
    if (typeof peer.master === "string" || peer.up === true || peer.promisc === true) {
      const masterIndex = typeof peer.master === "string" ? this.#indexOf(peerNetns, peer.master) : undefined;
      const index = this.#indexOf(peerNetns, peer.name);
      this.#change(peerNetns, index, peer.name, flagsOf(peer), { masterIndex });
    }
    if (hasPortFlags(peer)) this.#portFlags(peerNetns, peer.name, peer);
  }

  #portFlags(netns: NetnsRef, name: string, flags: LinkAttrs): void {
    const link = this.#links.need(netns, name);
    if (link.masterIndex === 0) throw new NetlinkError("EINVAL", `link ${name} is not a bridge port`);
    this.#request(netns, RTM_NEWLINK, 0, (out) => writePortFlags(out, link.ifindex, flags), `link ${name} in ${netns}`);
  }

  #change(netns: NetnsRef, index: number, name: string, attrs: LinkAttrs, refs: SetLinkRefs): void {
    const what = `link ${name} in ${netns}`;
    this.#request(netns, RTM_NEWLINK, 0, (out) => writeSetLink(out, index, name, attrs, refs), what);
  }

  #setLink(op: LinkSet): void {
    const { netns, name } = op;
    const before = this.#links.need(netns, name);
    const masterIndex = op.master === undefined ? undefined : op.master === null ? 0 : this.#indexOf(netns, op.master);
    const index = before.ifindex;
    this.#change(netns, index, name, op, { masterIndex });
    this.#undo.push(() => this.#change(netns, index, name, oldAttrs(before, op), oldRefs(before, op)));
    const { vlanFiltering } = op;
    if (vlanFiltering !== undefined) {
      const set = (on: boolean): void => {
        const what = `VLAN filtering of ${name} in ${netns}`;
        this.#request(netns, RTM_NEWLINK, 0, (out) => writeVlanFiltering(out, index, on), what);
      };
      set(vlanFiltering);
      this.#undo.push(() => set(before.vlanFiltering ?? false));
    }
    if (before.kind !== "vxlan" && hasPortFlags(op)) {
      this.#portFlags(netns, name, op);
      const old = { hairpin: before.hairpin, isolated: before.isolated, learning: before.learning };
      if (before.masterIndex !== 0) this.#undo.push(() => this.#portFlags(netns, name, old));
    }
    if (op.toNetns !== undefined) this.#move(op, op.toNetns, index);
    else if (op.rename !== undefined) {
      this.#change(netns, index, name, {}, { rename: op.rename });
      this.#undo.push(() => this.#change(netns, index, op.rename ?? name, {}, { rename: name }));
    }
  }

  #move(op: LinkSet, to: NetnsRef, index: number): void {
    const { netns, name } = op;
    const renamed = op.rename ?? name;
    this.#change(netns, index, name, {}, { netnsFd: this.#spaces.fd(to), rename: op.rename });
    this.#undo.push(() => {
      const there = this.#links.need(to, renamed);
      this.#change(to, there.ifindex, renamed, {}, { netnsFd: this.#spaces.fd(netns), rename: name });
    });
  }

  #delLink(op: LinkDel, later: readonly RtnlOp[]): void {
    const link = this.#links.need(op.netns, op.name);
    if (link.kind === "loopback" || link.kind === "nic")
      throw new NetlinkError("EOPNOTSUPP", `link ${op.name} of kind ${link.kind} cannot be deleted`);
    const again = later.some((other) => other.op === "link.add" || other.op === "link.set");
    if (again) this.#deleteLink(op, link);
    else this.#atEnd.push({ op, link });
  }

  #deleteLink(op: LinkDel, link?: RawLink): void {
    const index = link?.ifindex ?? this.#indexOf(op.netns, op.name);
    this.#request(op.netns, RTM_DELLINK, 0, (out) => writeDelLink(out, index), `link ${op.name} in ${op.netns}`);
  }

  #address(op: AddrOp): void {
    const index = this.#indexOf(op.netns, op.dev);
    const noDad = this.#hasNoDad(op);
    const send = (some: AddrOp): void => {
      const [type, flags] = some.op === "addr.add" ? [RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL] : [RTM_DELADDR, 0];
      const what = `address ${op.address} on ${op.dev} in ${op.netns}`;
      this.#request(op.netns, type, flags, (out) => writeAddress(out, some, index, noDad), what);
    };
    send(op);
    this.#undo.push(() => send({ ...op, op: op.op === "addr.add" ? "addr.del" : "addr.add" }));
  }

  /** Where duplicates are not looked for, an address of IPv6 can be used at once, not only when the kernel gets to it. */
  #hasNoDad(op: AddrOp): boolean {
    if (op.op === "addr.del" || !op.address.includes(":")) return false;
    const key = `net.ipv6.conf.${op.dev.replaceAll(".", "/")}.accept_dad`;
    return this.#spaces.run(op.netns, () => readSysctl(key)) === "0";
  }

  #sendRoute(op: RouteOp, oif: number | undefined): void {
    const flags = {
      "route.add": NLM_F_CREATE | NLM_F_EXCL,
      "route.replace": NLM_F_CREATE | NLM_F_REPLACE,
      "route.del": 0,
    };
    const type = op.op === "route.del" ? RTM_DELROUTE : RTM_NEWROUTE;
    this.#request(op.netns, type, flags[op.op], (out) => writeRoute(out, op, oif), `route ${op.dst} in ${op.netns}`);
  }

  /** Routes to the same destination, in the same table. */
  #routesLike(op: RouteOp): readonly RawRoute[] {
    const dst = op.dst === "default" ? "0.0.0.0/0" : op.dst;
    const { family, octets, len } = parsePrefix(dst, "route");
    const received = this.#spaces
      .socket(op.netns)
      .dump(RTM_GETROUTE, (out) => writeGetRoutes(out, family), `routes of ${op.netns}`);
    return received
      .map(({ data }) => parseRouteMessage(data))
      .filter((route) => route !== undefined)
      .filter((route) => {
        const other = parsePrefix(route.dst === "default" ? "0.0.0.0/0" : route.dst, "route");
        return (
          other.len === len && (len === 0 || other.octets.equals(octets)) && (route.table ?? 254) === (op.table ?? 254)
        );
      });
  }

  #route(op: RouteOp): void {
    const { netns } = op;
    const family = parsePrefix(op.dst === "default" ? (op.via ?? "0.0.0.0") : op.dst, "route").family;
    if (op.via !== undefined) parseAddress(op.via, `route ${op.dst}: via`);
    const oif = op.dev === undefined ? undefined : this.#indexOf(netns, op.dev);
    const undoAdd = (): void => this.#sendRoute({ ...op, op: "route.del" }, oif);
    if (op.op === "route.add") {
      this.#sendRoute(op, oif);
      this.#undo.push(undoAdd);
      return;
    }
    const like = this.#routesLike(op);
    const metric = op.metric ?? (family === AF_INET6 ? 1024 : 0);
    const old = like.find((route) => (route.metric ?? 0) === metric) ?? (op.op === "route.del" ? like[0] : undefined);
    this.#sendRoute(op, oif);
    if (old === undefined) {
      if (op.op === "route.replace") this.#undo.push(undoAdd);
      return;
    }
    const { oif: oldOif, ...spec } = old;
    this.#undo.push(() => this.#sendRoute({ ...spec, op: "route.replace", netns }, oldOif === 0 ? undefined : oldOif));
  }

  #neighbor(op: NeighOp): void {
    const { netns, dev } = op;
    const index = this.#indexOf(netns, dev);
    const address = parseAddress(op.address, "neighbour");
    const send = (some: NeighOp): void => {
      const [type, flags] = some.op === "neigh.del" ? [RTM_DELNEIGH, 0] : [RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE];
      const what = `neighbour ${op.address} on ${dev} in ${netns}`;
      this.#request(netns, type, flags, (out) => writeNeighbor(out, some, index), what);
    };
    const old = this.#spaces
      .socket(netns)
      .dump(RTM_GETNEIGH, (out) => writeGetNeighbors(out, address.family), `neighbours of ${netns}`)
      .map(({ data }) => parseNeighborMessage(data))
      .find((entry) => entry?.index === index && parseAddress(entry.address, "").octets.equals(address.octets));
    send(op);
    if (old === undefined || old.mac === null) {
      if (op.op === "neigh.replace") this.#undo.push(() => send({ ...op, op: "neigh.del" }));
      return;
    }
    const state = old.state === "PERMANENT" ? "permanent" : old.state === "REACHABLE" ? "reachable" : "stale";
    this.#undo.push(() => send({ ...op, op: "neigh.replace", mac: old.mac ?? "", state }));
  }

  #fdb(op: FdbOp): void {
    const { netns, dev } = op;
    const link = this.#links.need(netns, dev);
    const place = link.kind !== "vxlan" && link.masterIndex !== 0 ? "master" : "self";
    const send = (some: FdbOp): void => {
      const [type, flags] = some.op === "fdb.del" ? [RTM_DELNEIGH, 0] : [RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE];
      const what = `forwarding entry ${op.mac} on ${dev} in ${netns}`;
      this.#request(netns, type, flags, (out) => writeFdb(out, some, link.ifindex, place), what);
    };
    const old = this.#spaces
      .socket(netns)
      .dump(RTM_GETNEIGH, (out) => writeGetNeighbors(out, AF_BRIDGE), `forwarding entries of ${netns}`)
      .map(({ data }) => parseFdbMessage(data))
      .find((entry) => entry?.index === link.ifindex && entry.mac === op.mac.toLowerCase());
    send(op);
    if (old === undefined) {
      if (op.op === "fdb.replace") this.#undo.push(() => send({ ...op, op: "fdb.del" }));
      return;
    }
    const { dst: _, ...rest } = op;
    this.#undo.push(() => send({ ...rest, op: "fdb.replace", ...(old.dst === null ? {} : { dst: old.dst }) }));
  }

  #sysctl(op: SysctlSet): void {
    const { netns, key } = op;
    this.#spaces.run(netns, () => {
      const old = readSysctl(key);
      if (old === op.value) return;
      writeSysctl(key, op.value);
      if (old !== undefined) this.#undo.push(() => this.#spaces.run(netns, () => writeSysctl(key, old)));
    });
  }

  #vlan(op: VlanOp): void {
    const { netns, dev } = op;
    const link = this.#links.need(netns, dev);
    const old = this.#spaces
      .socket(netns)
      .dump(RTM_GETLINK, writeGetVlans, `VLANs of ${netns}`)
      .flatMap(({ data }) => parseVlans(data))
      .filter((vlan) => vlan.index === link.ifindex);
    const send = (some: Exclude<VlanOp, { readonly op: "vlan.flush" }>): void => {
      const type = some.op === "vlan.add" ? RTM_SETLINK : RTM_DELLINK;
      const what = `VLAN ${some.vid} of ${dev} in ${netns}`;
      this.#request(netns, type, 0, (out) => writeVlan(out, link.ifindex, link.kind === "bridge", some), what);
    };
    const put = (list: readonly RawVlan[]): void => {
      for (const { vid, pvid, untagged } of list) send({ op: "vlan.add", netns, dev, vid, pvid, untagged });
    };
    if (op.op === "vlan.flush") {
      for (const { vid } of old) send({ op: "vlan.del", netns, dev, vid });
      this.#undo.push(() => put(old));
      return;
    }
    send(op);
    const last = op.op === "vlan.add" ? (op.vidEnd ?? op.vid) : op.vid;
    this.#undo.push(() => {
      for (let { vid } = op; op.op === "vlan.add" && vid <= last; vid++) send({ op: "vlan.del", netns, dev, vid });
      put(old);
    });
  }

  #addQdisc(op: QdiscAdd): void {
    const index = this.#indexOf(op.netns, op.dev);
    this.#makeQdisc(op, index);
    this.#undo.push(() => this.#deleteQdisc(op.netns, index, op.kind, op.dev));
  }

  #makeQdisc(op: QdiscAdd, index: number): void {
    const { netns, dev, kind } = op;
    const body: Body = (out) => (kind === "tbf" ? writeAddTbf(out, index, op) : writeAddIngress(out, index));
    this.#request(netns, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, `qdisc ${kind} of ${dev} in ${netns}`);
  }

  #deleteQdisc(netns: NetnsRef, index: number, kind: "tbf" | "ingress", dev: string): void {
    const what = `qdisc ${kind} of ${dev} in ${netns}`;
    this.#request(netns, RTM_DELQDISC, 0, (out) => writeDelQdisc(out, index, kind), what);
  }

  #delQdisc(op: QdiscDel): void {
    const { netns, dev, kind } = op;
    const index = this.#indexOf(netns, dev);
    const old = this.#spaces
      .socket(netns)
      .dump(RTM_GETQDISC, (out) => writeGetQdiscs(out, index), `qdiscs of ${netns}`)
      .map(({ data }) => parseQdisc(data))
      .find((qdisc) => qdisc?.index === index && qdisc.kind === kind);
    // the kernel has several names for it
    if (old === undefined) throw new NetlinkError("ENOENT", `qdisc ${kind} of ${dev} in ${netns}: ENOENT`);
    this.#deleteQdisc(netns, index, kind, dev);
    this.#undo.push(() => this.#makeQdisc({ ...old, op: "qdisc.add", netns, dev }, index));
  }

  #addFilter(op: FilterAdd): void {
    const { netns, dev, redirect } = op;
    const [index, to] = [this.#indexOf(netns, dev), this.#indexOf(netns, redirect)];
    const what = `filter of ${dev} to ${redirect} in ${netns}`;
    // it goes with its qdisc, which this same list made
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    this.#request(netns, RTM_NEWTFILTER, flags, (out) => writeAddRedirect(out, index, to), what);
  }

  #restore(op: IptablesRestore, later: readonly RtnlOp[]): void {
    // the last one need not be undone, and reading the rules costs as much as writing them
    const before = later.some(mayFail) ? this.#iptables.snapshot(op) : undefined;
    this.#iptables.restore(op);
    if (before !== undefined) this.#undo.push(() => this.#iptables.restore(before));
  }

  #nftApply(op: NftApply, later: readonly RtnlOp[]): void {
    const before = later.some(mayFail) ? this.#nft.snapshot(op) : undefined;
    this.#nft.apply(op);
    if (before !== undefined) this.#undo.push(() => this.#nft.back(op.netns, before));
  }
}

function mayFail(op: RtnlOp): boolean {
  return op.op !== "link.del" && op.op !== "conntrack.flush";
}

function flagsOf({ up, promisc }: LinkAttrs): LinkAttrs {
  return { ...(up === undefined ? {} : { up }), ...(promisc === undefined ? {} : { promisc }) };
}

/** The attributes that a change touched, as they were. */
function oldAttrs(before: RawLink, change: LinkSet): LinkAttrs {
  return {
    ...(change.mtu === undefined ? {} : { mtu: before.mtu }),
    ...(change.mac === undefined ? {} : { mac: before.mac }),
    ...(change.up === undefined ? {} : { up: before.up }),
    ...(change.promisc === undefined ? {} : { promisc: before.promisc }),
    ...(change.alias === undefined ? {} : { alias: before.alias }),
    ...(change.allmulti === undefined ? {} : { allmulti: before.allmulti ?? false }),
    ...(change.txQueueLen === undefined ? {} : { txQueueLen: before.txQueueLen ?? 0 }),
  };
}

function oldRefs(before: RawLink, change: LinkSet): SetLinkRefs {
  return { masterIndex: change.master === undefined ? undefined : before.masterIndex };
}
