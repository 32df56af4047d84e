/**
 * Why a packet died: the names of the kernel's `enum skb_drop_reason` (include/net/dropreason-core.h),
 * with the numbers that Linux 6.18 gives them. The numbers are no ABI and differ between kernels: compare
 * names, and use the numbers only inside one process (counters are arrays indexed by them).
 *
 * 0 is "not dropped", so a `check` returns a reason or 0. 1 is the kernel's SKB_CONSUMED, which is no drop.
 * Left out: reasons of subsystems that are not modelled (unix sockets, TCP-MD5, TCP-AO, CAN, PSP).
 */

export type DropReasonCode = number;

export const NOT_DROPPED: DropReasonCode = 0;

export const DropReason = {
  NOT_SPECIFIED: 2,
  NO_SOCKET: 3,
  SOCKET_CLOSE: 4,
  SOCKET_FILTER: 5,
  SOCKET_RCVBUFF: 6,
  PKT_TOO_SMALL: 9,
  TCP_CSUM: 10,
  UDP_CSUM: 11,
  NETFILTER_DROP: 12,
  OTHERHOST: 13,
  IP_CSUM: 14,
  IP_INHDR: 15,
  IP_RPFILTER: 16,
  UNICAST_IN_L2_MULTICAST: 17,
  XFRM_POLICY: 18,
  IP_NOPROTO: 19,
  PROTO_MEM: 20,
  SOCKET_BACKLOG: 29,
  TCP_FLAGS: 30,
  TCP_ABORT_ON_DATA: 31,
  TCP_ZEROWINDOW: 32,
  TCP_OLD_DATA: 33,
  TCP_OVERWINDOW: 34,
  TCP_OFOMERGE: 35,
  TCP_RFC7323_PAWS: 36,
  TCP_RFC7323_PAWS_ACK: 37,
  TCP_RFC7323_TW_PAWS: 38,
  TCP_RFC7323_TSECR: 39,
  TCP_LISTEN_OVERFLOW: 40,
  TCP_OLD_SEQUENCE: 41,
  TCP_INVALID_SEQUENCE: 42,
  TCP_INVALID_END_SEQUENCE: 43,
  TCP_INVALID_ACK_SEQUENCE: 44,
  TCP_RESET: 45,
  TCP_INVALID_SYN: 46,
  TCP_CLOSE: 47,
  TCP_FASTOPEN: 48,
  TCP_OLD_ACK: 49,
  TCP_TOO_OLD_ACK: 50,
  TCP_ACK_UNSENT_DATA: 51,
  TCP_OFO_QUEUE_PRUNE: 52,
  TCP_OFO_DROP: 53,
  IP_OUTNOROUTES: 54,
  BPF_CGROUP_EGRESS: 55,
  IPV6DISABLED: 56,
  NEIGH_CREATEFAIL: 57,
  NEIGH_FAILED: 58,
  NEIGH_QUEUEFULL: 59,
  NEIGH_DEAD: 60,
  NEIGH_HH_FILLFAIL: 61,
  TC_EGRESS: 62,
  SECURITY_HOOK: 63,
  QDISC_DROP: 64,
  QDISC_OVERLIMIT: 65,
  QDISC_CONGESTED: 66,
  CAKE_FLOOD: 67,
  FQ_BAND_LIMIT: 68,
  FQ_HORIZON_LIMIT: 69,
  FQ_FLOW_LIMIT: 70,
  CPU_BACKLOG: 71,
  XDP: 72,
  TC_INGRESS: 73,
  UNHANDLED_PROTO: 74,
  DEV_HDR: 78,
  DEV_READY: 79,
  FULL_RING: 80,
  NOMEM: 81,
  HDR_TRUNC: 82,
  TAP_FILTER: 83,
  TAP_TXFILTER: 84,
  ICMP_CSUM: 85,
  INVALID_PROTO: 86,
  IP_INADDRERRORS: 87,
  IP_INNOROUTES: 88,
  IP_LOCAL_SOURCE: 89,
  IP_INVALID_SOURCE: 90,
  IP_LOCALNET: 91,
  IP_INVALID_DEST: 92,
  PKT_TOO_BIG: 93,
  DUP_FRAG: 94,
  FRAG_REASM_TIMEOUT: 95,
  FRAG_TOO_FAR: 96,
  TCP_MINTTL: 97,
  IPV6_BAD_EXTHDR: 98,
  IPV6_NDISC_FRAG: 99,
  IPV6_NDISC_HOP_LIMIT: 100,
  IPV6_NDISC_BAD_CODE: 101,
  IPV6_NDISC_BAD_OPTIONS: 102,
  IPV6_NDISC_NS_OTHERHOST: 103,
  QUEUE_PURGE: 104,
  TC_COOKIE_ERROR: 105,
  PACKET_SOCK_ERROR: 106,
  TC_CHAIN_NOTFOUND: 107,
  TC_RECLASSIFY_LOOP: 108,
  VXLAN_INVALID_HDR: 109,
  VXLAN_VNI_NOT_FOUND: 110,
  MAC_INVALID_SOURCE: 111,
  VXLAN_ENTRY_EXISTS: 112,
  NO_TX_TARGET: 113,
  IP_TUNNEL_ECN: 114,
  TUNNEL_TXINFO: 115,
  LOCAL_MAC: 116,
  ARP_PVLAN_DISABLE: 117,
  MAC_IEEE_MAC_CONTROL: 118,
  BRIDGE_INGRESS_STP_STATE: 119,
  PFMEMALLOC: 123,
  DUALPI2_STEP_DROP: 124,
  RECURSION_LIMIT: 127,

  // Other words for the same thing. They print under the kernel's name.
  /** ip_forward() has no reason of its own for a spent TTL and counts it as a header error. */
  TTL_EXCEEDED: 15,
  /** A packet that may not be fragmented and does not fit. */
  FRAG_FAILED: 93,
  /** The name that NO_TX_TARGET had until Linux 6.14. */
  VXLAN_NO_REMOTE: 113,
} as const;

/** One more than the highest code: the length of an array of counters indexed by reason. */
export const DROP_REASON_COUNT: number = 128;

const names: string[] = new Array<string>(DROP_REASON_COUNT).fill("SKB_DROP_REASON_NOT_SPECIFIED");
for (const [name, code] of Object.entries(DropReason).reverse()) names[code] = `SKB_DROP_REASON_${name}`;
names[0] = "SKB_NOT_DROPPED_YET";
names[1] = "SKB_CONSUMED";

/** The kernel's name, as perf and dropwatch print it. */
export function dropReasonName(code: DropReasonCode): string {
  return names[code] ?? "SKB_DROP_REASON_NOT_SPECIFIED";
}

/** The code of a name with or without its prefix, or undefined. */
export function dropReasonOf(name: string): DropReasonCode | undefined {
  const bare = name.startsWith("SKB_DROP_REASON_") ? name.slice("SKB_DROP_REASON_".length) : name;
  return Object.hasOwn(DropReason, bare) ? DropReason[bare as keyof typeof DropReason] : undefined;
}
