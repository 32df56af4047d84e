/** Answering a TCP segment with a reset, RFC 9293 section 3.5.2: for a closed port, and for REJECT --reject-with tcp-reset. */
import { attachCt } from "../netfilter/conntrack-entry.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";
import { localOut } from "./output.ts";

/** The segment stays the caller's. A reset is not answered. `related`: a rule sends it, before there is a connection. */
export function sendReset(ns: NetNs, skb: Skb, related = false): void {
  const b = skb.buf;
  const at = skb.network;
  const th = at + ipv4.headerLen(b, at);
  if (tcp.check(b, th, skb.end) !== 0 || ipv4.fragmentOffset(b, at) !== 0) return;
  const flags = tcp.flags(b, th);
  if ((flags & tcp.RST) !== 0) return;
  const source = ipv4.src(b, at);
  const address = ipv4.dst(b, at);
  const dst = ns.fib.dst(source);
  if (dst.type === "none") return;
  const acked = (flags & tcp.ACK) !== 0;
  const payload = skb.end - th - tcp.dataOffset(b, th);
  const length = payload + ((flags & tcp.SYN) !== 0 ? 1 : 0) + ((flags & tcp.FIN) !== 0 ? 1 : 0);
  const rst = ns.world.pool.alloc(ipv4.HEADER_LEN + tcp.HEADER_LEN);
  const rb = rst.buf;
  rst.network = rst.data;
  rst.transport = rst.data + ipv4.HEADER_LEN;
  rst.end = rst.transport + tcp.HEADER_LEN;
  const seq = acked ? tcp.ack(b, th) : 0;
  const ack = acked ? 0 : (tcp.seq(b, th) + length) >>> 0;
  const outFlags = acked ? tcp.RST : tcp.RST | tcp.ACK;
  tcp.write(rb, rst.transport, tcp.dstPort(b, th), tcp.srcPort(b, th), seq, ack, tcp.HEADER_LEN, outFlags, 0);
  tcp.fillChecksum4(rb, rst.transport, tcp.HEADER_LEN, address, source);
  const total = ipv4.HEADER_LEN + tcp.HEADER_LEN;
  const tos = related ? 0 : ipv4.tos(b, at);
  ipv4.write(rb, rst.network, total, 0, ipv4.FLAG_DF, ns.sysctls.defaultTtl, ipv4.PROTO_TCP, address, source, tos);
  rst.dst = dst;
  if (related) attachCt(rst, skb);
  if (skb.trace !== null) {
    rst.trace = skb.trace.answer(ns, rst);
    rst.trace?.report(ns, rst, { step: "socket", text: "TCP reset" });
  }
  localOut(ns, rst);
}
