/**
 * SCTP associations, as far as they begin and end (RFC 9260 sections 5 and 9): the four-way handshake with its cookie, its
 * retransmission, shutdown and abort. Enough to see where an association goes. Left out: data, heartbeats, several homes,
 * and the cookie's signature (it is an opaque copy of what the listener needs).
 *
 *   A                      B
 *   INIT           →
 *                  ←       INIT ACK (cookie)
 *   COOKIE ECHO    →                 B makes the association only now
 *                  ←       COOKIE ACK
 */
import { defaultTtl, localOutEither, sourceForEither } from "../ip6/either.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Timer } from "../sim/event-loop.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, type Skb } from "../skb/skb.ts";
import { setU8, setU16, setU32, u16, u32 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { dstAt, headerLenOf, srcAt, writeHeader } from "../wire/ip-header.ts";
import { isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as sctp from "../wire/sctp.ts";

export type SctpFailure = "ECONNREFUSED" | "ETIMEDOUT" | "ECONNRESET" | "EHOSTUNREACH" | "ENETUNREACH" | "ENOPROTOOPT";

/** What an association's owner is told. */
export interface SctpHandler {
  connected?(association: SctpAssociation): void;
  failed?(association: SctpAssociation, why: SctpFailure): void;
  /** Somebody on the way says that it cannot be; the association goes on trying. */
  softError?(association: SctpAssociation, why: SctpFailure): void;
}

type SctpState = "COOKIE_WAIT" | "COOKIE_ECHOED" | "ESTABLISHED" | "SHUTDOWN_SENT" | "SHUTDOWN_ACK_SENT" | "CLOSED";

/** RTO.Initial, RTO.Max in milliseconds, Max.Init.Retransmits, as Linux has them. */
const RTO_INIT = 3_000;
const RTO_MAX = 60_000;
const INIT_RETRIES = 8;
/** Receiver window, and streams each way (net.sctp defaults of Linux). */
const RWND = 106_496;
const STREAMS_OUT = 10;
const STREAMS_IN = 65_535;
/** Octets of an INIT's value, and of the cookie parameter: type 2, length 2, peer's tag 4, own tag 4. */
const INIT_LEN = 16;
const COOKIE_PARAM = 7;
const COOKIE_LEN = 8;
const T_BIT = 1;

export class SctpListener {
  readonly ns: NetNs;
  readonly port: number;

  private constructor(ns: NetNs, port: number) {
    this.ns = ns;
    this.port = port;
  }

  /** Answers null if the address and port are in use. */
  static listen(ns: NetNs, address: Ipv4Addr, port: number): SctpListener | null {
    const listener = new SctpListener(ns, port);
    if (!ns.sctp.listeners.bind(address, port, listener)) return null;
    ns.sctp.used = true;
    return listener;
  }

  close(): void {
    this.ns.sctp.listeners.release(this.port, this);
  }
}

export class SctpAssociation {
  readonly ns: NetNs;
  readonly local: Ipv4Addr;
  readonly localPort: number;
  readonly remote: Ipv4Addr;
  readonly remotePort: number;
  readonly #handler: SctpHandler;
  readonly #tag: number;
  #peerTag: number;
  #state: SctpState;
  #cookie: Uint8Array = new Uint8Array(0);
  #timer: Timer | null = null;
  #tries = 0;

  private constructor(ns: NetNs, way: Way, handler: SctpHandler, state: SctpState, tag: number, peerTag: number) {
    this.ns = ns;
    this.local = way.local;
    this.localPort = way.localPort;
    this.remote = way.remote;
    this.remotePort = way.remotePort;
    this.#handler = handler;
    this.#state = state;
    this.#tag = tag;
    this.#peerTag = peerTag;
  }

  get state(): SctpState {
    return this.#state;
  }

  /** Starts an association; answers an errno name where it cannot even begin. */
  static connect(ns: NetNs, remote: Ipv4Addr, remotePort: number, handler: SctpHandler): SctpAssociation | SctpFailure {
    const dst = ns.fib.dst(remote);
    if (dst.type === "none") return "ENETUNREACH";
    if (dst.type === "unreachable" || dst.type === "prohibit" || dst.type === "blackhole") return "EHOSTUNREACH";
    const local = sourceForEither(dst) as Ipv4Addr;
    if (local === 0) return "ENETUNREACH";
    const { localPortMin, localPortMax } = ns.sysctls;
    const localPort = ns.sctp.listeners.ephemeral(localPortMin, localPortMax, (p) => {
      return ns.sctp.lookup(local, p, remote, remotePort) !== undefined;
    });
    const way = { local, localPort, remote, remotePort };
    const a = new SctpAssociation(ns, way, handler, "COOKIE_WAIT", tagOf(ns), 0);
    ns.sctp.add(a);
    a.#sendAgain();
    return a;
  }

  /** SHUTDOWN; there is never data to wait for. */
  close(): void {
    if (this.#state !== "ESTABLISHED") {
      this.#end();
      return;
    }
    this.#state = "SHUTDOWN_SENT";
    this.#send(sctp.SHUTDOWN, 0, word(0));
  }

  abort(): void {
    if (this.#state !== "CLOSED") this.#send(sctp.ABORT, 0);
    this.#end();
  }

  /** A chunk for this association, the packet's tag already known to be right. */
  chunk(type: number, b: Uint8Array, at: number, len: number): void {
    switch (type) {
      case sctp.INIT_ACK:
        if (this.#state !== "COOKIE_WAIT") return;
        this.#peerTag = u32(b, at);
        this.#cookie = cookieIn(b, at, len);
        this.#state = "COOKIE_ECHOED";
        this.#tries = 0;
        this.#sendAgain();
        return;
      case sctp.COOKIE_ACK:
        if (this.#state !== "COOKIE_ECHOED") return;
        this.#timer?.cancel();
        this.#state = "ESTABLISHED";
        this.#handler.connected?.(this);
        return;
      case sctp.COOKIE_ECHO:
        this.#send(sctp.COOKIE_ACK, 0);
        return;
      case sctp.SHUTDOWN:
        this.#state = "SHUTDOWN_ACK_SENT";
        this.#send(sctp.SHUTDOWN_ACK, 0);
        return;
      case sctp.SHUTDOWN_ACK:
        this.#send(sctp.SHUTDOWN_COMPLETE, 0);
        this.#end();
        return;
      case sctp.SHUTDOWN_COMPLETE:
        this.#end();
        return;
      case sctp.ABORT:
        this.fail(this.#state === "COOKIE_WAIT" || this.#state === "COOKIE_ECHOED" ? "ECONNREFUSED" : "ECONNRESET");
    }
  }

  fail(why: SctpFailure): void {
    if (this.#state === "CLOSED") return;
    this.#end();
    this.#handler.failed?.(this, why);
  }

  softError(why: SctpFailure): void {
    this.#handler.softError?.(this, why);
  }

  /** The tag that packets to here must carry; an INIT carries none. */
  get tag(): number {
    return this.#tag;
  }

  /** A peer's cookie came back: the association begins here. */
  static accept(ns: NetNs, way: Way, tag: number, peerTag: number): void {
    const a = new SctpAssociation(ns, way, {}, "ESTABLISHED", tag, peerTag);
    ns.sctp.add(a);
    a.#send(sctp.COOKIE_ACK, 0);
  }

  /** INIT or COOKIE ECHO, until something comes back. */
  #sendAgain(): void {
    if (this.#tries > INIT_RETRIES) {
      this.fail("ETIMEDOUT");
      return;
    }
    const wait = Math.min(RTO_INIT * 2 ** this.#tries, RTO_MAX);
    this.#tries++;
    this.#timer?.cancel();
    this.#timer = this.ns.world.loop.schedule(wait, () => this.#sendAgain());
    if (this.#state === "COOKIE_WAIT") this.#send(sctp.INIT, 0, initValue(this.#tag, this.#tag));
    else this.#send(sctp.COOKIE_ECHO, 0, this.#cookie);
  }

  #send(type: number, flags: number, value: Uint8Array = NOTHING): void {
    transmit(this.ns, this, this.#peerTag, type, flags, value);
  }

  #end(): void {
    this.#timer?.cancel();
    this.#state = "CLOSED";
    this.ns.sctp.remove(this);
  }
}

type Way = {
  readonly local: Ipv4Addr;
  readonly localPort: number;
  readonly remote: Ipv4Addr;
  readonly remotePort: number;
};

const NOTHING = new Uint8Array(0);

/** Any but 0. */
function tagOf(ns: NetNs): number {
  return ns.random.u32() | 1;
}

function word(n: number): Uint8Array {
  const out = new Uint8Array(4);
  setU32(out, 0, n);
  return out;
}

/** tag 4 | receiver window 4 | streams out 2 | streams in 2 | first TSN 4 */
function initValue(tag: number, tsn: number, cookie: Uint8Array = NOTHING): Uint8Array {
  const out = new Uint8Array(INIT_LEN + (cookie.length === 0 ? 0 : 4 + cookie.length));
  setU32(out, 0, tag >>> 0);
  setU32(out, 4, RWND);
  setU16(out, 8, STREAMS_OUT);
  setU16(out, 10, STREAMS_IN);
  setU32(out, 12, tsn >>> 0);
  if (cookie.length === 0) return out;
  setU16(out, INIT_LEN, COOKIE_PARAM);
  setU16(out, INIT_LEN + 2, 4 + cookie.length);
  out.set(cookie, INIT_LEN + 4);
  return out;
}

/** The cookie among the parameters of an INIT ACK. */
function cookieIn(b: Uint8Array, at: number, len: number): Uint8Array {
  for (let p = at + INIT_LEN; p + 4 <= at + len; ) {
    const size = u16(b, p + 2);
    if (size < 4 || p + size > at + len) break;
    if (u16(b, p) === COOKIE_PARAM) return b.slice(p + 4, p + size);
    p += (size + 3) & ~3;
  }
  return NOTHING;
}

/** One chunk in a packet of its own. */
function transmit(ns: NetNs, way: Way, tag: number, type: number, flags: number, value: Uint8Array): void {
  const padded = (value.length + 3) & ~3;
  const len = sctp.MIN_LEN + padded;
  const header = headerLenOf(way.remote);
  const total = header + len;
  const skb = ns.world.pool.alloc(total);
  const b = skb.buf;
  skb.network = skb.data;
  skb.transport = skb.data + header;
  skb.end = skb.data + total;
  const th = skb.transport;
  const { localPort: srcPort, remotePort: dstPort } = way;
  const chunk = { chunkType: type, chunkFlags: flags, chunkLen: 4 + value.length };
  sctp.emit({ srcPort, dstPort, verificationTag: tag >>> 0, ...chunk }, b, th);
  for (let i = 0; i < padded; i++) setU8(b, th + sctp.MIN_LEN + i, value[i] ?? 0);
  sctp.fillChecksum(b, th, len);
  const id = isKey6(way.remote) ? 0 : ns.takeIpId();
  const ttl = defaultTtl(ns, way.remote);
  writeHeader(b, skb.network, total, ipv4.PROTO_SCTP, ttl, way.local, way.remote, 0, id, true);
  skb.dst = ns.fib.dst(way.remote);
  skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
  const text = sctp.format({ srcPort, dstPort, verificationTag: tag, ...chunk });
  skb.trace?.report(ns, skb, { step: "socket", text: `SCTP ${/\[(.*)\]/.exec(text)?.[1] ?? ""}` });
  localOutEither(ns, skb);
}

/** sctp_rcv: a packet for this host. Its first chunk decides; INIT and its kin stand alone anyway. */
export function sctpReceive(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at, transport: th } = skb;
  if (!ns.sctp.used) {
    if (ipv4.version(b, at) === 4) ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.PROT_UNREACH, 0);
    else ns.handlers.icmp6Error(ns, skb, icmpv6.PARAMPROB, icmpv6.UNKNOWN_NEXT_HEADER, ipv6.NEXT_HEADER);
    drop(ns, skb, DropReason.IP_NOPROTO, "nothing here speaks SCTP");
    return;
  }
  const bad = sctp.check(b, th, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  if (skb.csum === CHECKSUM_NONE && !sctp.verify(b, th, skb.end - th)) {
    drop(ns, skb, DropReason.NOT_SPECIFIED, "the CRC32c is wrong");
    return;
  }
  const way: Way = {
    local: dstAt(b, at),
    localPort: sctp.dstPort(b, th),
    remote: srcAt(b, at),
    remotePort: sctp.srcPort(b, th),
  };
  const association = ns.sctp.lookup(way.local, way.localPort, way.remote, way.remotePort);
  const type = sctp.chunkType(b, th);
  const value = th + sctp.MIN_LEN;
  const len = sctp.chunkLen(b, th) - 4;
  if (association !== undefined && type !== sctp.INIT) {
    delivered(ns, skb, way.localPort);
    const reflected = type === sctp.ABORT && (sctp.chunkFlags(b, th) & T_BIT) !== 0;
    const right = sctp.verificationTag(b, th) === association.tag >>> 0 || reflected;
    if (right) association.chunk(type, b, value, len);
    consume(ns, skb);
    return;
  }
  if (ns.sctp.listeners.lookup(way.local, way.localPort) !== null) {
    delivered(ns, skb, way.localPort);
    begin(ns, way, type, b, value, len);
    consume(ns, skb);
    return;
  }
  refuse(ns, way, type, b, th);
  drop(ns, skb, DropReason.NO_SOCKET, skb.trace && `nothing listens on SCTP port ${way.localPort}`);
}

/** What a listener hears before there is an association. */
function begin(ns: NetNs, way: Way, type: number, b: Uint8Array, value: number, len: number): void {
  if (type === sctp.INIT && len >= INIT_LEN) {
    const [peer, own] = [u32(b, value), tagOf(ns)];
    const cookie = new Uint8Array(COOKIE_LEN);
    setU32(cookie, 0, peer);
    setU32(cookie, 4, own >>> 0);
    transmit(ns, way, peer, sctp.INIT_ACK, 0, initValue(own, own, cookie));
  } else if (type === sctp.COOKIE_ECHO && len >= COOKIE_LEN) {
    SctpAssociation.accept(ns, way, u32(b, value + 4), u32(b, value));
  }
}

/** Out of the blue (RFC 9260 section 8.4): ABORT, with the sender's tag. */
function refuse(ns: NetNs, way: Way, type: number, b: Uint8Array, th: number): void {
  if (type === sctp.ABORT || type === sctp.SHUTDOWN_COMPLETE) return;
  if (type === sctp.INIT) transmit(ns, way, u32(b, th + sctp.MIN_LEN), sctp.ABORT, 0, NOTHING);
  else transmit(ns, way, sctp.verificationTag(b, th), sctp.ABORT, T_BIT, NOTHING);
}

function delivered(ns: NetNs, skb: Skb, port: number): void {
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "deliver", text: `SCTP socket :${port}` });
}

/**
 * An ICMP error about a packet of ours (sctp_v4_err, sctp_v6_err), in ICMPv4's numbers: `at` is the quoted IP header, `th` its transport header. Only a host
 * that speaks no SCTP ends an association that begins; of the rest its owner is told, and it goes on trying.
 */
export function sctpError(ns: NetNs, b: Uint8Array, at: number, th: number, type: number, code: number): void {
  if (type !== icmpv4.DEST_UNREACH || code === icmpv4.FRAG_NEEDED) return;
  const a = ns.sctp.lookup(srcAt(b, at), sctp.srcPort(b, th), dstAt(b, at), sctp.dstPort(b, th));
  if (code === icmpv4.PROT_UNREACH) a?.fail("ENOPROTOOPT");
  else a?.softError(code === icmpv4.PORT_UNREACH ? "ECONNREFUSED" : "EHOSTUNREACH");
}
