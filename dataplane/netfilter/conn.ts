/**
 * A connection (struct nf_conn): what its packets look like in both directions, how far it has come, when it ends.
 *
 * A tuple holds a direction's addresses as signed 32-bit integers and its ports as `source << 16 | destination`, also
 * signed; for ICMP the identifier stands for the source port, type and code for the destination port.
 */
import type { CtEntry } from "./conntrack-entry.ts";

/** Bits of `status` (enum ip_conntrack_status). */
export const IPS_EXPECTED = 1;
export const IPS_SEEN_REPLY = 2;
export const IPS_ASSURED = 4;
export const IPS_CONFIRMED = 8;
export const IPS_SRC_NAT = 16;
export const IPS_DST_NAT = 32;
export const IPS_NAT_MASK: number = IPS_SRC_NAT | IPS_DST_NAT;
export const IPS_SRC_NAT_DONE = 128;
export const IPS_DST_NAT_DONE = 256;
export const IPS_NAT_DONE_MASK: number = IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE;
export const IPS_DYING = 512;

export const DIR_ORIGINAL = 0;
export const DIR_REPLY = 1;

/** Of a packet that is to be tracked in a zone: the zone's number, and above it a bit for each direction that it is for. */
export const ZONE_ORIGINAL: number = 1 << 16;
export const ZONE_REPLY: number = 1 << 17;

export function zoneOf(zone: number, dir: number): number {
  return (zone & (dir === DIR_ORIGINAL ? ZONE_ORIGINAL : ZONE_REPLY)) === 0 ? 0 : zone & 0xffff;
}

export class Tuple {
  src: number;
  dst: number;
  ports: number;
  readonly proto: number;
  /** The zone that counts in this direction; 0 is the common one. */
  readonly zone: number;

  constructor(src: number, dst: number, ports: number, proto: number, zone: number) {
    this.src = src;
    this.dst = dst;
    this.ports = ports;
    this.proto = proto;
    this.zone = zone;
  }
}

export class Conn implements CtEntry {
  readonly id: number;
  readonly proto: number;
  readonly original: Tuple;
  readonly reply: Tuple;
  status = 0;
  mark = 0;
  /** When it ends, in milliseconds of virtual time; while it is not confirmed, how long it will live then. */
  expires: number = Number.NaN;
  /** The protocol's state: TCP_CT_*, SCTP_CT_*; 0 for the others. */
  state = 0;
  /** Interface of a masquerade: the connection ends if the interface goes. */
  masqIfindex = 0;
  /** Its number in the table; -1 while it is not there. */
  slot = -1;
  /** How many connections had been confirmed when this one began; -1 if its tuples may have been taken even then. */
  begun = 0;
  /** TCP: what is known of both windows; see ct-tcp.ts. */
  tcp: TcpSides | null = null;

  /** `zone` as `skb.ctZone`. */
  constructor(id: number, src: number, dst: number, ports: number, replyPorts: number, proto: number, zone = 0) {
    this.id = id;
    this.proto = proto;
    this.original = new Tuple(src, dst, ports, proto, zoneOf(zone, DIR_ORIGINAL));
    this.reply = new Tuple(dst, src, replyPorts, proto, zoneOf(zone, DIR_REPLY));
  }

  get confirmed(): boolean {
    return (this.status & IPS_CONFIRMED) !== 0;
  }
}

/** Milliseconds until a connection ends. */
export function remaining(conn: Conn, now: number): number {
  return conn.confirmed ? conn.expires - now : conn.expires;
}

export function swapPorts(ports: number): number {
  return (ports << 16) | (ports >>> 16);
}

/** One end of a TCP connection (struct ip_ct_tcp_state). Sequence numbers are unsigned. */
export type TcpSide = {
  end: number;
  maxEnd: number;
  maxWin: number;
  scale: number;
  flags: number;
};
export type TcpSides = {
  readonly sides: readonly [TcpSide, TcpSide];
  /** The last packet's direction, kind, sequence, acknowledgement and window: repeats of a segment are told from it. */
  lastDir: number;
  lastIndex: number;
  lastSeq: number;
  lastAck: number;
  lastEnd: number;
  lastWin: number;
  retrans: number;
};
