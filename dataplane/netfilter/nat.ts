/**
 * Address translation (nf_nat_core.c): the first packet of a connection decides, by a rule or by doing nothing; every
 * packet after it is rewritten as the connection's tuples say, in both directions, and so are the packets that ICMP errors
 * quote. A port is kept while the tuple is free, else another is searched.
 */

import type { Random } from "../sim/random.ts";
import type { Skb } from "../skb/skb.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { compareIp } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import {
  type Conn,
  IPS_CONFIRMED,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_NAT_MASK,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
} from "./conn.ts";
import { type Conntrack, ctProto } from "./conntrack.ts";
import { IP_CT_ESTABLISHED_REPLY } from "./conntrack-entry.ts";
import { NF_INET_LOCAL_IN, NF_INET_POST_ROUTING } from "./hooks.ts";
import { MANIP_DST, MANIP_SRC, mangle } from "./nat-mangle.ts";
import { NatSources } from "./nat-source.ts";
import { spread } from "./nat-spread.ts";

/** Where a connection may be moved to (struct nf_nat_range2). Addresses as in Tuple. */
export type NatRange = {
  /** Null leaves the address. */
  readonly addrs: { readonly min: number; readonly max: number } | null;
  /** Null leaves the port where it can. `base`: the offset of the old port from it is kept (NF_NAT_RANGE_PROTO_OFFSET). */
  readonly ports: { readonly min: number; readonly max: number; readonly base?: number } | null;
  readonly random: boolean;
  readonly fully: boolean;
  readonly persistent: boolean;
};

export const NO_RANGE: NatRange = { addrs: null, ports: null, random: false, fully: false, persistent: false };

/** After this many tries from one start another start is drawn, and half as many are made. */
const MAX_ATTEMPTS = 128;

export function manipOf(hook: number): number {
  return hook === NF_INET_POST_ROUTING || hook === NF_INET_LOCAL_IN ? MANIP_SRC : MANIP_DST;
}

function doneBit(manip: number): number {
  return manip === MANIP_SRC ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE;
}

export function decided(conn: Conn, manip: number): boolean {
  return (conn.status & doneBit(manip)) !== 0;
}

/** Whether packets of a direction are rewritten on this side. */
export function rewrites(conn: Conn, ctInfo: number, manip: number): boolean {
  const source = (manip === MANIP_SRC) === ctInfo < IP_CT_ESTABLISHED_REPLY;
  return (conn.status & (source ? IPS_SRC_NAT : IPS_DST_NAT)) !== 0;
}

/** Rewrites a packet as its connection says (nf_nat_packet), where `rewrites` says so. */
export function translate(skb: Skb, conn: Conn, manip: number): void {
  // What the packet becomes is the other direction, turned round.
  const target = skb.ctInfo >= IP_CT_ESTABLISHED_REPLY ? conn.original : conn.reply;
  if (manip === MANIP_SRC) {
    const port = isIcmp(conn.proto) ? target.ports >>> 16 : target.ports & 0xffff;
    mangle(skb, skb.network, skb.end, MANIP_SRC, target.dst, port);
  } else {
    mangle(skb, skb.network, skb.end, MANIP_DST, target.src, target.ports >>> 16);
  }
}

/** A tuple to be, changed in place while a free one is searched; `ports` as in Tuple. */
type Draft = { src: number; dst: number; ports: number; proto: number };

export class Nat {
  readonly #table: Conntrack;
  readonly #random: Random;
  readonly #sources: NatSources = new NatSources();
  /** The tuple of the connection that is being decided. */
  readonly #draft: Draft = { src: 0, dst: 0, ports: 0, proto: 0 };

  constructor(table: Conntrack, random: Random) {
    this.#table = table;
    this.#random = random;
    table.translated = this.#sources;
  }

  /** Decides the translation of a connection's first packet (nf_nat_setup_info). */
  setup(conn: Conn, range: NatRange, manip: number): void {
    if (decided(conn, manip) || conn.confirmed) return;
    const { reply } = conn;
    const proto = ctProto(conn.proto);
    const draft = this.#draft;
    const src = reply.dst;
    const dst = reply.src;
    const ports = proto.invert(reply.ports);
    draft.src = src;
    draft.dst = dst;
    draft.ports = ports;
    draft.proto = conn.proto;
    this.#choose(draft, range, conn, manip);
    if (draft.src !== src || draft.dst !== dst || draft.ports !== ports) {
      reply.src = draft.dst;
      reply.dst = draft.src;
      reply.ports = proto.invert(draft.ports);
      conn.status |= manip === MANIP_SRC ? IPS_SRC_NAT : IPS_DST_NAT;
    }
    conn.status |= doneBit(manip);
    // There may have been no free port left: that is found when it is confirmed.
    if (manip === MANIP_SRC) conn.begun = -1;
  }

  /**
   * Sends a connection to this one destination; port 0 leaves the port. What `setup` comes to for a range of one address
   * and at most one port: no other is searched, whether answers are told apart shows when the source is decided.
   */
  setupTo(conn: Conn, address: number, port: number): void {
    const { proto, reply } = conn;
    if (proto !== ipv4.PROTO_UDP && proto !== ipv4.PROTO_TCP && proto !== ipv4.PROTO_SCTP) {
      const ports = port === 0 ? null : { min: port, max: port };
      this.setup(conn, { ...NO_RANGE, addrs: { min: address, max: address }, ports }, MANIP_DST);
      return;
    }
    if ((conn.status & (IPS_DST_NAT_DONE | IPS_CONFIRMED)) !== 0) return;
    const ports = port === 0 ? reply.ports : (port << 16) | (reply.ports & 0xffff);
    if (reply.src !== address || reply.ports !== ports) {
      reply.src = address;
      reply.ports = ports;
      conn.status |= IPS_DST_NAT;
    }
    conn.status |= IPS_DST_NAT_DONE;
  }

  /** Nothing is to be translated here; but a connection that clashes with another gets a new source port still. */
  setupNull(conn: Conn, manip: number): void {
    if (decided(conn, manip) || conn.confirmed) return;
    const { reply } = conn;
    // The tuple stays as it is unless it is taken, which is looked up without a range.
    if (!this.#taken(reply.src, reply.dst, reply.ports, conn.proto, conn)) {
      conn.status |= doneBit(manip);
      return;
    }
    const address = manip === MANIP_SRC ? reply.dst : reply.src;
    this.setup(conn, { ...NO_RANGE, addrs: { min: address, max: address } }, manip);
  }

  /** An ICMP error about a translated connection: the quoted packet and the error's own addresses. False drops it. */
  translateError(skb: Skb, conn: Conn, manip: number): boolean {
    const b = skb.buf;
    const { network, transport, end } = skb;
    const six = ipv4.version(b, network) === 6;
    if (!six && icmpv4.type(b, transport) === icmpv4.REDIRECT && (conn.status & IPS_NAT_MASK) !== 0) return false;
    if (!rewrites(conn, skb.ctInfo, manip)) return true;
    const target = skb.ctInfo >= IP_CT_ESTABLISHED_REPLY ? conn.original : conn.reply;
    const inner = transport + icmpv4.HEADER_LEN;
    // The quoted packet goes the other way, so its other side changes. The error's own address goes along: it comes from
    // the end itself, or from a router on the way, which is hidden with it.
    if (manip === MANIP_SRC) {
      const port = isIcmp(conn.proto) ? target.ports >>> 16 : target.ports & 0xffff;
      mangle(skb, inner, end, MANIP_DST, target.dst, port);
    } else {
      mangle(skb, inner, end, MANIP_SRC, target.src, target.ports >>> 16);
    }
    if (!six) icmpv4.fillChecksum(b, transport, end - transport);
    mangle(skb, network, end, manip, manip === MANIP_SRC ? target.dst : target.src, 0);
    // The addresses are in the sum of ICMPv6.
    if (six) {
      icmpv6.setChecksum(b, transport, 0);
      icmpv6.fillChecksum(b, transport, end - transport, network);
    }
    return true;
  }

  /** The interface of a masquerade went, or its address changed: its connections end. */
  dropMasquerade(ifindex: number): number {
    return this.#table.deleteWhere((conn) => conn.masqIfindex === ifindex);
  }

  /** get_unique_tuple. */
  #choose(t: Draft, range: NatRange, conn: Conn, manip: number): void {
    if (manip === MANIP_SRC && !range.random && !range.fully) {
      if (inRange(t, range)) {
        if (!this.#used(t, conn)) return;
      } else {
        const { src, ports } = t;
        if (this.#likeBefore(t, range, conn) && !this.#used(t, conn)) return;
        // What was taken is forgotten: the choice starts from the connection as it came.
        t.src = src;
        t.ports = ports;
      }
    }
    this.#chooseAddress(t, range, conn, manip);
    const ports = range.ports;
    if (!range.random && !range.fully) {
      if (ports !== null) {
        const port = portOf(t, manip);
        if (ports.base === undefined && port >= ports.min && port <= ports.max) {
          if (ports.min === ports.max || !this.#used(t, conn)) return;
        }
      } else if (!this.#used(t, conn)) {
        return;
      }
    }
    this.#choosePort(t, range, conn, manip);
  }

  /** find_best_ips_proto. */
  #chooseAddress(t: Draft, range: NatRange, conn: Conn, manip: number): void {
    if (range.addrs === null) return;
    const { min, max } = range.addrs;
    const chosen = min === max ? min : spread(min, max, t.src, t.dst, manip, range.persistent, conn.original.zone);
    if (manip === MANIP_SRC) t.src = chosen;
    else t.dst = chosen;
  }

  /** nf_nat_l4proto_unique_tuple. */
  #choosePort(t: Draft, range: NatRange, conn: Conn, manip: number): void {
    const icmp = isIcmp(t.proto);
    const ported = t.proto === ipv4.PROTO_TCP || t.proto === ipv4.PROTO_UDP || t.proto === ipv4.PROTO_SCTP;
    if (!icmp && !ported) return;
    let min: number;
    let size: number;
    const port = portOf(t, manip);
    if (range.ports !== null) {
      min = range.ports.min;
      size = range.ports.max - min + 1;
    } else if (icmp) {
      min = 0;
      size = 0x10000;
    } else if (manip === MANIP_DST) {
      return;
    } else if (port < 512) {
      min = 1;
      size = 511;
    } else if (port < 1024) {
      min = 600;
      size = 424;
    } else {
      min = 1024;
      size = 64512;
    }
    let off: number;
    if (range.ports?.base !== undefined) off = (port - range.ports.base) & 0xffff;
    else if (range.random || range.fully || manip !== MANIP_DST) off = this.#random.int(0x10000);
    else off = 0;
    let attempts = Math.min(size, MAX_ATTEMPTS);
    for (;;) {
      for (let i = 0; i < attempts; i++, off++) {
        setPort(t, manip, min + (off % size));
        if (!this.#used(t, conn)) return;
      }
      if (attempts >= size || attempts < 16) return;
      attempts >>= 1;
      off = this.#random.int(0x10000);
    }
  }

  /** A mapping of the same source made before (find_appropriate_src), if its connection is not over. */
  #likeBefore(t: Draft, range: NatRange, conn: Conn): boolean {
    const { src, ports } = conn.original;
    for (let other = this.#sources.first(conn); other !== null; other = other.nextOfSource) {
      const o = other.original;
      if (o.src !== src || o.ports >>> 16 !== ports >>> 16 || other.proto !== conn.proto) continue;
      if (this.#table.over(other)) continue;
      const was = { src: t.src, ports: t.ports };
      t.src = other.reply.dst;
      setPort(t, MANIP_SRC, isIcmp(t.proto) ? other.reply.ports >>> 16 : other.reply.ports & 0xffff);
      if (inRange(t, range)) return true;
      t.src = was.src;
      t.ports = was.ports;
    }
    return false;
  }

  /** Whether answers to such a packet would be taken for another connection's. */
  #used(t: Draft, conn: Conn): boolean {
    return this.#taken(t.dst, t.src, ctProto(t.proto).invert(t.ports), t.proto, conn);
  }

  #taken(src: number, dst: number, ports: number, proto: number, conn: Conn): boolean {
    const found = this.#table.find(src, dst, ports, proto, conn.reply.zone);
    return found !== null && found !== conn;
  }
}

function isIcmp(proto: number): boolean {
  return proto === ipv4.PROTO_ICMP || proto === PROTO_ICMPV6;
}

function portOf(t: Draft, manip: number): number {
  return isIcmp(t.proto) || manip === MANIP_SRC ? t.ports >>> 16 : t.ports & 0xffff;
}

function setPort(t: Draft, manip: number, port: number): void {
  const high = isIcmp(t.proto) || manip === MANIP_SRC;
  t.ports = high ? (port << 16) | (t.ports & 0xffff) : (t.ports & ~0xffff) | port;
}

/** Whether the source is one that the range allows already (nf_in_range). */
function inRange(t: Draft, range: NatRange): boolean {
  if (range.addrs !== null && (compareIp(t.src, range.addrs.min) < 0 || compareIp(t.src, range.addrs.max) > 0))
    return false;
  const port = t.ports >>> 16;
  return range.ports === null || (port >= range.ports.min && port <= range.ports.max);
}
