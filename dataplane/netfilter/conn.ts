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
export const IPS_DYING = 512;

export const DIR_ORIGINAL = 0;
export const DIR_REPLY = 1;

/** Of a packet that is to be tracked in a zone: the zone's number, and above it a bit for each direction that it is for. */
export const ZONE_ORIGINAL: number = 1 << 16;
export const ZONE_REPLY: number = 1 << 17;
/** The mark that the packet has when it is tracked is the number. */
export const ZONE_MARK: number = 1 << 18;

export function zoneOf(zone: number, dir: number): number {
  return (zone & (dir === DIR_ORIGINAL ? ZONE_ORIGINAL : ZONE_REPLY)) === 0 ? 0 : zone & 0xffff;
}

export class Tuple {
  src = 0;
  dst = 0;
  ports = 0;
  proto = 0;
  /** The zone that counts in this direction; 0 is the common one. */
  zone = 0;
}

/** Whoever holds one of these beyond a packet's way may find another connection in it: see `conn-pool.ts`. */
export class Conn implements CtEntry {
  id = 0;
  proto = 0;
  readonly original: Tuple = new Tuple();
  readonly reply: Tuple = new Tuple();
  status = 0;
  mark = 0;
  /**
   * When it ends, in milliseconds of virtual time; while it is not confirmed, how long it will live then. Whole ones: a
   * fraction would be a box of its own, and one cache miss more a connection.
   */
  expires = 0;
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
  /** Its neighbours among connections of one source that were translated (nat-source.ts). */
  nextOfSource: Conn | null = null;
  lastOfSource: Conn | null = null;
  /** SCTP: what tags packets bear; see ct-sctp.ts. */
  sctp: SctpSides | null = null;

  /** Begins anew, as a connection that is not confirmed. `zone` as `skb.ctZone`. */
  begin(id: number, src: number, dst: number, ports: number, replyPorts: number, proto: number, zone: number): void {
    const { original, reply } = this;
    this.id = id;
    this.proto = proto;
    original.src = reply.dst = src;
    original.dst = reply.src = dst;
    original.ports = ports;
    reply.ports = replyPorts;
    original.proto = reply.proto = proto;
    original.zone = zoneOf(zone, DIR_ORIGINAL);
    reply.zone = zoneOf(zone, DIR_REPLY);
    this.status = 0;
    this.mark = 0;
    this.expires = 0;
    this.state = 0;
    this.masqIfindex = 0;
    this.slot = -1;
    this.begun = 0;
    this.tcp = null;
    this.sctp = null;
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

/** Both ends of an SCTP association (struct ip_ct_sctp), by direction. */
export type SctpSides = {
  /** The verification tag that packets bear; 0 while it is not known. Signed 32-bit integers. */
  readonly tags: [number, number];
  /** Whether there was an INIT, and the association is not open yet. */
  inits: [boolean, boolean];
  /** A heartbeat bore another tag, and where it went. */
  strange: boolean;
  strangeDir: number;
};
