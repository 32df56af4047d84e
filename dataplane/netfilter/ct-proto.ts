/** What conntrack asks of a protocol (struct nf_conntrack_l4proto). */
import type { EventLoop } from "../sim/event-loop.ts";
import type { Skb } from "../skb/skb.ts";
import { type Conn, IPS_CONFIRMED } from "./conn.ts";
import type { CtTimeouts } from "./ct-timeouts.ts";

/** What `packet` answers: go on; the packet is INVALID; the entry ends with this packet; or it is dead: look up anew. */
export const CT_OK = 0;
export const CT_INVALID = 1;
export const CT_KILL = 2;
export const CT_REPEAT = 3;

/** Both ports, with which the headers of TCP, UDP and SCTP begin. */
export const PORTS_LEN = 4;

export interface CtProto {
  readonly name: string;
  /** Ports of the packet's tuple; call only where `tupleLen` octets are there. */
  ports(b: Uint8Array, transport: number): number;
  /** Octets of the header that a tracked packet must have. */
  readonly headerLen: number;
  /** Those that a tuple is read from: an ICMP error need not quote more. */
  readonly tupleLen: number;
  /** Ports of the other direction; NO_REPLY where a packet like this gets none. */
  invert(ports: number): number;
  /** Whether a packet may begin a connection; `conn` has its tuples. */
  begins(conn: Conn, skb: Skb): boolean;
  /** Moves the state on, and sets when the connection ends by `extend`. A clock, as a fraction as argument would be boxed. */
  packet(conn: Conn, dir: number, skb: Skb, clock: EventLoop, t: CtTimeouts): number;
  /** How conntrack -L names the state; "" for none. */
  stateName?(conn: Conn): string;
}

/** Sets the end of a connection `ms` from now (nf_ct_refresh_acct). */
export function extend(conn: Conn, clock: EventLoop, ms: number): void {
  conn.expires = (conn.status & IPS_CONFIRMED) !== 0 ? Math.ceil(clock.time) + ms : ms;
}
