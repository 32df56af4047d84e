/** Where the IP path asks ipvs: at local delivery, after FORWARD and after LOCAL_OUT. The implementation is `ipvs.ts`. */
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import type { ForwardMethod } from "./service.ts";

/** Answers of `localIn`: nothing to do with it; it is gone; it has been through INPUT and is to be delivered. */
export const IPVS_NONE = 0;
export const IPVS_TAKEN = 1;
export const IPVS_DELIVER = 2;

/** What `-m ipvs` asks about a packet that ipvs has sent on or answered; addresses are as in `service.ts`. */
export type IpvsFlow = {
  readonly proto: number;
  readonly virtual: number;
  readonly virtualPort: number;
  readonly method: ForwardMethod;
  /** The service port of the template that made the connection; -1 where none did. */
  readonly controlPort: number;
};

export interface Ipvs {
  /** The connection of a packet to a real server; null where ipvs did not send it on. */
  flowOf(skb: Skb): IpvsFlow | null;
  /** Before INPUT: a packet to a virtual service is sent on, one from a real server to this host gets its service's address. */
  localIn(ns: NetNs, skb: Skb): number;
  /** After FORWARD: a real server's reply gets its service's address. False: the packet is gone. */
  forward(ns: NetNs, skb: Skb): boolean;
  /** After LOCAL_OUT: both. False: the packet is gone. */
  localOut(ns: NetNs, skb: Skb): boolean;
}
