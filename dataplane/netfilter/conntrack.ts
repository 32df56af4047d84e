/**
 * The connections of a namespace (nf_conntrack_core.c): found by either direction's tuple in one hash, made when a packet
 * begins one, entered in the table when that packet gets through (confirmed), gone when their time is over.
 *
 * Time is looked at when an entry is met, and a few others are looked at with each new entry. Left out: expectations and
 * helpers, accounting.
 */

import type { NetNs } from "../netns/netns.ts";
import type { Sysctls } from "../netns/sysctl.ts";
import type { EventLoop } from "../sim/event-loop.ts";
import type { Skb } from "../skb/skb.ts";
import { trackable, trackable6 } from "../skb/verify-checksum.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { formatIp, key6At } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as ndisc from "../wire/ndisc.ts";
import {
  type Conn,
  DIR_ORIGINAL,
  DIR_REPLY,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_DYING,
  IPS_SEEN_REPLY,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
  type Tuple,
  ZONE_MARK,
  ZONE_ORIGINAL,
  ZONE_REPLY,
  zoneOf,
} from "./conn.ts";
import { ConnPool } from "./conn-pool.ts";
import {
  IP_CT_ESTABLISHED,
  IP_CT_ESTABLISHED_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IP_CT_RELATED_REPLY,
  IP_CT_UNTRACKED,
} from "./conntrack-entry.ts";
import { genericProto } from "./ct-generic.ts";
import { icmpProto } from "./ct-icmp.ts";
import { icmp6Proto } from "./ct-icmp6.ts";
import { CT_INVALID, CT_KILL, CT_REPEAT, type CtProto } from "./ct-proto.ts";
import { sctpProto } from "./ct-sctp.ts";
import { tcpProto } from "./ct-tcp.ts";
import { CtTimeouts } from "./ct-timeouts.ts";
import { udpProto } from "./ct-udp.ts";
import { NF_ACCEPT, NF_DROP, NF_INET_PRE_ROUTING } from "./hooks.ts";
import type { NatSources } from "./nat-source.ts";
import { TupleTable, tupleHash } from "./tuple-table.ts";

/** Connections looked at with each new one: of those that are over, one in so many of all stays in the table. */
const SWEEP = 8;
/** Places looked at for a connection to give up when the table is full. */
const EVICTION_RANGE = 16;

export function ctProto(proto: number): CtProto {
  switch (proto) {
    case ipv4.PROTO_TCP:
      return tcpProto;
    case ipv4.PROTO_UDP:
      return udpProto;
    case ipv4.PROTO_ICMP:
      return icmpProto;
    case PROTO_ICMPV6:
      return icmp6Proto;
    case ipv4.PROTO_SCTP:
      return sctpProto;
    default:
      return genericProto;
  }
}

export class Conntrack {
  readonly ns: NetNs;
  readonly timeouts: CtTimeouts = new CtTimeouts();
  readonly #table: TupleTable = new TupleTable();
  #nextId = 1;
  /** Connections confirmed so far. */
  #confirmed = 0;
  /** Entries in the table. */
  count = 0;
  /** New connections that found the table full. */
  full = 0;
  /** Told of each entry with a translated source that enters the table, and that leaves it. */
  translated: NatSources | null = null;
  readonly pool: ConnPool;

  readonly #loop: EventLoop;
  readonly #sysctls: Sysctls;

  constructor(ns: NetNs) {
    this.ns = ns;
    this.#loop = ns.world.loop;
    this.#sysctls = ns.sysctls;
    this.pool = new ConnPool(ns.world.pool);
  }

  /** Whether the time of an entry is over. */
  over(conn: Conn): boolean {
    return conn.expires <= this.#loop.time;
  }

  /** The connection that such a packet belongs to, `foundDir` says in which direction; null if there is none. */
  find(src: number, dst: number, ports: number, proto: number, zone = 0): Conn | null {
    const conn = this.#table.find(src, dst, ports, proto, zone);
    if (conn === null || conn.expires > this.#loop.time) return conn;
    this.remove(conn);
    return null;
  }

  get foundDir(): number {
    return this.#table.dir;
  }

  /** The connection of a packet in `zone` (`skb.ctZone`): the directions may be in different ones. */
  #findIn(zone: number, src: number, dst: number, ports: number, proto: number): Conn | null {
    if (zone === 0) return this.find(src, dst, ports, proto);
    for (let dir = DIR_ORIGINAL; dir <= DIR_REPLY; dir++) {
      const conn = this.find(src, dst, ports, proto, zoneOf(zone, dir));
      if (conn !== null && zoneOf(zone, this.foundDir) === zoneOf(zone, dir)) return conn;
    }
    return null;
  }

  /** Gives the packet its connection (nf_conntrack_in). Answers a verdict. Sums are checked of what comes in. */
  track(skb: Skb, hook: number): number {
    if (skb.ct !== null || skb.ctInfo === IP_CT_UNTRACKED) return NF_ACCEPT;
    skb.ctInfo = 0;
    if ((skb.ctZone & ZONE_MARK) !== 0) zoneByMark(skb);
    const t = this.timeouts;
    if (this.#sysctls.generation !== t.generation) t.refresh(this.#sysctls);
    const b = skb.buf;
    const at = skb.network;
    const number = ipv4.protocol(b, at);
    const proto = ctProto(number);
    if (ipv4.fragmentOffset(b, at) !== 0 || skb.end - skb.transport < proto.headerLen) return NF_ACCEPT;
    if (hook === NF_INET_PRE_ROUTING && t.checksum && !trackable(skb)) return NF_ACCEPT;
    if (number === ipv4.PROTO_ICMP && icmpv4.isError(b, skb.transport)) {
      this.#trackError(skb);
      return NF_ACCEPT;
    }
    return this.#follow(skb, proto, ipv4.srcKey(b, at), ipv4.dstKey(b, at), number);
  }

  /** The same for an IPv6 packet. Neighbour discovery and its kin are not tracked. */
  track6(skb: Skb, hook: number): number {
    if (skb.ct !== null || skb.ctInfo === IP_CT_UNTRACKED) return NF_ACCEPT;
    skb.ctInfo = 0;
    if ((skb.ctZone & ZONE_MARK) !== 0) zoneByMark(skb);
    const t = this.timeouts;
    if (this.#sysctls.generation !== t.generation) t.refresh(this.#sysctls);
    const { buf: b, network: at, transport: th } = skb;
    if (ipv6.fragmentHeader(b, at, skb.end) >= 0) return NF_ACCEPT;
    const number = ipv6.transportProtocol(b, at, skb.end);
    const proto = ctProto(number);
    if (skb.end - th < proto.headerLen) return NF_ACCEPT;
    if (hook === NF_INET_PRE_ROUTING && t.checksum && !trackable6(skb, number)) return NF_ACCEPT;
    if (number === PROTO_ICMPV6) {
      const type = icmpv6.type(b, th);
      if ((type >= ndisc.MLD_FIRST && type <= ndisc.REDIRECT) || type === ndisc.MLD2_REPORT) {
        skb.ctInfo = IP_CT_UNTRACKED;
        return NF_ACCEPT;
      }
      if (icmpv6.isError(b, th)) {
        this.#trackError6(skb);
        return NF_ACCEPT;
      }
    }
    return this.#follow(skb, proto, key6At(b, at + ipv6.SRC), key6At(b, at + ipv6.DST), number);
  }

  /** Finds or begins the packet's connection. */
  #follow(skb: Skb, proto: CtProto, src: number, dst: number, number: number): number {
    const t = this.timeouts;
    const ports = proto.ports(skb.buf, skb.transport);
    const conn = this.#findIn(skb.ctZone, src, dst, ports, number);
    if (conn === null) return this.#begin(skb, proto, src, dst, ports, number);
    const dir = this.foundDir;
    switch (proto.packet(conn, dir, skb, this.#loop, t)) {
      case CT_REPEAT:
        this.remove(conn);
        return this.#begin(skb, proto, src, dst, ports, number);
      case CT_INVALID:
        return NF_ACCEPT;
      case CT_KILL:
        this.remove(conn);
    }
    skb.ct = conn;
    if (dir === DIR_REPLY) {
      conn.status |= IPS_SEEN_REPLY;
      skb.ctInfo = IP_CT_ESTABLISHED_REPLY;
    } else {
      skb.ctInfo = (conn.status & IPS_SEEN_REPLY) !== 0 ? IP_CT_ESTABLISHED : IP_CT_NEW;
    }
    return NF_ACCEPT;
  }

  /** A packet without a connection begins one, if it may (init_conntrack). */
  #begin(skb: Skb, proto: CtProto, src: number, dst: number, ports: number, number: number): number {
    const conn = this.pool.take();
    conn.begin(this.#nextId, src, dst, ports, proto.invert(ports), number, skb.ctZone);
    if (!proto.begins(conn, skb)) {
      this.pool.give(conn);
      return NF_ACCEPT;
    }
    if (this.count >= this.timeouts.max && !this.#giveUpOne(conn)) {
      this.pool.give(conn);
      this.full++;
      return NF_DROP;
    }
    this.#nextId++;
    conn.begun = this.#confirmed;
    if (proto.packet(conn, DIR_ORIGINAL, skb, this.#loop, this.timeouts) === CT_INVALID) {
      this.pool.give(conn);
      return NF_ACCEPT;
    }
    skb.ct = conn;
    skb.ctInfo = IP_CT_NEW;
    return NF_ACCEPT;
  }

  /** An ICMP error belongs to the connection of the packet that it quotes (icmp_error_message). */
  #trackError(skb: Skb): void {
    const b = skb.buf;
    const at = skb.transport + icmpv4.HEADER_LEN;
    if (skb.end - at < ipv4.HEADER_LEN || ipv4.version(b, at) !== 4 || ipv4.fragmentOffset(b, at) !== 0) return;
    const th = at + ipv4.headerLen(b, at);
    const number = ipv4.protocol(b, at);
    const proto = ctProto(number);
    if (skb.end - th < proto.tupleLen) return;
    const ports = proto.invert(proto.ports(b, th));
    const conn = this.#findIn(skb.ctZone, ipv4.dstKey(b, at), ipv4.srcKey(b, at), ports, number);
    if (conn === null) return;
    const reply = this.foundDir === DIR_REPLY;
    if ((reply ? conn.reply : conn.original).dst !== ipv4.dstKey(b, skb.network)) return;
    skb.ct = conn;
    skb.ctInfo = reply ? IP_CT_RELATED_REPLY : IP_CT_RELATED;
  }

  #trackError6(skb: Skb): void {
    const b = skb.buf;
    const at = skb.transport + icmpv6.HEADER_LEN;
    if (skb.end - at < ipv6.HEADER_LEN || ipv6.version(b, at) !== 6) return;
    const th = ipv6.transportOffset(b, at, skb.end);
    if (th < 0) return;
    const number = ipv6.transportProtocol(b, at, skb.end);
    const proto = ctProto(number);
    if (skb.end - th < proto.tupleLen) return;
    const ports = proto.invert(proto.ports(b, th));
    const conn = this.#findIn(skb.ctZone, key6At(b, at + ipv6.DST), key6At(b, at + ipv6.SRC), ports, number);
    if (conn === null) return;
    const reply = this.foundDir === DIR_REPLY;
    if ((reply ? conn.reply : conn.original).dst !== key6At(b, skb.network + ipv6.DST)) return;
    skb.ct = conn;
    skb.ctInfo = reply ? IP_CT_RELATED_REPLY : IP_CT_RELATED;
  }

  /**
   * Enters the packet's connection in the table, if this is its first packet (nf_conntrack_confirm). Answers a verdict:
   * another packet may have taken one of its tuples meanwhile.
   */
  confirm(skb: Skb): number {
    const conn = skb.ct as Conn | null;
    if (conn === null || (conn.status & IPS_CONFIRMED) !== 0 || skb.ctInfo >= IP_CT_ESTABLISHED_REPLY) return NF_ACCEPT;
    // What was free when it was looked up last is so still, while no other connection was confirmed.
    if (conn.begun !== this.#confirmed || (conn.status & IPS_SRC_NAT_DONE) === 0) {
      const { original, reply } = conn;
      const clash =
        this.find(original.src, original.dst, original.ports, original.proto, original.zone) ??
        this.find(reply.src, reply.dst, reply.ports, reply.proto, reply.zone);
      if (clash !== null) return this.#resolveClash(skb, conn, clash);
    }
    conn.expires += Math.ceil(this.#loop.time);
    conn.status |= IPS_CONFIRMED;
    this.#confirmed++;
    this.#table.insert(conn);
    this.count++;
    if ((conn.status & IPS_SRC_NAT) !== 0) this.translated?.add(conn);
    for (let i = 0; i < SWEEP; i++) {
      const over = this.#table.sweep(this.#loop.time);
      if (over !== null) this.remove(over);
    }
    return NF_ACCEPT;
  }

  /** Two first packets of one UDP flow met: the second goes on with the first one's entry (nf_ct_resolve_clash). */
  #resolveClash(skb: Skb, conn: Conn, other: Conn): number {
    const same =
      other.proto === ipv4.PROTO_UDP &&
      other.original.src === conn.original.src &&
      other.original.dst === conn.original.dst &&
      other.original.ports === conn.original.ports &&
      other.original.zone === conn.original.zone &&
      other.reply.zone === conn.reply.zone &&
      other.reply.src === conn.reply.src &&
      other.reply.dst === conn.reply.dst &&
      other.reply.ports === conn.reply.ports;
    if (!same) return NF_DROP;
    skb.ct = other;
    return NF_ACCEPT;
  }

  /** Takes an entry out (nf_ct_kill). */
  remove(conn: Conn): void {
    if ((conn.status & (IPS_CONFIRMED | IPS_DYING)) !== IPS_CONFIRMED) return;
    conn.status |= IPS_DYING;
    this.#table.remove(conn);
    this.count--;
    if ((conn.status & IPS_SRC_NAT) !== 0) this.translated?.remove(conn);
    this.pool.give(conn);
  }

  /** Live entries. */
  *entries(): IterableIterator<Conn> {
    const now = this.#loop.time;
    for (const conn of this.#table) if (conn.expires > now) yield conn;
  }

  /** Removes the entries that the predicate takes, as `conntrack -D` does; answers how many. */
  deleteWhere(predicate: (conn: Conn) => boolean): number {
    const gone = [...this.entries()].filter(predicate);
    for (const conn of gone) this.remove(conn);
    return gone.length;
  }

  /** As `conntrack -L` prints them, oldest first. */
  dump(): string[] {
    const now = this.#loop.time;
    return [...this.entries()].sort((a, b) => a.id - b.id).map((conn) => formatConn(conn, now));
  }

  /** Makes room in a full table: an entry that is over, or one near the new one's place that is not assured (early_drop). */
  #giveUpOne(begun: Conn): boolean {
    const now = this.#loop.time;
    const { src, dst, ports, proto, zone } = begun.original;
    for (const conn of this.#table.near(tupleHash(src, dst, ports, proto, zone), EVICTION_RANGE)) {
      if (conn.expires > now && (conn.status & IPS_ASSURED) !== 0) continue;
      this.remove(conn);
      return true;
    }
    return false;
  }
}

function zoneByMark(skb: Skb): void {
  skb.ctZone = (skb.ctZone & (ZONE_ORIGINAL | ZONE_REPLY)) | (skb.mark & 0xffff);
}

/** One line of `conntrack -L`. */
export function formatConn(conn: Conn, now: number): string {
  const proto = ctProto(conn.proto);
  const left = Math.max(0, Math.floor((conn.expires - now) / 1000));
  const state = proto.stateName === undefined ? "" : `${proto.stateName(conn)} `;
  const unreplied = (conn.status & IPS_SEEN_REPLY) === 0 ? "[UNREPLIED] " : "";
  const assured = (conn.status & IPS_ASSURED) === 0 ? "" : "[ASSURED] ";
  return (
    `${proto.name.padEnd(8)} ${conn.proto} ${left} ${state}${formatTuple(conn.original)} ${unreplied}` +
    `${formatTuple(conn.reply)} ${assured}mark=${conn.mark >>> 0} use=1`
  );
}

function formatTuple(t: Tuple): string {
  const addrs = `src=${formatIp(t.src)} dst=${formatIp(t.dst)}`;
  const high = t.ports >>> 16;
  const low = t.ports & 0xffff;
  switch (t.proto) {
    case ipv4.PROTO_TCP:
    case ipv4.PROTO_UDP:
    case ipv4.PROTO_SCTP:
      return `${addrs} sport=${high} dport=${low}`;
    case ipv4.PROTO_ICMP:
    case PROTO_ICMPV6:
      return `${addrs} type=${low >>> 8} code=${low & 0xff} id=${high}`;
    default:
      return addrs;
  }
}
