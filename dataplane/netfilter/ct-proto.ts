/** What conntrack asks of a protocol (struct nf_conntrack_l4proto). */
import type { Conn } from "./conn.ts";
import type { CtTimeouts } from "./ct-timeouts.ts";
import type { NfPacket } from "./packet.ts";

/** What `packet` answers: go on; the packet is INVALID; the entry ends with this packet; or it is dead: look up anew. */
export const CT_OK = 0;
export const CT_INVALID = 1;
export const CT_KILL = 2;
export const CT_REPEAT = 3;

export interface CtProto {
  readonly name: string;
  /** Ports of the packet's tuple; call only where `headerLen` octets are there. */
  ports(b: Uint8Array, transport: number): number;
  readonly headerLen: number;
  /** Ports of the other direction; NO_REPLY where a packet like this gets none. */
  invert(ports: number): number;
  /** Whether a packet may begin a connection; `conn` has its tuples. */
  begins(conn: Conn, p: NfPacket): boolean;
  /** Moves the state on, and sets when the connection ends by `extend`. */
  packet(conn: Conn, dir: number, p: NfPacket, t: CtTimeouts): number;
  /** How conntrack -L names the state; "" for none. */
  stateName?(conn: Conn): string;
}

/** Sets the end of a connection `ms` from now (nf_ct_refresh_acct). */
export function extend(conn: Conn, p: NfPacket, ms: number): void {
  conn.expires = conn.confirmed ? p.ns.world.loop.time + ms : ms;
}
