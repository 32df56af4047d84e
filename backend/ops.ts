/**
 * The Backend seam: where plugins, kube-proxy and the node agents send their operations and read state back.
 *
 * Implementations: `emulated.ts` (a host of the emulator, in this process), `socket.ts` (a running emulator over a unix
 * socket) and `kernel/` (Linux through rtnetlink). `backend.contract.ts` is the suite that each must pass.
 */
import type {
  AddrInfo,
  FdbInfo,
  LinkInfo,
  NeighInfo,
  NetnsRef,
  NftListOptions,
  QdiscInfo,
  RouteInfo,
  RtnlOp,
  VlanInfo,
} from "../dataplane/netns/rtnl-ops.ts";

export interface Backend {
  /** Applies all operations, in order, or none of them. Throws NetlinkError; nothing is changed then. */
  apply(ops: readonly RtnlOp[]): Promise<void>;
  /** Makes an empty namespace (loopback only, down) and returns its path, to be used as CNI_NETNS. */
  addNetns(name: string): Promise<string>;
  /** Removes a namespace and all links in it; a missing one is fine. */
  delNetns(path: string): Promise<void>;
  /** Whether the path names a namespace now. */
  hasNetns(path: string): Promise<boolean>;
  links(netns: NetnsRef): Promise<readonly LinkInfo[]>;
  /** One link by name, for who would else read all of a node's. */
  link(netns: NetnsRef, name: string): Promise<LinkInfo | undefined>;
  /** Of all devices, or of one; a missing device has none. */
  addrs(netns: NetnsRef, dev?: string): Promise<readonly AddrInfo[]>;
  /** Routes of the main table and of others, without the local table. */
  routes(netns: NetnsRef): Promise<readonly RouteInfo[]>;
  neighs(netns: NetnsRef): Promise<readonly NeighInfo[]>;
  fdb(netns: NetnsRef): Promise<readonly FdbInfo[]>;
  /** Of a node's bridges and their ports, or of one device; none where the kernel's bridges have none. */
  vlans(netns: NetnsRef, dev?: string): Promise<readonly VlanInfo[]>;
  /** Of all devices, or of one. */
  qdiscs(netns: NetnsRef, dev?: string): Promise<readonly QdiscInfo[]>;
  /** Undefined where the key does not exist. */
  sysctl(netns: NetnsRef, key: string): Promise<string | undefined>;
  /** The rules as iptables-save(8) prints them; with a table that one at least, and perhaps others. */
  iptablesSave(netns: NetnsRef, family: "ipv4" | "ipv6", table?: string): Promise<string>;
  /** The rules as `nft list ruleset` prints them. */
  nftList(netns: NetnsRef, options?: NftListOptions): Promise<string>;
  close(): Promise<void>;
}
