/**
 * Where the stack asks netfilter (include/uapi/linux/netfilter.h). The stack calls `Netfilter.hook` at five points; the
 * implementation (`netfilter.ts`) holds conntrack, NAT and the rule tables, in the kernel's order of priorities.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import type { NfPacket } from "./packet.ts";

export const NF_INET_PRE_ROUTING = 0;
export const NF_INET_LOCAL_IN = 1;
export const NF_INET_FORWARD = 2;
export const NF_INET_LOCAL_OUT = 3;
export const NF_INET_POST_ROUTING = 4;
export const HOOK_NAMES: readonly string[] = ["prerouting", "input", "forward", "output", "postrouting"];

/** Verdicts. DROP and REJECT leave the packet to the caller, who drops it; STOLEN means that it is gone already. */
export const NF_DROP = 0;
export const NF_ACCEPT = 1;
export const NF_STOLEN = 2;
/** Not a kernel verdict: drop, and answer as `skb.rejectWith` says, which the IP layer does (REJECT sends from inside). */
export const NF_REJECT = 6;

/** `skb.rejectWith`: ICMP destination unreachable with this code, or a TCP reset. */
export const REJECT_TCP_RESET = 256;

/** Hook priorities (enum nf_ip_hook_priorities): lower runs first. */
export const NF_IP_PRI_RAW = -300;
export const NF_IP_PRI_CONNTRACK = -200;
export const NF_IP_PRI_MANGLE = -150;
export const NF_IP_PRI_NAT_DST = -100;
export const NF_IP_PRI_FILTER = 0;
export const NF_IP_PRI_SECURITY = 50;
export const NF_IP_PRI_NAT_SRC = 100;
export const NF_IP_PRI_CONNTRACK_CONFIRM = 2147483647;

export interface Netfilter {
  /** True while conntrack is in use: datagrams are reassembled before PREROUTING then. */
  readonly tracking: boolean;
  /**
   * Runs a hook over a packet of its family: `skb.network` and `skb.transport` are set, `skb.data` is at the network header.
   * `input` is null for what starts here, `output` before routing. Answers a verdict.
   */
  hook(ns: NetNs, hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): number;
}

/** What hangs on a hook beside the tables of iptables: a base chain of nftables. */
export interface BaseChain {
  readonly priority: number;
  /** It is asked for the first packet of a connection only, where NAT stands in the hook. */
  readonly nat: boolean;
  /** Answers a verdict; ACCEPT goes on with the next. */
  run(p: NfPacket): number;
}

/** What a bridge asks about frames, besides br_netfilter: nftables' tables of family bridge. */
export interface BridgeFilter {
  /** False drops the frame. `skb.mac` and `skb.network` are set; the hook is PRE_ROUTING or FORWARD. */
  pass(hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): boolean;
}
