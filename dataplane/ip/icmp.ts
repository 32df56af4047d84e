/**
 * Receiving ICMP for this host (icmp_rcv): answer echo and timestamp requests, hand replies and errors to whoever they
 * concern. What was sent to a broadcast address is not answered (icmp_echo_ignore_broadcasts).
 */
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, type Skb } from "../skb/skb.ts";
import { sctpError } from "../sock/sctp.ts";
import { tcpError } from "../sock/tcp.ts";
import { udpError } from "../sock/udp.ts";
import { copy, setU32 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { icmpOut } from "./icmp-error.ts";

const DAY = 86_400_000;

export function icmpReceive(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.transport;
  const bad = icmpv4.check(b, at, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  if (skb.csum === CHECKSUM_NONE && !icmpv4.verify(b, at, skb.end - at)) {
    drop(ns, skb, DropReason.ICMP_CSUM);
    return;
  }
  const type = icmpv4.type(b, at);
  if (skb.dst?.type === "broadcast" || ipv4.dstKey(b, skb.network) === -1) {
    drop(ns, skb, DropReason.NOT_SPECIFIED, "ICMP to a broadcast address is not answered");
    return;
  }
  if (type === icmpv4.ECHO_REQUEST) {
    if (!ns.sysctls.icmpEchoIgnoreAll) echoReply(ns, skb);
    delivered(ns, skb, "echo request, answered");
  } else if (type === icmpv4.TIMESTAMP) {
    if (skb.end - at >= icmpv4.HEADER_LEN + 4) timestampReply(ns, skb);
    delivered(ns, skb, "timestamp request, answered");
  } else if (type === icmpv4.ECHO_REPLY) {
    delivered(ns, skb, "echo reply");
    ns.pingSockets.get(icmpv4.id(b, at))?.reply(skb);
  } else if (icmpv4.isErrorType(type)) {
    delivered(ns, skb, "ICMP error");
    error(ns, skb);
  }
  consume(ns, skb);
}

function delivered(ns: NetNs, skb: Skb, text: string): void {
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "deliver", text });
}

/** The same octets back, type changed: RFC 792. */
function echoReply(ns: NetNs, skb: Skb): void {
  answer(ns, skb, icmpv4.ECHO_REPLY, skb.end - skb.transport);
}

/** When the request was sent, as it says, and twice when it came: milliseconds of the day. */
function timestampReply(ns: NetNs, skb: Skb): void {
  answer(ns, skb, icmpv4.TIMESTAMP_REPLY, icmpv4.HEADER_LEN + 12);
}

function answer(ns: NetNs, skb: Skb, type: number, len: number): void {
  const b = skb.buf;
  const to = ipv4.src(b, skb.network);
  const from = ipv4.dst(b, skb.network);
  const dst = ns.fib.dst(to);
  if (dst.type === "none") return;
  const reply = ns.world.pool.alloc(ipv4.HEADER_LEN + len);
  const rb = reply.buf;
  reply.network = reply.data;
  reply.transport = reply.data + ipv4.HEADER_LEN;
  reply.end = reply.transport + len;
  if (type === icmpv4.ECHO_REPLY) copy(rb, reply.transport, b, skb.transport, len);
  else {
    copy(rb, reply.transport, b, skb.transport, icmpv4.HEADER_LEN + 4);
    const today = Math.floor(ns.world.loop.time) % DAY;
    setU32(rb, reply.transport + icmpv4.HEADER_LEN + 4, today);
    setU32(rb, reply.transport + icmpv4.HEADER_LEN + 8, today);
  }
  icmpv4.setType(rb, reply.transport, type);
  icmpv4.fillChecksum(rb, reply.transport, len);
  const tos = ipv4.tos(b, skb.network);
  const ttl = ns.sysctls.defaultTtl;
  ipv4.write(rb, reply.network, ipv4.HEADER_LEN + len, ns.takeIpId(), 0, ttl, ipv4.PROTO_ICMP, from, to, tos);
  reply.dst = dst;
  if (skb.trace !== null) {
    reply.trace = skb.trace.answer(ns, reply);
    reply.trace?.report(ns, reply, { step: "socket", text: "ICMP echo reply" });
  }
  icmpOut(ns, reply);
}

/** An error about something we sent: the quoted header says what. */
function error(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const type = icmpv4.type(b, skb.transport);
  const code = icmpv4.code(b, skb.transport);
  const inner = skb.transport + icmpv4.HEADER_LEN;
  if (skb.end - inner < ipv4.HEADER_LEN || ipv4.version(b, inner) !== 4) return;
  const head = ipv4.headerLen(b, inner);
  if (skb.end - inner < head + 8) return;
  const from = ipv4.src(b, skb.network);
  const target = ipv4.dst(b, inner);
  let info = 0;
  if (type === icmpv4.DEST_UNREACH && code === icmpv4.FRAG_NEEDED) {
    info = icmpv4.nextHopMtu(b, skb.transport);
    if (info >= 68) ns.fib.learnMtu(target, info, ns.world.loop.time);
  }
  const protocol = ipv4.protocol(b, inner);
  if (protocol === ipv4.PROTO_UDP) udpError(ns, b, inner, inner + head, type, code, from, info);
  else if (protocol === ipv4.PROTO_TCP) tcpError(ns, b, inner, inner + head, type, code, from, info);
  else if (protocol === ipv4.PROTO_SCTP) sctpError(ns, b, inner, inner + head, type, code);
  else if (protocol === ipv4.PROTO_ICMP) ns.pingSockets.get(icmpv4.id(b, inner + head))?.error(type, code, from, info);
}
