/** Answering a TCP segment with a reset, RFC 9293 section 3.5.2: for a closed port, and for REJECT --reject-with tcp-reset. */
import { defaultTtl, localOutEither } from "../ip6/either.ts";
import { attachCt } from "../netfilter/conntrack-entry.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { fillAt } from "../wire/checksum.ts";
import { dstAt, headerLenOf, pseudo, srcAt, writeHeader } from "../wire/ip-header.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as tcp from "../wire/tcp.ts";

/** The two low bits of the traffic class (RFC 3168). */
const ECN_MASK = 3;

/** The segment stays the caller's. A reset is not answered. `related`: a rule sends it, before there is a connection. */
export function sendReset(ns: NetNs, skb: Skb, related = false): void {
  const b = skb.buf;
  const at = skb.network;
  const four = ipv4.version(b, at) === 4;
  const th = four ? at + ipv4.headerLen(b, at) : skb.transport;
  if (four && ipv4.fragmentOffset(b, at) !== 0) return;
  // A rule asks only for the fixed header: what it says of its own length may be wrong.
  if (related ? skb.end - th < tcp.HEADER_LEN : tcp.check(b, th, skb.end) !== 0) return;
  const flags = tcp.flags(b, th);
  if ((flags & tcp.RST) !== 0) return;
  const source = srcAt(b, at);
  const address = dstAt(b, at);
  const dst = ns.fib.dst(source);
  if (dst.type === "none") return;
  const acked = (flags & tcp.ACK) !== 0;
  const payload = skb.end - th - tcp.dataOffset(b, th);
  const length = payload + ((flags & tcp.SYN) !== 0 ? 1 : 0) + ((flags & tcp.FIN) !== 0 ? 1 : 0);
  const rst = ns.world.pool.alloc(headerLenOf(source) + tcp.HEADER_LEN);
  const rb = rst.buf;
  rst.network = rst.data;
  rst.transport = rst.data + headerLenOf(source);
  rst.end = rst.transport + tcp.HEADER_LEN;
  const seq = acked ? tcp.ack(b, th) : 0;
  const ack = acked ? 0 : (tcp.seq(b, th) + length) >>> 0;
  const outFlags = acked ? tcp.RST : tcp.RST | tcp.ACK;
  tcp.write(rb, rst.transport, tcp.dstPort(b, th), tcp.srcPort(b, th), seq, ack, tcp.HEADER_LEN, outFlags, 0);
  const sum = pseudo(address, source, ipv4.PROTO_TCP, tcp.HEADER_LEN);
  fillAt(rb, rst.transport + tcp.CHECKSUM, rst.transport, tcp.HEADER_LEN, sum);
  const total = headerLenOf(source) + tcp.HEADER_LEN;
  const tos = related ? 0 : (four ? ipv4.tos(b, at) : ipv6.trafficClass(b, at)) & ~ECN_MASK;
  const ttl = defaultTtl(ns, source);
  writeHeader(rb, rst.network, total, ipv4.PROTO_TCP, ttl, address, source, tos, 0, true);
  rst.dst = dst;
  if (related) attachCt(rst, skb);
  if (skb.trace !== null) {
    rst.trace = skb.trace.answer(ns, rst);
    rst.trace?.report(ns, rst, { step: "socket", text: "TCP reset" });
  }
  localOutEither(ns, rst);
}
