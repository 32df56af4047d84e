/**
 * ICMPv6 errors about a packet (RFC 4443 section 2.4, icmp6_send of net/ipv6/icmp.c): never about an error, a redirect or
 * what had many receivers; limited in rate but for packet too big; quoting as much as fits 1280 octets.
 */

import type { Dst } from "../fib/route.ts";
import { attachCt } from "../netfilter/conntrack-entry.ts";
import type { NetNs } from "../netns/netns.ts";
import { PACKET_HOST, type Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { isMulticastKey6, key6At, octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { UNSPECIFIED6 } from "../wire/ipv6-addr.ts";
import * as ndisc from "../wire/ndisc.ts";
import { localOut6, sourceFor6 } from "./output.ts";

const WHOLE = 128;

/** The packet stays the caller's. `info` is the second 32-bit word: the MTU, or where a field is wrong. */
export function icmp6Send(ns: NetNs, skb: Skb, type: number, code: number, info: number): void {
  const { buf: b, network: at } = skb;
  if (ns.icmp6Sending) return;
  const tooBig = type === icmpv6.PKT_TOOBIG;
  const source = key6At(b, at + ipv6.SRC);
  const address = key6At(b, at + ipv6.DST);
  if ((skb.pktType !== PACKET_HOST || isMulticastKey6(address)) && !tooBig) return;
  if (isMulticastKey6(source) || ipv6.srcEquals(b, at, UNSPECIFIED6)) return;
  const th = ipv6.transportOffset(b, at, skb.end);
  if (th >= 0 && ipv6.transportProtocol(b, at, skb.end) === PROTO_ICMPV6) {
    if (skb.end - th < 1 || icmpv6.isError(b, th) || icmpv6.type(b, th) === ndisc.REDIRECT) return;
  }
  const dst = ns.fib.dst(source);
  if (dst.type === "none") return;
  if (!tooBig && dst.type !== "local" && !ns.peers.allowError(source, ns.world.loop.time, costOf(ns, dst))) return;
  const from = ns.fib.isLocal(address) ? address : sourceFor6(dst);
  if (from === 0) return;
  const quote = Math.min(skb.end - at, ipv6.MIN_MTU - ipv6.HEADER_LEN - icmpv6.HEADER_LEN);
  const len = icmpv6.HEADER_LEN + quote;
  const error = ns.world.pool.alloc(ipv6.HEADER_LEN + len);
  const eb = error.buf;
  error.network = error.data;
  error.transport = error.data + ipv6.HEADER_LEN;
  error.end = error.transport + len;
  icmpv6.write(eb, error.transport, type, code, info);
  copy(eb, error.transport + icmpv6.HEADER_LEN, b, at, quote);
  ipv6.write(eb, error.network, len, PROTO_ICMPV6, ns.sysctls.hopLimit6, octets6(from), octets6(source), 0, 0);
  icmpv6.fillChecksum(eb, error.transport, len, error.network);
  error.dst = dst;
  attachCt(error, skb);
  if (skb.trace !== null) {
    error.trace = skb.trace.answer(ns, error);
    error.trace?.report(ns, error, { step: "socket", text: icmpv6.format({ type, code, rest: info }) });
  }
  icmp6Out(ns, error);
}

/** Milliseconds that an error counts for; less where the route is that of a wider network (icmpv6_xrlim_allow). */
function costOf(ns: NetNs, dst: Dst): number {
  const bits = WHOLE - (dst.route?.len ?? WHOLE);
  return ns.sysctls.icmpRatelimit6 / 2 ** (bits >> 5);
}

/** While one ICMPv6 message is on its way out no other is sent, such as one about the first (icmpv6_xmit_lock). */
export function icmp6Out(ns: NetNs, skb: Skb): void {
  ns.icmp6Sending = true;
  localOut6(ns, skb);
  ns.icmp6Sending = false;
}
