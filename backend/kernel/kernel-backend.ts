/**
 * A Backend on Linux: rtnetlink over AF_NETLINK sockets, setns(2) into sandboxes, /proc/sys, iptables-restore.
 *
 * Every call is done when its function returns; they never overlap. It needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter
 * namespaces. The paths that it takes are files of nsfs: /run/netns/NAME, /proc/PID/ns/net.
 */
import {
  type AddrInfo,
  type FdbInfo,
  type LinkInfo,
  type NeighInfo,
  NetlinkError,
  type NetnsRef,
  type NftListOptions,
  type QdiscInfo,
  type RouteInfo,
  type RtnlOp,
  type VlanInfo,
} from "../../dataplane/netns/rtnl-ops.ts";
import type { Backend } from "../ops.ts";
import { type Libc, openLibc } from "./ffi.ts";
import { AF_INET, AF_INET6 } from "./ip-text.ts";
import { Iptables } from "./iptables.ts";
import { RTM_GETLINK } from "./link-message.ts";
import { LinkTable } from "./link-table.ts";
import { type NamespaceOptions, Namespaces } from "./namespaces.ts";
import {
  AF_BRIDGE,
  parseAddressMessage,
  parseFdbMessage,
  parseNeighborMessage,
  parseRouteMessage,
  RTM_GETADDR,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  writeGetAddresses,
  writeGetNeighbors,
  writeGetRoutes,
} from "./net-message.ts";
import type { Received } from "./netlink-socket.ts";
import { Nft } from "./nft.ts";
import {
  parseQdisc,
  parseRedirect,
  RTM_GETQDISC,
  RTM_GETTFILTER,
  writeGetFilters,
  writeGetQdiscs,
} from "./qdisc-message.ts";
import { readSysctl } from "./sysctl.ts";
import { Transaction } from "./transaction.ts";
import { parseVlans, writeGetVlans } from "./vlan-message.ts";

export class KernelBackend implements Backend {
  readonly #spaces: Namespaces;
  readonly #links: LinkTable;
  readonly #iptables: Iptables;
  readonly #nft: Nft;

  constructor(libc: Libc, options: NamespaceOptions = {}) {
    this.#spaces = new Namespaces(libc, options);
    this.#links = new LinkTable(this.#spaces);
    this.#iptables = new Iptables(this.#spaces);
    this.#nft = new Nft(this.#spaces);
  }

  /** Throws where native code cannot be called. */
  static async open(options: NamespaceOptions = {}): Promise<KernelBackend> {
    return new KernelBackend(await openLibc(), options);
  }

  async apply(ops: readonly RtnlOp[]): Promise<void> {
    if (ops.some((op) => op.op === "iptables.restore")) await this.#iptables.prepare();
    if (ops.some((op) => op.op === "nft.apply")) await this.#nft.prepare();
    new Transaction(this.#spaces, this.#links, this.#iptables, this.#nft).run(ops);
  }

  async addNetns(name: string): Promise<string> {
    return this.#spaces.add(name);
  }

  /** The kernel takes a namespace down later, when nobody looks; the links that reach out of it go at once. */
  async delNetns(path: string): Promise<void> {
    if (this.#spaces.has(path)) {
      for (const { name, kind } of this.#links.all(path)) {
        // the other end of a pair may have gone with the first
        const there = kind === "veth" && this.#links.find(path, name) !== undefined;
        if (there) await this.apply([{ op: "link.del", netns: path, name }]);
      }
    }
    this.#spaces.del(path);
  }

  async hasNetns(path: string): Promise<boolean> {
    return this.#spaces.has(path);
  }

  async links(netns: NetnsRef): Promise<readonly LinkInfo[]> {
    const all = this.#links.all(netns);
    const names = new Map(all.map((link) => [link.ifindex, link.name]));
    return all.map((link) => this.#links.info(netns, link, names));
  }

  async link(netns: NetnsRef, name: string): Promise<LinkInfo | undefined> {
    const link = this.#links.find(netns, name);
    return link === undefined ? undefined : this.#links.info(netns, link);
  }

  async addrs(netns: NetnsRef, dev?: string): Promise<readonly AddrInfo[]> {
    const only = dev === undefined ? undefined : this.#links.find(netns, dev);
    if (dev !== undefined && only === undefined) return [];
    const names = only === undefined ? this.#links.names(netns) : new Map([[only.ifindex, only.name]]);
    const messages = this.#spaces
      .socket(netns)
      .dump(RTM_GETADDR, (out) => writeGetAddresses(out, only?.ifindex ?? 0), `addresses of ${netns}`);
    return withDevice(messages, parseAddressMessage, names);
  }

  async routes(netns: NetnsRef): Promise<readonly RouteInfo[]> {
    const messages = [AF_INET, AF_INET6].flatMap((family) =>
      this.#dump(netns, RTM_GETROUTE, family as typeof AF_INET, "routes"),
    );
    const routes = messages.map(({ data }) => parseRouteMessage(data)).filter((route) => route !== undefined);
    if (routes.length === 0) return [];
    const names = this.#links.names(netns);
    return routes.map(({ oif, ...route }) => {
      const dev = names.get(oif);
      return dev === undefined ? route : { ...route, dev };
    });
  }

  /** Nothing where the kernel lacks the family. */
  #dump(netns: NetnsRef, type: number, family: typeof AF_INET | typeof AF_INET6, what: string): readonly Received[] {
    try {
      return this.#spaces.socket(netns).dump(type, (out) => writeGetRoutes(out, family), `${what} of ${netns}`);
    } catch (error) {
      if (error instanceof NetlinkError && family === AF_INET6 && /^E(?:OPNOTSUPP|AFNOSUPPORT)$/.test(error.code))
        return [];
      throw error;
    }
  }

  async neighs(netns: NetnsRef): Promise<readonly NeighInfo[]> {
    const messages = this.#spaces
      .socket(netns)
      .dump(RTM_GETNEIGH, (out) => writeGetNeighbors(out, 0), `neighbours of ${netns}`);
    return withDevice(messages, parseNeighborMessage, this.#links.names(netns));
  }

  async fdb(netns: NetnsRef): Promise<readonly FdbInfo[]> {
    const messages = this.#spaces
      .socket(netns)
      .dump(RTM_GETNEIGH, (out) => writeGetNeighbors(out, AF_BRIDGE), `forwarding entries of ${netns}`);
    return withDevice(messages, parseFdbMessage, this.#links.names(netns));
  }

  async vlans(netns: NetnsRef, dev?: string): Promise<readonly VlanInfo[]> {
    const names = this.#links.names(netns);
    const messages = this.#spaces.socket(netns).dump(RTM_GETLINK, writeGetVlans, `VLANs of ${netns}`);
    return messages
      .flatMap(({ data }) => parseVlans(data))
      .flatMap(({ index, ...vlan }) => {
        const on = names.get(index);
        return on === undefined || (dev !== undefined && on !== dev) ? [] : [{ dev: on, ...vlan }];
      });
  }

  async qdiscs(netns: NetnsRef, dev?: string): Promise<readonly QdiscInfo[]> {
    const only = dev === undefined ? undefined : this.#links.find(netns, dev);
    if (dev !== undefined && only === undefined) return [];
    const socket = this.#spaces.socket(netns);
    const names = this.#links.names(netns);
    const all = socket.dump(RTM_GETQDISC, (out) => writeGetQdiscs(out, only?.ifindex ?? 0), `qdiscs of ${netns}`);
    return all.flatMap(({ data }): QdiscInfo[] => {
      const qdisc = parseQdisc(data);
      const on = qdisc === undefined ? undefined : names.get(qdisc.index);
      if (qdisc === undefined || on === undefined || (dev !== undefined && on !== dev)) return [];
      const { index, ...rest } = qdisc;
      if (rest.kind === "tbf") return [{ ...rest, dev: on }];
      const filters = socket.dump(RTM_GETTFILTER, (out) => writeGetFilters(out, index), `filters of ${on}`);
      const to = filters.map((filter) => parseRedirect(filter.data)).find((found) => found !== undefined);
      return [{ ...rest, dev: on, redirect: (to === undefined ? undefined : names.get(to)) ?? null }];
    });
  }

  async sysctl(netns: NetnsRef, key: string): Promise<string | undefined> {
    return this.#spaces.run(netns, () => readSysctl(key));
  }

  async iptablesSave(netns: NetnsRef, family: "ipv4" | "ipv6", table?: string): Promise<string> {
    await this.#iptables.prepare();
    return this.#iptables.save(netns, family, table);
  }

  async nftList(netns: NetnsRef, options: NftListOptions = {}): Promise<string> {
    await this.#nft.prepare();
    return this.#nft.list(netns, options);
  }

  async close(): Promise<void> {
    this.#spaces.close();
  }
}

/** Messages as what they say, with names in the place of indices; those of devices that are gone fall out. */
function withDevice<T extends { readonly index: number }>(
  messages: readonly Received[],
  parse: (data: Buffer) => T | undefined,
  names: ReadonlyMap<number, string>,
): readonly (Omit<T, "index"> & { readonly dev: string })[] {
  return messages.flatMap(({ data }) => {
    const parsed = parse(data);
    const dev = parsed === undefined ? undefined : names.get(parsed.index);
    if (parsed === undefined || dev === undefined) return [];
    const { index: _, ...rest } = parsed;
    return [{ dev, ...rest }];
  });
}
