/**
 * The connections of a namespace (nf_conntrack_core.c): found by either direction's tuple in one hash, made when a packet
 * begins one, entered in the table when that packet gets through (confirmed), gone when their time is over.
 *
 * Time is looked at when an entry is met, and a few chains are swept with each new entry. Left out: zones, expectations
 * and helpers, accounting.
 */
import type { NetNs } from "../netns/netns.ts";
import type { Sysctls } from "../netns/sysctl.ts";
import type { EventLoop } from "../sim/event-loop.ts";
import type { Skb } from "../skb/skb.ts";
import { trackable } from "../skb/verify-checksum.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4 } from "../wire/ipv4-addr.ts";
import {
  Conn,
  DIR_ORIGINAL,
  DIR_REPLY,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_DYING,
  IPS_SEEN_REPLY,
  type Tuple,
} from "./conn.ts";
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
import { CT_INVALID, CT_KILL, CT_REPEAT, type CtProto } from "./ct-proto.ts";
import { sctpProto } from "./ct-sctp.ts";
import { tcpProto } from "./ct-tcp.ts";
import { CtTimeouts } from "./ct-timeouts.ts";
import { udpProto } from "./ct-udp.ts";
import { NF_ACCEPT, NF_DROP, NF_INET_PRE_ROUTING } from "./hooks.ts";

const MIN_BUCKETS = 1024;
/** Chains swept with each new entry, and looked at for an entry to give up when the table is full. */
const SWEEP = 8;

export function ctProto(proto: number): CtProto {
  switch (proto) {
    case ipv4.PROTO_TCP:
      return tcpProto;
    case ipv4.PROTO_UDP:
      return udpProto;
    case ipv4.PROTO_ICMP:
      return icmpProto;
    case ipv4.PROTO_SCTP:
      return sctpProto;
    default:
      return genericProto;
  }
}

function hash(src: number, dst: number, ports: number, proto: number): number {
  let h = Math.imul(src ^ (proto << 24), 0xcc9e2d51);
  h = Math.imul((h << 15) | (h >>> 17), 0x1b873593) ^ dst;
  h = Math.imul((h << 13) | (h >>> 19), 0x85ebca6b) ^ ports;
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

export class Conntrack {
  readonly ns: NetNs;
  readonly timeouts: CtTimeouts = new CtTimeouts();
  #buckets: (Tuple | null)[] = new Array<Tuple | null>(MIN_BUCKETS).fill(null);
  #mask: number = MIN_BUCKETS - 1;
  #sweepAt = 0;
  #nextId = 1;
  /** Entries in the table. */
  count = 0;
  /** New connections that found the table full. */
  full = 0;
  /** Told of each entry that enters the table, and that leaves it. */
  onConfirm: ((conn: Conn) => void) | null = null;
  onRemove: ((conn: Conn) => void) | null = null;

  readonly #loop: EventLoop;
  readonly #sysctls: Sysctls;

  constructor(ns: NetNs) {
    this.ns = ns;
    this.#loop = ns.world.loop;
    this.#sysctls = ns.sysctls;
  }

  /** The direction of a connection that such a packet belongs to; null if there is none. */
  find(src: number, dst: number, ports: number, proto: number): Tuple | null {
    let t = this.#buckets[hash(src, dst, ports, proto) & this.#mask] as Tuple | null;
    while (t !== null) {
      if (t.src === src && t.dst === dst && t.ports === ports && t.proto === proto) {
        if (t.conn.expires > this.#loop.time) return t;
        this.remove(t.conn);
        return null;
      }
      t = t.next;
    }
    return null;
  }

  /** Gives the packet its connection (nf_conntrack_in). Answers a verdict. Sums are checked of what comes in. */
  track(skb: Skb, hook: number): number {
    if (skb.ct !== null || skb.ctInfo === IP_CT_UNTRACKED) return NF_ACCEPT;
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
    const src = ipv4.src(b, at) | 0;
    const dst = ipv4.dst(b, at) | 0;
    const ports = proto.ports(b, skb.transport);
    const found = this.find(src, dst, ports, number);
    if (found === null) return this.#begin(skb, proto, src, dst, ports, number);
    const { conn, dir } = found;
    switch (proto.packet(conn, dir, skb, this.#loop.time, t)) {
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
    const conn = new Conn(this.#nextId, src, dst, ports, proto.invert(ports), number);
    if (!proto.begins(conn, skb)) return NF_ACCEPT;
    if (this.count >= this.timeouts.max && !this.#giveUpOne(src, dst, ports, number)) {
      this.full++;
      return NF_DROP;
    }
    this.#nextId++;
    if (proto.packet(conn, DIR_ORIGINAL, skb, this.#loop.time, this.timeouts) === CT_INVALID) return NF_ACCEPT;
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
    if (skb.end - th < 8) return;
    const number = ipv4.protocol(b, at);
    const proto = ctProto(number);
    const ports = proto.invert(proto.ports(b, th));
    const found = this.find(ipv4.dst(b, at) | 0, ipv4.src(b, at) | 0, ports, number);
    if (found === null || found.dst !== (ipv4.dst(b, skb.network) | 0)) return;
    skb.ct = found.conn;
    skb.ctInfo = found.dir === DIR_REPLY ? IP_CT_RELATED_REPLY : IP_CT_RELATED;
  }

  /**
   * Enters the packet's connection in the table, if this is its first packet (nf_conntrack_confirm). Answers a verdict:
   * another packet may have taken one of its tuples meanwhile.
   */
  confirm(skb: Skb): number {
    const conn = skb.ct as Conn | null;
    if (conn === null || (conn.status & IPS_CONFIRMED) !== 0 || skb.ctInfo >= IP_CT_ESTABLISHED_REPLY) return NF_ACCEPT;
    const { original, reply } = conn;
    const clash =
      this.find(original.src, original.dst, original.ports, original.proto) ??
      this.find(reply.src, reply.dst, reply.ports, reply.proto);
    if (clash !== null) return this.#resolveClash(skb, conn, clash);
    conn.expires += this.#loop.time;
    conn.status |= IPS_CONFIRMED;
    if (this.count * 2 > this.#mask) this.#grow();
    this.#insert(original);
    this.#insert(reply);
    this.count++;
    this.onConfirm?.(conn);
    this.#sweep();
    return NF_ACCEPT;
  }

  /** Two first packets of one UDP flow met: the second goes on with the first one's entry (nf_ct_resolve_clash). */
  #resolveClash(skb: Skb, conn: Conn, clash: Tuple): number {
    const other = clash.conn;
    const same =
      other.proto === ipv4.PROTO_UDP &&
      other.original.src === conn.original.src &&
      other.original.dst === conn.original.dst &&
      other.original.ports === conn.original.ports &&
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
    this.#unlink(conn.original);
    this.#unlink(conn.reply);
    this.count--;
    this.onRemove?.(conn);
  }

  /** Live entries. */
  *entries(): IterableIterator<Conn> {
    const now = this.#loop.time;
    for (const head of this.#buckets) {
      for (let t = head; t !== null; t = t.next) if (t.dir === DIR_ORIGINAL && t.conn.expires > now) yield t.conn;
    }
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

  #insert(t: Tuple): void {
    const at = hash(t.src, t.dst, t.ports, t.proto) & this.#mask;
    t.next = this.#buckets[at] as Tuple | null;
    this.#buckets[at] = t;
  }

  #unlink(t: Tuple): void {
    const at = hash(t.src, t.dst, t.ports, t.proto) & this.#mask;
    let before = this.#buckets[at] as Tuple | null;
    if (before === t) {
      this.#buckets[at] = t.next;
    } else {
      while (before !== null && before.next !== t) before = before.next;
      if (before !== null) before.next = t.next;
    }
    t.next = null;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Array<Tuple | null>(old.length * 2).fill(null);
    this.#mask = this.#buckets.length - 1;
    for (let t of old) {
      while (t !== null) {
        const next: Tuple | null = t.next;
        this.#insert(t);
        t = next;
      }
    }
  }

  #sweep(): void {
    const now = this.#loop.time;
    for (let i = 0; i < SWEEP; i++) {
      this.#sweepAt = (this.#sweepAt + 1) & this.#mask;
      let t = this.#buckets[this.#sweepAt] as Tuple | null;
      while (t !== null) {
        const next: Tuple | null = t.next;
        const conn = t.conn;
        if (conn.expires <= now) {
          this.remove(conn);
          // Both tuples may have been in this chain: start it again.
          t = this.#buckets[this.#sweepAt] as Tuple | null;
        } else {
          t = next;
        }
      }
    }
  }

  /** Makes room in a full table: an entry that is over, or one near the new one's place that is not assured (early_drop). */
  #giveUpOne(src: number, dst: number, ports: number, proto: number): boolean {
    const now = this.#loop.time;
    const start = hash(src, dst, ports, proto);
    for (let i = 0; i < SWEEP; i++) {
      for (let t = this.#buckets[(start + i) & this.#mask] as Tuple | null; t !== null; t = t.next) {
        if (t.conn.expires > now && (t.conn.status & IPS_ASSURED) !== 0) continue;
        this.remove(t.conn);
        return true;
      }
    }
    return false;
  }
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
  const addrs = `src=${formatIpv4(t.src)} dst=${formatIpv4(t.dst)}`;
  const high = t.ports >>> 16;
  const low = t.ports & 0xffff;
  switch (t.proto) {
    case ipv4.PROTO_TCP:
    case ipv4.PROTO_UDP:
    case ipv4.PROTO_SCTP:
      return `${addrs} sport=${high} dport=${low}`;
    case ipv4.PROTO_ICMP:
      return `${addrs} type=${low >>> 8} code=${low & 0xff} id=${high}`;
    default:
      return addrs;
  }
}
