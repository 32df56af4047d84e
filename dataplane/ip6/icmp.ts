/** ICMPv6 that is for this host (net/ipv6/icmp.c): echo, neighbour discovery, errors about what we sent. */
import { discoveryReceive } from "../neigh/ndisc.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { sctpError } from "../sock/sctp.ts";
import { tcpError } from "../sock/tcp.ts";
import { udpError } from "../sock/udp.ts";
import { copy } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { isMulticastKey6, key6At, octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as ndisc from "../wire/ndisc.ts";
import { icmp6Out } from "./icmp-error.ts";
import { sourceFor6 } from "./output.ts";

/** icmpv6_rcv. */
export function icmp6Receive(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at, transport: th } = skb;
  const bad = icmpv6.check(b, th, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  if (!icmpv6.verify(b, th, skb.end - th, at)) {
    drop(ns, skb, DropReason.ICMP_CSUM);
    return;
  }
  const type = icmpv6.type(b, th);
  if (type >= ndisc.ROUTER_SOLICITATION && type <= ndisc.REDIRECT) {
    const wrong = discoveryReceive(ns, skb);
    if (wrong !== 0) drop(ns, skb, wrong);
    else consume(ns, skb);
    return;
  }
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "deliver", text: "ICMPv6" });
  if (type === icmpv6.ECHO_REQUEST) echo(ns, skb);
  else if (type === icmpv6.ECHO_REPLY) ns.pingSockets6.get(icmpv6.id(b, th))?.reply(skb);
  else if (icmpv6.isError(b, th)) error(ns, skb);
  consume(ns, skb);
}

/** From the address that was asked, or, where a group was, from one of ours (icmpv6_echo_reply). */
function echo(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at, transport: th } = skb;
  const to = key6At(b, at + ipv6.SRC);
  const asked = key6At(b, at + ipv6.DST);
  const dst = ns.fib.dst(to);
  const from = isMulticastKey6(asked) ? sourceFor6(dst) : asked;
  if (from === 0) return;
  const len = skb.end - th;
  const reply = ns.world.pool.alloc(ipv6.HEADER_LEN + len);
  const rb = reply.buf;
  reply.network = reply.data;
  reply.transport = reply.data + ipv6.HEADER_LEN;
  reply.end = reply.transport + len;
  copy(rb, reply.transport, b, th, len);
  icmpv6.setType(rb, reply.transport, icmpv6.ECHO_REPLY);
  const tclass = ipv6.trafficClass(b, at);
  ipv6.write(rb, reply.network, len, PROTO_ICMPV6, ns.sysctls.hopLimit6, octets6(from), octets6(to), tclass, 0);
  icmpv6.setChecksum(rb, reply.transport, 0);
  icmpv6.fillChecksum(rb, reply.transport, len, reply.network);
  reply.dst = dst;
  reply.mayCut = true;
  if (skb.trace !== null) {
    reply.trace = skb.trace.answer(ns, reply);
    reply.trace?.report(ns, reply, { step: "socket", text: "ICMPv6 echo reply" });
  }
  icmp6Out(ns, reply);
}

/** An error about something we sent: the quoted header says what. */
function error(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at, transport: th } = skb;
  const inner = th + icmpv6.HEADER_LEN;
  if (skb.end - inner < ipv6.HEADER_LEN + 8 || ipv6.version(b, inner) !== 6) return;
  const type = icmpv6.type(b, th);
  const info = icmpv6.restOfHeader(b, th);
  const target = key6At(b, inner + ipv6.DST);
  if (type === icmpv6.PKT_TOOBIG && info >= ipv6.MIN_MTU) ns.fib.learnMtu(target, info, ns.world.loop.time);
  const inside = ipv6.transportOffset(b, inner, skb.end);
  if (inside < 0) return;
  const from = key6At(b, at + ipv6.SRC);
  const code = icmpv6.code(b, th);
  const protocol = ipv6.transportProtocol(b, inner, skb.end);
  if (protocol === PROTO_ICMPV6) ns.pingSockets6.get(icmpv6.id(b, inside))?.error(type, code, from, info);
  const [type4, code4] = asIcmpv4(type, code);
  if (protocol === PROTO_UDP) udpError(ns, b, inner, inside, type4, code4, from, info);
  else if (protocol === PROTO_TCP) tcpError(ns, b, inner, inside, type4, code4, from, info);
  else if (protocol === PROTO_SCTP) sctpError(ns, b, inner, inside, type4, code4);
}

/** What sockets are told, in ICMPv4's numbers (icmpv6_err_convert comes to the same errnos). */
function asIcmpv4(type: number, code: number): readonly [type: number, code: number] {
  switch (type) {
    case icmpv6.DEST_UNREACH:
      return [icmpv4.DEST_UNREACH, UNREACH[code] ?? icmpv4.HOST_UNREACH];
    case icmpv6.PKT_TOOBIG:
      return [icmpv4.DEST_UNREACH, icmpv4.FRAG_NEEDED];
    case icmpv6.TIME_EXCEED:
      return [icmpv4.TIME_EXCEEDED, code];
    default:
      return [icmpv4.DEST_UNREACH, icmpv4.PROT_UNREACH];
  }
}

const UNREACH: Readonly<Record<number, number>> = {
  [icmpv6.NOROUTE]: icmpv4.NET_UNREACH,
  [icmpv6.ADM_PROHIBITED]: icmpv4.PKT_FILTERED,
  [icmpv6.PORT_UNREACH]: icmpv4.PORT_UNREACH,
};
