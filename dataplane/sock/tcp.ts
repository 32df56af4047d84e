/**
 * TCP, RFC 9293, small: handshake, data both ways, retransmission (RFC 6298), slow start and fast retransmit (RFC 5681),
 * orderly close and reset, ICMP errors, path MTU. Enough for HTTP exchanges and probes.
 *
 *   CLOSED ─connect→ SYN_SENT ─SYN,ACK→ ESTABLISHED ─close→ FIN_WAIT_1 ─ACK→ FIN_WAIT_2 ─FIN→ TIME_WAIT ─60 s→ CLOSED
 *   listener ─SYN→ SYN_RECV ─ACK→ ESTABLISHED ─FIN→ CLOSE_WAIT ─close→ LAST_ACK ─ACK→ CLOSED
 *
 * Left out: selective acknowledgements (permitted, not sent), delayed acknowledgements, Nagle, urgent data, keep-alive,
 * PAWS, ECN, SYN cookies.
 */
import type { Dst } from "../fib/route.ts";
import { sendReset } from "../ip/tcp-reset.ts";
import { localOutEither, sourceForEither } from "../ip6/either.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Timer } from "../sim/event-loop.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, type Skb } from "../skb/skb.ts";
import { verifies } from "../wire/checksum.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import { dstAt, headerLenOf, pseudo, srcAt } from "../wire/ip-header.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import * as tcp from "../wire/tcp.ts";
import { ANY } from "./port-table.ts";
import { buildSegment } from "./tcp-segment.ts";

export type TcpState =
  | "SYN_SENT"
  | "SYN_RECV"
  | "ESTABLISHED"
  | "FIN_WAIT_1"
  | "FIN_WAIT_2"
  | "CLOSE_WAIT"
  | "CLOSING"
  | "LAST_ACK"
  | "TIME_WAIT"
  | "CLOSED";

/** Errno names. */
export type TcpFailure = "ECONNREFUSED" | "ETIMEDOUT" | "ECONNRESET" | "EHOSTUNREACH" | "ENETUNREACH";

/** What a connection's owner is told. */
export interface TcpHandler {
  connected?(socket: TcpSocket): void;
  /** In order, each octet once. The octets are lent for the time of the call. */
  data(socket: TcpSocket, bytes: Uint8Array, off: number, len: number): void;
  /** The peer has sent all it will. */
  ended?(socket: TcpSocket): void;
  failed?(socket: TcpSocket, why: TcpFailure): void;
}

/** Milliseconds: first timeout, its bounds, and TIME_WAIT (TCP_TIMEOUT_INIT, TCP_RTO_MIN, TCP_RTO_MAX, TCP_TIMEWAIT_LEN). */
const RTO_INIT = 1_000;
const RTO_MIN = 200;
const RTO_MAX = 120_000;
const TIME_WAIT = 60_000;
/** tcp_syn_retries, tcp_synack_retries, tcp_retries2. */
const SYN_RETRIES = 6;
const SYNACK_RETRIES = 5;
const RETRIES = 15;
const WINDOW = 64_240;
const SCALE = 7;
/** Octets of the timestamps option in a segment, padding included. */
const TIMESTAMP_LEN = 12;
const NOTHING = new Uint8Array(0);

/** Sequence numbers, RFC 9293 section 3.4: a is before b on the circle. */
function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** The window of a SYN: as many full segments as 16 bits can tell (tcp_select_initial_window). */
function initialWindow(mss: number): number {
  return Math.floor(0xffff / mss) * mss;
}

export class TcpListener {
  readonly ns: NetNs;
  readonly address: Ipv4Addr;
  readonly port: number;
  readonly accept: (socket: TcpSocket) => TcpHandler;

  private constructor(ns: NetNs, address: Ipv4Addr, port: number, accept: (socket: TcpSocket) => TcpHandler) {
    this.ns = ns;
    this.address = address;
    this.port = port;
    this.accept = accept;
  }

  /** Answers null if the address and port are in use. `accept` gives each new connection its handler. */
  static listen(
    ns: NetNs,
    address: Ipv4Addr,
    port: number,
    accept: (socket: TcpSocket) => TcpHandler,
  ): TcpListener | null {
    const listener = new TcpListener(ns, address, port, accept);
    return ns.tcpListeners.bind(address, port, listener) ? listener : null;
  }

  close(): void {
    this.ns.tcpListeners.release(this.port, this);
  }
}

export class TcpSocket {
  readonly ns: NetNs;
  readonly local: Ipv4Addr;
  readonly localPort: number;
  readonly remote: Ipv4Addr;
  readonly remotePort: number;
  #state: TcpState;
  #handler: TcpHandler;
  #dst: Dst;
  #ipId: number;
  // Sending: what is not yet acknowledged starts at #una and stands in #buffer; a FIN follows the last octet.
  // After a timeout #next goes back to #una and sending starts over; #max is the furthest that was ever sent.
  #una: number;
  #next: number;
  #max: number;
  /** While a fast retransmission is going on: what was sent when it began. */
  #recover: number | null = null;
  #buffer: Uint8Array = NOTHING;
  #finQueued = false;
  #finSent = false;
  #peerWindow = 0;
  #peerScale = 0;
  #mss = 536;
  #cwnd = 10;
  #ssthresh = Number.POSITIVE_INFINITY;
  #dupAcks = 0;
  #rto = RTO_INIT;
  #srtt = 0;
  #rttvar = 0;
  #timed: { readonly seq: number; readonly at: number } | null = null;
  #retries = 0;
  #timer: Timer | null = null;
  // Receiving.
  #rcvNext = 0;
  #early: { readonly seq: number; readonly bytes: Uint8Array; readonly fin: boolean }[] = [];
  #timestamps = true;
  #peerTimestamp = 0;
  #sack = true;
  #scaled = true;

  private constructor(
    ns: NetNs,
    state: TcpState,
    local: Ipv4Addr,
    localPort: number,
    remote: Ipv4Addr,
    remotePort: number,
    dst: Dst,
  ) {
    this.ns = ns;
    this.#state = state;
    this.local = local;
    this.localPort = localPort;
    this.remote = remote;
    this.remotePort = remotePort;
    this.#dst = dst;
    this.#handler = { data: () => {} };
    this.#una = ns.random.u32();
    this.#next = this.#una;
    this.#max = this.#una;
    this.#ipId = ns.random.int(0x10000);
  }

  get state(): TcpState {
    return this.#state;
  }

  /** Starts a connection; answers an errno name where it cannot even begin. */
  static connect(
    ns: NetNs,
    remote: Ipv4Addr,
    remotePort: number,
    handler: TcpHandler,
    from: { readonly address?: Ipv4Addr; readonly port?: number } = {},
  ): TcpSocket | TcpFailure {
    const dst = ns.fib.dst(remote);
    if (dst.type === "none") return "ENETUNREACH";
    if (dst.type === "unreachable" || dst.type === "prohibit" || dst.type === "blackhole") return "EHOSTUNREACH";
    const local = from.address ?? (sourceForEither(dst) as Ipv4Addr);
    if (local === 0) return "ENETUNREACH";
    const port =
      from.port ??
      ns.tcpListeners.ephemeral(ns.sysctls.localPortMin, ns.sysctls.localPortMax, (p) => {
        return ns.tcpSockets.lookup(local, p, remote, remotePort) !== null;
      });
    const socket = new TcpSocket(ns, "SYN_SENT", local, port, remote, remotePort, dst);
    socket.#handler = handler;
    ns.tcpSockets.add(socket);
    socket.#sendSyn(tcp.SYN);
    socket.#arm();
    return socket;
  }

  /** A SYN came to a listener. */
  static accept(listener: TcpListener, skb: Skb): void {
    const ns = listener.ns;
    const b = skb.buf;
    const th = skb.transport;
    const remote = srcAt(b, skb.network);
    const local = dstAt(b, skb.network);
    const dst = ns.fib.dst(remote);
    const socket = new TcpSocket(ns, "SYN_RECV", local, tcp.dstPort(b, th), remote, tcp.srcPort(b, th), dst);
    socket.#handler = listener.accept(socket);
    socket.#learnSyn(b, th);
    socket.#timestamps = tcp.timestampValue(b, th) >= 0;
    socket.#sack = tcp.sackPermitted(b, th);
    ns.tcpSockets.add(socket);
    socket.#sendSyn(tcp.SYN | tcp.ACK);
    socket.#arm();
  }

  /** Queues octets to send. They are copied. */
  write(bytes: Uint8Array): void {
    if (this.#finQueued || this.#state === "CLOSED") return;
    const joined = new Uint8Array(this.#buffer.length + bytes.length);
    joined.set(this.#buffer);
    joined.set(bytes, this.#buffer.length);
    this.#buffer = joined;
    this.#push();
  }

  /** Sends what is queued, then FIN. Data from the peer is still taken. */
  close(): void {
    if (this.#finQueued || this.#state === "CLOSED") return;
    this.#finQueued = true;
    if (this.#state === "ESTABLISHED" || this.#state === "SYN_RECV") this.#state = "FIN_WAIT_1";
    else if (this.#state === "CLOSE_WAIT") this.#state = "LAST_ACK";
    else if (this.#state === "SYN_SENT") {
      this.#end();
      return;
    }
    this.#push();
  }

  /** Ends at once, telling the peer with a reset. */
  abort(): void {
    if (this.#state !== "SYN_SENT" && this.#state !== "CLOSED" && this.#state !== "TIME_WAIT") {
      this.#transmit(tcp.RST | tcp.ACK, this.#next, 0, 0);
    }
    this.#end();
  }

  /** A segment for this connection, checksum already good. The packet stays the caller's. */
  segment(skb: Skb): void {
    const b = skb.buf;
    const th = skb.transport;
    const flags = tcp.flags(b, th);
    if (this.#state === "SYN_SENT") {
      this.#synSent(b, th, flags);
      return;
    }
    const off = th + tcp.dataOffset(b, th);
    const len = skb.end - off;
    const seq = tcp.seq(b, th);
    const inWindow = !before(seq + len, this.#rcvNext) && before(seq, this.#rcvNext + (WINDOW << SCALE));
    if (!inWindow) {
      // An old duplicate (a lost ACK of ours, or a keep-alive): say again where we are.
      if ((flags & tcp.RST) === 0) this.#sendAck();
      return;
    }
    if ((flags & tcp.RST) !== 0) {
      if (seq === this.#rcvNext) this.#fail(this.#state === "SYN_RECV" ? "ECONNREFUSED" : "ECONNRESET");
      return;
    }
    if ((flags & tcp.SYN) !== 0) {
      if (this.#state === "SYN_RECV") this.#sendSyn(tcp.SYN | tcp.ACK);
      else this.#sendAck();
      return;
    }
    if ((flags & tcp.ACK) === 0) return;
    const stamp = this.#timestamps ? tcp.timestampValue(b, th) : -1;
    if (stamp >= 0 && !before(this.#rcvNext, seq)) this.#peerTimestamp = stamp;
    if (!this.#acknowledged(tcp.ack(b, th), tcp.window(b, th), len)) return;
    if (len > 0 || (flags & tcp.FIN) !== 0) this.#receive(b, off, seq, len, (flags & tcp.FIN) !== 0);
    this.#push();
  }

  /** An ICMP error about a segment of ours. */
  icmpError(type: number, code: number, info: number): void {
    if (type === icmpv4.DEST_UNREACH && code === icmpv4.FRAG_NEEDED) {
      const mss = info - headerLenOf(this.remote) - tcp.HEADER_LEN - (this.#timestamps ? 12 : 0);
      if (mss > 0 && mss < this.#mss) {
        this.#mss = mss;
        this.#startOver();
      }
      return;
    }
    // Hard errors end a handshake; an established connection outlives them (RFC 1122 section 4.2.3.9).
    if (this.#state !== "SYN_SENT" && this.#state !== "SYN_RECV") return;
    if (type !== icmpv4.DEST_UNREACH) return;
    const refused = code === icmpv4.PORT_UNREACH || code === icmpv4.PROT_UNREACH;
    this.#fail(refused ? "ECONNREFUSED" : code === icmpv4.NET_UNREACH ? "ENETUNREACH" : "EHOSTUNREACH");
  }

  #synSent(b: Uint8Array, th: number, flags: number): void {
    const acksUs = (flags & tcp.ACK) !== 0 && tcp.ack(b, th) === this.#next;
    if ((flags & tcp.RST) !== 0) {
      if (acksUs) this.#fail("ECONNREFUSED");
      return;
    }
    if ((flags & tcp.SYN) === 0 || !acksUs) return;
    this.#learnSyn(b, th);
    this.#timestamps = tcp.timestampValue(b, th) >= 0;
    this.#una = this.#next;
    this.#state = "ESTABLISHED";
    this.#retries = 0;
    this.#cancel();
    this.#sendAck();
    this.#handler.connected?.(this);
    this.#push();
  }

  #learnSyn(b: Uint8Array, th: number): void {
    this.#rcvNext = (tcp.seq(b, th) + 1) >>> 0;
    const theirs = tcp.mss(b, th);
    const ours = this.#dst.mtu - headerLenOf(this.remote) - tcp.HEADER_LEN;
    this.#mss = Math.min(ours, theirs > 0 ? theirs : 536) - (tcp.timestampValue(b, th) >= 0 ? 12 : 0);
    const scale = tcp.windowScale(b, th);
    this.#scaled = scale >= 0;
    this.#peerScale = Math.max(0, Math.min(14, scale));
    this.#peerWindow = tcp.window(b, th);
    this.#peerTimestamp = Math.max(0, tcp.timestampValue(b, th));
  }

  /** Takes an acknowledgement; answers false if the segment is of no use. */
  #acknowledged(ack: number, window: number, len: number): boolean {
    if (before(this.#max, ack)) {
      this.#sendAck();
      return false;
    }
    if (before(ack, this.#una)) return true;
    const grown = (ack - this.#una) >>> 0;
    const oldWindow = this.#peerWindow;
    this.#peerWindow = window << this.#peerScale;
    if (this.#state === "SYN_RECV") {
      if (grown === 0) return false;
      this.#una = ack;
      this.#state = this.#finQueued ? "FIN_WAIT_1" : "ESTABLISHED";
      this.#retries = 0;
      this.#cancel();
      this.#handler.connected?.(this);
      return true;
    }
    if (grown === 0) {
      if (len === 0 && this.#next !== this.#una && this.#peerWindow === oldWindow && ++this.#dupAcks === 3)
        this.#fast();
      return true;
    }
    this.#dupAcks = 0;
    this.#retries = 0;
    const data = Math.min(grown, this.#buffer.length);
    this.#buffer = this.#buffer.slice(data);
    this.#una = ack;
    if (before(this.#next, ack)) this.#next = ack;
    this.#measure(ack);
    this.#cwnd += this.#cwnd < this.#ssthresh ? grown / this.#mss : 1 / this.#cwnd;
    this.#cancel();
    if (this.#recover !== null) {
      if (before(ack, this.#recover)) this.#retransmit();
      else this.#recover = null;
    }
    if (this.#una !== this.#next) this.#arm();
    else if (this.#finSent && this.#una === this.#max) this.#finAcked();
    return true;
  }

  #finAcked(): void {
    if (this.#state === "FIN_WAIT_1") this.#state = "FIN_WAIT_2";
    else if (this.#state === "CLOSING") this.#timeWait();
    else if (this.#state === "LAST_ACK") this.#end();
  }

  #receive(b: Uint8Array, off: number, seq: number, len: number, fin: boolean): void {
    if (
      this.#state === "CLOSE_WAIT" ||
      this.#state === "LAST_ACK" ||
      this.#state === "CLOSING" ||
      this.#state === "CLOSED"
    ) {
      this.#sendAck();
      return;
    }
    if (before(this.#rcvNext, seq)) {
      if (this.#early.length < 1024) this.#early.push({ seq, bytes: b.slice(off, off + len), fin });
      this.#sendAck();
      return;
    }
    this.#take(b, off, seq, len, fin);
    for (let again = true; again; ) {
      again = false;
      for (const e of this.#early) {
        if (before(this.#rcvNext, e.seq)) continue;
        this.#early = this.#early.filter((other) => other !== e);
        this.#take(e.bytes, 0, e.seq, e.bytes.length, e.fin);
        again = true;
        break;
      }
    }
  }

  /** Octets that start at or before what is expected next. */
  #take(b: Uint8Array, off: number, seq: number, len: number, fin: boolean): void {
    const old = (this.#rcvNext - seq) >>> 0;
    if (old > len || (old === len && !fin)) {
      this.#sendAck();
      return;
    }
    const fresh = len - old;
    this.#rcvNext = (this.#rcvNext + fresh + (fin ? 1 : 0)) >>> 0;
    this.#sendAck();
    if (fresh > 0) this.#handler.data(this, b, off + old, fresh);
    if (fin) this.#peerEnded();
  }

  #peerEnded(): void {
    if (this.#state === "ESTABLISHED") this.#state = "CLOSE_WAIT";
    else if (this.#state === "FIN_WAIT_1") this.#state = "CLOSING";
    else if (this.#state === "FIN_WAIT_2") this.#timeWait();
    this.#handler.ended?.(this);
  }

  /** Sends what the windows allow, then the FIN if nothing is left before it. */
  #push(): void {
    if (this.#state === "SYN_SENT" || this.#state === "SYN_RECV" || this.#state === "CLOSED") return;
    const sent = (this.#next - this.#una) >>> 0;
    const window = Math.min(this.#peerWindow, Math.floor(this.#cwnd * this.#mss));
    let at = Math.min(sent, this.#buffer.length);
    let any = false;
    while (at < this.#buffer.length && at < window) {
      const len = Math.min(this.#mss, this.#buffer.length - at, window - at);
      const last = at + len === this.#buffer.length;
      if (this.#timed === null) this.#timed = { seq: (this.#next + len) >>> 0, at: this.ns.world.loop.time };
      this.#transmit(tcp.ACK | (last ? tcp.PSH : 0), this.#next, at, len);
      this.#next = (this.#next + len) >>> 0;
      at += len;
      any = true;
    }
    const finSent = sent > this.#buffer.length;
    if (this.#finQueued && at === this.#buffer.length && !finSent && this.#finDue()) {
      this.#transmit(tcp.ACK | tcp.FIN, this.#next, 0, 0);
      this.#finSent = true;
      this.#next = (this.#next + 1) >>> 0;
      any = true;
    }
    // A closed window is probed by the same timer.
    const waiting = this.#buffer.length > 0 && this.#peerWindow === 0;
    if ((any || waiting) && this.#timer === null) this.#arm();
  }

  #finDue(): boolean {
    return this.#state === "FIN_WAIT_1" || this.#state === "LAST_ACK" || this.#state === "CLOSING";
  }

  #fast(): void {
    this.#ssthresh = Math.max(2, this.#cwnd / 2);
    this.#cwnd = this.#ssthresh;
    this.#recover = this.#max;
    this.#retransmit();
  }

  /** Sends everything that is not acknowledged again, as fast as the congestion window allows. */
  #startOver(): void {
    if (this.#state === "SYN_SENT" || this.#state === "SYN_RECV" || this.#peerWindow === 0) {
      this.#retransmit();
      return;
    }
    this.#timed = null;
    this.#recover = null;
    this.#next = this.#una;
    this.#push();
  }

  /** The oldest segment again. */
  #retransmit(): void {
    this.#timed = null;
    if (this.#state === "SYN_SENT") this.#sendSyn(tcp.SYN, true);
    else if (this.#state === "SYN_RECV") this.#sendSyn(tcp.SYN | tcp.ACK, true);
    else if (this.#buffer.length > 0) {
      const len = Math.min(this.#mss, this.#buffer.length);
      this.#transmit(tcp.ACK | tcp.PSH, this.#una, 0, len);
      if (before(this.#next, this.#una + len)) this.#next = (this.#una + len) >>> 0;
    } else if (this.#finQueued) this.#transmit(tcp.ACK | tcp.FIN, this.#una, 0, 0);
  }

  #arm(): void {
    this.#cancel();
    this.#timer = this.ns.world.loop.schedule(this.#rto, () => this.#timeout());
  }

  #cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #timeout(): void {
    this.#timer = null;
    if (this.#state === "TIME_WAIT") {
      this.#end();
      return;
    }
    const most = this.#state === "SYN_SENT" ? SYN_RETRIES : this.#state === "SYN_RECV" ? SYNACK_RETRIES : RETRIES;
    if (++this.#retries > most) {
      this.#fail("ETIMEDOUT");
      return;
    }
    this.#rto = Math.min(RTO_MAX, this.#rto * 2);
    this.#ssthresh = Math.max(2, this.#cwnd / 2);
    this.#cwnd = 1;
    this.#startOver();
    this.#arm();
  }

  /** RFC 6298 section 2. */
  #measure(ack: number): void {
    // New data got through: the doubling is over (Linux has a measurement from the timestamps).
    if (this.#srtt > 0) this.#rto = this.#timeoutOf();
    if (this.#timed === null || before(ack, this.#timed.seq)) return;
    const rtt = this.ns.world.loop.time - this.#timed.at;
    this.#timed = null;
    if (this.#srtt === 0) {
      this.#srtt = rtt;
      this.#rttvar = rtt / 2;
    } else {
      this.#rttvar = 0.75 * this.#rttvar + 0.25 * Math.abs(this.#srtt - rtt);
      this.#srtt = 0.875 * this.#srtt + 0.125 * rtt;
    }
    this.#rto = this.#timeoutOf();
  }

  #timeoutOf(): number {
    return Math.min(RTO_MAX, Math.max(RTO_MIN, this.#srtt + 4 * this.#rttvar));
  }

  #timeWait(): void {
    this.#state = "TIME_WAIT";
    this.#cancel();
    this.#timer = this.ns.world.loop.schedule(TIME_WAIT, () => this.#timeout());
  }

  #fail(why: TcpFailure): void {
    this.#end();
    this.#handler.failed?.(this, why);
  }

  #end(): void {
    this.#cancel();
    this.#state = "CLOSED";
    this.ns.tcpSockets.remove(this);
  }

  #sendSyn(flags: number, again = false): void {
    if (!again) this.#next = (this.#una + 1) >>> 0;
    this.#transmit(flags, this.#una, 0, 0, this.#dst.mtu - headerLenOf(this.remote) - tcp.HEADER_LEN);
  }

  #sendAck(): void {
    if (this.#state !== "CLOSED") this.#transmit(tcp.ACK, this.#next, 0, 0);
  }

  #transmit(flags: number, seq: number, from: number, len: number, mss = 0): void {
    const ns = this.ns;
    if (!ns.fib.valid(this.#dst)) this.#dst = ns.fib.dst(this.remote);
    const last = (seq + len + ((flags & (tcp.SYN | tcp.FIN)) !== 0 ? 1 : 0)) >>> 0;
    if (before(this.#max, last)) this.#max = last;
    const syn = (flags & tcp.SYN) !== 0;
    const answer = (flags & tcp.ACK) !== 0;
    const head = {
      local: this.local,
      localPort: this.localPort,
      remote: this.remote,
      remotePort: this.remotePort,
      seq,
      ack: answer ? this.#rcvNext : 0,
      flags,
      window: syn
        ? initialWindow(mss - (answer && this.#timestamps ? TIMESTAMP_LEN : 0))
        : this.#scaled
          ? (WINDOW + (1 << SCALE) - 1) >> SCALE
          : WINDOW,
      mss,
      scale: this.#scaled ? SCALE : -1,
      sack: this.#sack,
      timestamps: this.#timestamps ? ([this.#clock(), answer ? this.#peerTimestamp : 0] as const) : null,
    };
    // Linux answers a SYN with identification 0 (the request socket has no counter yet).
    const id = syn && answer ? 0 : this.#ipId++ & 0xffff;
    const skb = buildSegment(ns, head, id, this.#buffer, from, len);
    skb.dst = this.#dst;
    skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
    skb.trace?.report(ns, skb, { step: "socket", text: `TCP ${tcp.formatFlags(flags)}` });
    localOutEither(ns, skb);
  }

  #clock(): number {
    return (Math.floor(this.ns.world.loop.time) + 1_000) >>> 0;
  }
}

/** tcp_v4_rcv: a segment for this host. */
export function tcpReceive(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.network;
  const th = skb.transport;
  const bad = tcp.check(b, th, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  const src = srcAt(b, at);
  const dst = dstAt(b, at);
  if (skb.csum === CHECKSUM_NONE && !verifies(b, th, skb.end - th, pseudo(src, dst, PROTO_TCP, skb.end - th))) {
    drop(ns, skb, DropReason.TCP_CSUM);
    return;
  }
  const port = tcp.dstPort(b, th);
  let socket = ns.tcpSockets.lookup(dst, port, src, tcp.srcPort(b, th));
  const syn = (tcp.flags(b, th) & (tcp.SYN | tcp.ACK | tcp.RST)) === tcp.SYN;
  if (socket !== null && socket.state === "TIME_WAIT" && syn) {
    socket.abort();
    socket = null;
  }
  if (socket !== null) {
    delivered(ns, skb, port);
    socket.segment(skb);
    consume(ns, skb);
    return;
  }
  const listener = ns.tcpListeners.lookup(dst, port) ?? ns.tcpListeners.lookup(ANY, port);
  if (listener !== null && syn) {
    delivered(ns, skb, port);
    TcpSocket.accept(listener, skb);
    consume(ns, skb);
    return;
  }
  if (listener !== null && (tcp.flags(b, th) & tcp.ACK) === 0) {
    drop(ns, skb, DropReason.TCP_FLAGS, skb.trace && `TCP port ${port} listens, and this does not open a connection`);
    return;
  }
  sendReset(ns, skb);
  drop(ns, skb, DropReason.NO_SOCKET, skb.trace && `nothing listens on TCP port ${port}`);
}

function delivered(ns: NetNs, skb: Skb, port: number): void {
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "deliver", text: `TCP socket :${port}` });
}

/** An ICMP error about a segment of ours: `at` is the quoted IP header, `th` its transport header. */
export function tcpError(
  ns: NetNs,
  b: Uint8Array,
  at: number,
  th: number,
  type: number,
  code: number,
  _from: Ipv4Addr,
  info: number,
): void {
  const socket = ns.tcpSockets.lookup(srcAt(b, at), tcp.srcPort(b, th), dstAt(b, at), tcp.dstPort(b, th));
  socket?.icmpError(type, code, info);
}
