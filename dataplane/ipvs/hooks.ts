/** Where the IP path asks ipvs: at local delivery, after FORWARD and after LOCAL_OUT. The implementation is `ipvs.ts`. */
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";

/** Answers of `localIn`: nothing to do with it; it is gone; it has been through INPUT and is to be delivered. */
export const IPVS_NONE = 0;
export const IPVS_TAKEN = 1;
export const IPVS_DELIVER = 2;

export interface Ipvs {
  /** Before INPUT: a packet to a virtual service is sent on, one from a real server to this host gets its service's address. */
  localIn(ns: NetNs, skb: Skb): number;
  /** After FORWARD: a real server's reply gets its service's address. False: the packet is gone. */
  forward(ns: NetNs, skb: Skb): boolean;
  /** After LOCAL_OUT: both. False: the packet is gone. */
  localOut(ns: NetNs, skb: Skb): boolean;
}
