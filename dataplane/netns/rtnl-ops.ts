/**
 * Changes to a network namespace as plain data, shaped like rtnetlink (rtnetlink(7), ip-link(8), bridge(8)).
 *
 * Addresses, prefixes and MACs are text here ("10.244.1.1/24", "0a:58:0a:f4:01:01"): these values come from
 * configuration and travel as JSON to a socket backend. They are parsed once, when a change is applied.
 * A list of operations is applied whole or not at all.
 */

/** Which namespace an operation changes: the node's own ("host") or a sandbox, named as CNI_NETNS names it. */
export type NetnsRef = "host" | (string & {});

/** rtnetlink's scopes, as ip-address(8) and ip-route(8) name them. */
export type RouteScope = "global" | "link" | "host";

/** Attributes of a link that can be given at creation and changed later; an absent one stays as it is. */
export type LinkAttrs = {
  readonly mtu?: number;
  readonly mac?: string;
  readonly up?: boolean;
  /** Name of the bridge that the link becomes a port of; null releases it. */
  readonly master?: string | null;
  readonly promisc?: boolean;
  /** Bridge port flags (IFLA_BRPORT_*); the link must have a master. */
  readonly hairpin?: boolean;
  readonly isolated?: boolean;
  readonly learning?: boolean;
  /** Of a bridge: whether it keeps frames to their VLANs. */
  readonly vlanFiltering?: boolean;
  readonly alias?: string;
  readonly allmulti?: boolean;
  /** Length of the transmit queue, in packets. */
  readonly txQueueLen?: number;
};

export type LinkKind =
  | { readonly kind: "bridge"; readonly ageingTime?: number }
  | { readonly kind: "dummy" }
  | { readonly kind: "ifb" }
  | { readonly kind: "veth"; readonly peer: { readonly name: string; readonly netns?: NetnsRef } & LinkAttrs }
  | {
      readonly kind: "vxlan";
      readonly vni: number;
      /** Address of the underlay to send from. */
      readonly local: string;
      /** Name of the underlay device, for its MTU and for unresolved peers. */
      readonly dev?: string;
      /** UDP destination port, 8472 unless given, as in the kernel. */
      readonly port?: number;
      readonly learning?: boolean;
      readonly ttl?: number;
      /** Whether outer UDP checksums are sent (over IPv4); on unless given, as in the kernel. */
      readonly udpCsum?: boolean;
    }
  | { readonly kind: "ipip"; readonly local: string; readonly remote?: string; readonly ttl?: number };

export type LinkAdd = { readonly op: "link.add"; readonly netns: NetnsRef; readonly name: string } & LinkKind &
  LinkAttrs;

/** Changes a link; `rename` and `toNetns` apply after the attributes. Moving a link takes it down, as Linux does. */
export type LinkSet = {
  readonly op: "link.set";
  readonly netns: NetnsRef;
  readonly name: string;
  readonly rename?: string;
  readonly toNetns?: NetnsRef;
} & LinkAttrs;

export type LinkDel = { readonly op: "link.del"; readonly netns: NetnsRef; readonly name: string };

export type AddrOp = {
  readonly op: "addr.add" | "addr.del";
  readonly netns: NetnsRef;
  readonly dev: string;
  /** "10.244.1.1/24": the prefix route is added with it, as the kernel does. */
  readonly address: string;
  readonly scope?: RouteScope;
};

export type RouteSpec = {
  /** "10.244.2.0/24" or "default" (0.0.0.0/0) or "::/0". */
  readonly dst: string;
  readonly via?: string;
  readonly dev?: string;
  readonly src?: string;
  readonly metric?: number;
  readonly scope?: RouteScope;
  /** The gateway is on the link even if no route covers it (RTNH_F_ONLINK). */
  readonly onlink?: boolean;
  readonly mtu?: number;
  readonly type?: "unicast" | "blackhole" | "unreachable" | "prohibit";
  /** Routing table; 254 (main) unless given. */
  readonly table?: number;
  /** rtm_protocol, as ip-route(8) numbers or names it: who installed the route. */
  readonly proto?: string;
};
export type RouteOp = {
  readonly op: "route.add" | "route.replace" | "route.del";
  readonly netns: NetnsRef;
} & RouteSpec;

export type NeighOp = {
  readonly op: "neigh.replace" | "neigh.del";
  readonly netns: NetnsRef;
  readonly dev: string;
  readonly address: string;
  /** Needed by replace. */
  readonly mac?: string;
  readonly state?: "permanent" | "reachable" | "stale";
};

export type FdbOp = {
  readonly op: "fdb.replace" | "fdb.del";
  readonly netns: NetnsRef;
  readonly dev: string;
  readonly mac: string;
  /** vxlan: the remote VTEP's underlay address. */
  readonly dst?: string;
};

export type SysctlSet = {
  readonly op: "sysctl.set";
  readonly netns: NetnsRef;
  /** Dotted as sysctl(8) prints it, with `/` for dots inside a device name: "net.ipv4.ip_forward". */
  readonly key: string;
  readonly value: string;
};

/**
 * VLANs of a bridge's port, or of the bridge itself where `dev` is one (bridge-vlan(8)); those of a range are all like
 * its first. `vlan.flush` removes all of a port's, that of a new port included.
 */
export type VlanOp =
  | {
      readonly op: "vlan.add";
      readonly netns: NetnsRef;
      readonly dev: string;
      readonly vid: number;
      /** Last of a range; `vid` unless given. */
      readonly vidEnd?: number;
      /** Frames that come in without a tag are of it. */
      readonly pvid?: boolean;
      /** Frames of it leave without a tag. */
      readonly untagged?: boolean;
    }
  | { readonly op: "vlan.del"; readonly netns: NetnsRef; readonly dev: string; readonly vid: number }
  | { readonly op: "vlan.flush"; readonly netns: NetnsRef; readonly dev: string };

/** Token bucket filter, as tc-tbf(8): what leaves waits for tokens. */
export type TbfSpec = {
  readonly kind: "tbf";
  /** Octets per second. */
  readonly rate: number;
  /** Octets that may leave at once. */
  readonly burst: number;
  /** Octets that may wait. */
  readonly limit: number;
};

/** A queueing discipline at the root of a device, or the ingress one, which holds nothing and has filters. */
export type QdiscAdd = { readonly op: "qdisc.add"; readonly netns: NetnsRef; readonly dev: string } & (
  | TbfSpec
  | { readonly kind: "ingress" }
);
/** Filters of the ingress go with it. */
export type QdiscDel = {
  readonly op: "qdisc.del";
  readonly netns: NetnsRef;
  readonly dev: string;
  readonly kind: "tbf" | "ingress";
};

/** A filter of the ingress qdisc that takes all: what comes in by the device leaves by another (u32 and mirred). */
export type FilterAdd = {
  readonly op: "filter.add";
  readonly netns: NetnsRef;
  readonly dev: string;
  readonly redirect: string;
};

/** One iptables-restore(8) transaction. Without `noflush` each table that the text names is replaced whole. */
export type IptablesRestore = {
  readonly op: "iptables.restore";
  readonly netns: NetnsRef;
  readonly family: "ipv4" | "ipv6";
  readonly text: string;
  /**
   * The same as commands on the rules as `source` left them, where the writer knows them: far shorter than a text that
   * repeats long chains. The emulator reads these, and asks for `text`, which may be put together only when it is read, where
   * another has changed a chain since.
   */
  readonly edits?: string;
  readonly noflush: boolean;
  /** On the emulator: rules with matches, targets or options that it does not know match nothing instead of being refused. */
  readonly lenient?: boolean;
  /** What to call the text in an error: a file name, or who wrote it. */
  readonly source?: string;
};

/**
 * Forgets the connections that were made to a port, as conntrack -D does: what goes on must meet the rules again. It cannot
 * be undone, and none being there is fine.
 */
export type ConntrackFlush = {
  readonly op: "conntrack.flush";
  readonly netns: NetnsRef;
  readonly family: "ipv4" | "ipv6";
  readonly protocol: "udp" | "tcp" | "sctp";
  /** Of the original direction. */
  readonly dstPort: number;
  /** Of the original direction; any without it. */
  readonly dst?: string;
  /** Connections that these answer ("ip:port", IPv6 in brackets: source of the reply) are kept. */
  readonly except?: readonly string[];
};

/** One `ipset restore` text, applied whole or not at all. */
export type IpsetRestore = {
  readonly op: "ipset.restore";
  readonly netns: NetnsRef;
  readonly text: string;
  /** What to call the text in an error. */
  readonly source?: string;
};

/** Commands as `ipvsadm -Sn` prints them, and -E, -e, -D, -d, -C and --set; applied whole or not at all. */
export type IpvsRestore = {
  readonly op: "ipvs.restore";
  readonly netns: NetnsRef;
  readonly text: string;
  /** What to call the text in an error. */
  readonly source?: string;
};

/** One `nft -f` text, for all families, applied whole or not at all. */
export type NftApply = {
  readonly op: "nft.apply";
  readonly netns: NetnsRef;
  readonly text: string;
  /** Rules with statements or expressions that are not known match nothing, instead of failing. */
  readonly lenient?: boolean;
  /** What to call the text in an error. */
  readonly source?: string;
};

/** What to list of a namespace's nftables rules. */
export type NftListOptions = {
  /** One table, as "FAMILY NAME"; all of them unless given. Of a missing table the text is empty. */
  readonly table?: string;
  /** With the handle of each object behind it ("# handle 7"), as `nft -a` does. */
  readonly handles?: boolean;
  /** Without counters' values and without elements that packets added, as `nft -s` does. */
  readonly stateless?: boolean;
};

export type RtnlOp =
  | LinkAdd
  | LinkSet
  | LinkDel
  | AddrOp
  | RouteOp
  | NeighOp
  | FdbOp
  | SysctlSet
  | VlanOp
  | QdiscAdd
  | QdiscDel
  | FilterAdd
  | IptablesRestore
  | IpsetRestore
  | IpvsRestore
  | NftApply
  | ConntrackFlush;

/** A link as `ip -d -j link` shows it. */
export type LinkInfo = {
  readonly ifindex: number;
  readonly name: string;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** LOWER_UP and operstate: a veth whose peer is down has no carrier. */
  readonly carrier: boolean;
  readonly promisc: boolean;
  readonly master: string | null;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly alias: string;
  /** veth: the peer's ifindex in its own namespace. */
  readonly peerIfindex: number | null;
  /** Of a bridge; absent where its kernel knows no VLANs. */
  readonly vlanFiltering?: boolean;
  /** Absent where the data plane has none. */
  readonly allmulti?: boolean;
  readonly txQueueLen?: number;
};
/** A VLAN of a device as `bridge vlan` shows it. */
export type VlanInfo = {
  readonly dev: string;
  readonly vid: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
};
/** A qdisc as `tc -s qdisc` and `tc filter` show it; of others than these nothing is told. */
export type QdiscInfo =
  | (TbfSpec & { readonly dev: string /** Packets. */; readonly sent: number; readonly drops: number })
  | { readonly kind: "ingress"; readonly dev: string; readonly redirect: string | null };
export type AddrInfo = { readonly dev: string; readonly address: string; readonly scope: RouteScope };
export type RouteInfo = RouteSpec & { readonly dst: string };
export type NeighInfo = {
  readonly dev: string;
  readonly address: string;
  readonly mac: string | null;
  readonly state: string;
};
export type FdbInfo = {
  readonly dev: string;
  readonly mac: string;
  readonly dst: string | null;
  readonly state: string;
};

/** What rtnetlink operations fail with: `code` is an errno name ("EEXIST", "ENODEV", "ENOENT", "EINVAL", "EBUSY"). */
export class NetlinkError extends Error {
  override readonly name: string = "NetlinkError";
  readonly code: string;
  /** The operation that failed, where one did. */
  readonly failed: RtnlOp | null;
  constructor(code: string, message: string, failed: RtnlOp | null = null, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.failed = failed;
  }
}
