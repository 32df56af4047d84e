/** UDP sockets, RFC 768 (net/ipv4/udp.c). A tunnel is a socket too: it takes the packet itself (`encap`). */
import type { Dst } from "../fib/route.ts";
import { localOut } from "../ip/output.ts";
import { sourceForEither } from "../ip6/either.ts";
import { localOut6 } from "../ip6/output.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import { fold, pseudo4, verifies } from "../wire/checksum.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { dstAt, pseudo, srcAt, writeHeader } from "../wire/ip-header.ts";
import { type IpKey, isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as udp from "../wire/udp.ts";
import { ANY } from "./port-table.ts";

const HEAD = ipv4.HEADER_LEN + udp.HEADER_LEN;

/** What a socket's owner is told. The octets are lent for the time of the call. */
export interface UdpReceiver {
  datagram(
    socket: UdpSocket,
    bytes: Uint8Array,
    off: number,
    len: number,
    from: Ipv4Addr,
    fromPort: number,
    to: Ipv4Addr,
  ): void;
  /** An ICMP error about what we sent to `to`. */
  error?(socket: UdpSocket, type: number, code: number, from: Ipv4Addr, to: Ipv4Addr, toPort: number): void;
}

/** Takes whole packets for a tunnel; ownership goes along. */
export type EncapReceiver = (ns: NetNs, skb: Skb) => void;

export class UdpSocket {
  readonly ns: NetNs;
  readonly address: Ipv4Addr;
  readonly port: number;
  readonly receiver: UdpReceiver | null;
  readonly encap: EncapReceiver | null;
  tos = 0;
  ttl = 0;
  #dst: Dst | null = null;
  #src: Ipv4Addr = 0 as Ipv4Addr;

  private constructor(
    ns: NetNs,
    address: Ipv4Addr,
    port: number,
    receiver: UdpReceiver | null,
    encap: EncapReceiver | null,
  ) {
    this.ns = ns;
    this.address = address;
    this.port = port;
    this.receiver = receiver;
    this.encap = encap;
  }

  /** Binds a socket; port 0 takes an ephemeral one. Answers null if the address is in use. */
  static bind(ns: NetNs, address: Ipv4Addr, port: number, receiver: UdpReceiver): UdpSocket | null {
    const chosen = port === 0 ? ns.udp.ephemeral(ns.sysctls.localPortMin, ns.sysctls.localPortMax) : port;
    const socket = new UdpSocket(ns, address, chosen, receiver, null);
    return ns.udp.bind(address, chosen, socket) ? socket : null;
  }

  /** Binds a tunnel's socket on all addresses. Answers null if the port is in use. */
  static tunnel(ns: NetNs, port: number, encap: EncapReceiver): UdpSocket | null {
    const socket = new UdpSocket(ns, ANY, port, null, encap);
    return ns.udp.bind(ANY, port, socket) ? socket : null;
  }

  close(): void {
    this.ns.udp.release(this.port, this);
  }

  /** Sends `len` octets. Answers false where there is no route or no address to send from. */
  send(to: Ipv4Addr, toPort: number, bytes: Uint8Array, off: number, len: number): boolean {
    const dst = this.#route(to);
    return this.#src !== 0 && this.#transmit(dst, this.#src, to, toPort, bytes, off, len);
  }

  /** Sends from one of the host's addresses: an answer leaves from where the question came to (IP_PKTINFO). */
  reply(from: Ipv4Addr, to: Ipv4Addr, toPort: number, bytes: Uint8Array, off: number, len: number): boolean {
    return this.#transmit(this.#route(to), from, to, toPort, bytes, off, len);
  }

  #route(to: Ipv4Addr): Dst {
    const ns = this.ns;
    let dst = this.#dst;
    if (dst === null || dst.address !== to || !ns.fib.valid(dst)) {
      dst = ns.fib.dst(to);
      this.#dst = dst;
      this.#src = this.address !== ANY ? this.address : (sourceForEither(dst) as Ipv4Addr);
    }
    return dst;
  }

  #transmit(
    dst: Dst,
    src: Ipv4Addr,
    to: Ipv4Addr,
    toPort: number,
    bytes: Uint8Array,
    off: number,
    len: number,
  ): boolean {
    const ns = this.ns;
    if (dst.type === "unreachable" || dst.type === "prohibit" || dst.type === "none") return false;
    if (isKey6(to)) return this.#transmit6(dst, src, to, toPort, bytes, off, len);
    const skb = ns.world.pool.alloc(HEAD + len);
    const b = skb.buf;
    const at = skb.data;
    const th = at + ipv4.HEADER_LEN;
    const total = HEAD + len;
    copy(b, at + HEAD, bytes, off, len);
    skb.network = at;
    skb.transport = th;
    skb.end = at + total;
    udp.write(b, th, this.port, toPort, udp.HEADER_LEN + len);
    udp.setChecksum(b, th, fold(pseudo4(src | 0, to | 0, ipv4.PROTO_UDP, udp.HEADER_LEN + len)));
    skb.csum = CHECKSUM_PARTIAL;
    skb.csumStart = th;
    skb.csumOffset = udp.CHECKSUM;
    // Path MTU discovery "want": don't fragment what fits, let the rest be cut.
    const fits = total <= dst.mtu;
    const id = ns.takeIpId();
    const ttl = this.ttl === 0 ? ns.sysctls.defaultTtl : this.ttl;
    ipv4.write(
      b,
      at,
      total,
      id,
      fits ? ipv4.FLAG_DF : 0,
      ttl,
      ipv4.PROTO_UDP,
      (src | 0) as Ipv4Addr,
      (to | 0) as Ipv4Addr,
      this.tos,
    );
    skb.dst = dst;
    const observer = ns.world.observer;
    if (observer !== null) skb.trace = observer.attach(ns, skb);
    if (skb.trace !== null) skb.trace.report(ns, skb, { step: "socket", text: "send" });
    localOut(ns, skb);
    return true;
  }

  #transmit6(dst: Dst, src: IpKey, to: IpKey, toPort: number, bytes: Uint8Array, off: number, len: number): boolean {
    const ns = this.ns;
    const payload = udp.HEADER_LEN + len;
    const skb = ns.world.pool.alloc(ipv6.HEADER_LEN + payload);
    const b = skb.buf;
    const th = skb.data + ipv6.HEADER_LEN;
    skb.network = skb.data;
    skb.transport = th;
    skb.end = th + payload;
    copy(b, th + udp.HEADER_LEN, bytes, off, len);
    udp.write(b, th, this.port, toPort, payload);
    udp.setChecksum(b, th, fold(pseudo(src, to, ipv4.PROTO_UDP, payload)));
    skb.csum = CHECKSUM_PARTIAL;
    skb.csumStart = th;
    skb.csumOffset = udp.CHECKSUM;
    const ttl = this.ttl === 0 ? ns.sysctls.hopLimit6 : this.ttl;
    writeHeader(b, skb.network, ipv6.HEADER_LEN + payload, ipv4.PROTO_UDP, ttl, src, to, this.tos, 0, true);
    skb.dst = dst;
    skb.mayCut = true;
    skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
    skb.trace?.report(ns, skb, { step: "socket", text: "send" });
    localOut6(ns, skb);
    return true;
  }
}

/** udp_rcv: a datagram for this host. */
export function udpReceive(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.transport;
  const bad = udp.check(b, at, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  const src = ipv4.srcKey(b, skb.network) as Ipv4Addr;
  const dst = ipv4.dstKey(b, skb.network) as Ipv4Addr;
  const len = udp.length(b, at);
  skb.end = at + len;
  if (skb.csum === CHECKSUM_NONE && udp.checksum(b, at) !== 0 && !udp.verify4(b, at, len, src, dst)) {
    drop(ns, skb, DropReason.UDP_CSUM);
    return;
  }
  deliver(ns, skb, src, dst);
}

/** udpv6_rcv. A sum of zero, which IPv4 allows, is none here (RFC 8200 section 8.1). */
export function udp6Receive(ns: NetNs, skb: Skb): void {
  const { buf: b, network, transport: at } = skb;
  const bad = udp.check(b, at, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  const [src, dst] = [srcAt(b, network), dstAt(b, network)];
  const len = udp.length(b, at);
  skb.end = at + len;
  const given = skb.csum !== CHECKSUM_NONE;
  if (!given && (udp.checksum(b, at) === 0 || !verifies(b, at, len, pseudo(src, dst, ipv4.PROTO_UDP, len)))) {
    drop(ns, skb, DropReason.UDP_CSUM);
    return;
  }
  deliver(ns, skb, src, dst);
}

function deliver(ns: NetNs, skb: Skb, src: IpKey, dst: IpKey): void {
  const b = skb.buf;
  const at = skb.transport;
  const socket = ns.udp.lookup(dst, udp.dstPort(b, at));
  // Its connection stays behind (nf_reset_ct), also for an answer that says that nothing listens.
  skb.ct = null;
  skb.ctInfo = 0;
  if (socket === null) {
    if (isKey6(dst)) ns.handlers.icmp6Error(ns, skb, icmpv6.DEST_UNREACH, icmpv6.PORT_UNREACH, 0);
    else ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.PORT_UNREACH, 0);
    drop(ns, skb, DropReason.NO_SOCKET, skb.trace && `nothing listens on UDP port ${udp.dstPort(b, at)}`);
    return;
  }
  if (socket.encap !== null) {
    socket.encap(ns, skb);
    return;
  }
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "deliver", text: `UDP socket :${socket.port}` });
  const off = at + udp.HEADER_LEN;
  const from = (src >>> 0) as Ipv4Addr;
  const to = (dst >>> 0) as Ipv4Addr;
  socket.receiver?.datagram(socket, b, off, skb.end - off, from, udp.srcPort(b, at), to);
  consume(ns, skb);
}

/** An ICMP error about a datagram of ours: `at` is the quoted IP header, `th` its transport header. */
export function udpError(
  ns: NetNs,
  b: Uint8Array,
  at: number,
  th: number,
  type: number,
  code: number,
  from: Ipv4Addr,
  _info: number,
): void {
  const socket = ns.udp.lookup(srcAt(b, at), udp.srcPort(b, th));
  socket?.receiver?.error?.(socket, type, code, from, dstAt(b, at), udp.dstPort(b, th));
}
