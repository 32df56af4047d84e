/**
 * ICMP errors about a packet, RFC 1812 section 4.3.2 and net/ipv4/icmp.c (icmp_send): never about an ICMP error, a fragment
 * that is not the first, a broadcast or multicast; limited in rate; quoting as much of the packet as fits 576 octets.
 */
import { attachCt } from "../netfilter/conntrack-entry.ts";
import type { NetNs } from "../netns/netns.ts";
import { PACKET_HOST, type Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { localOut, sourceFor } from "./output.ts";

/** The longest error message, in octets of IP. */
const MAX_LEN = 576;
/** Precedence "internetwork control", which errors carry besides the low bits of what they quote. */
const PREC_INTERNETCONTROL = 0xc0;

/** The packet stays the caller's. `info` is the second 32-bit word of the header: the MTU, or a gateway. */
export function icmpSend(ns: NetNs, skb: Skb, type: number, code: number, info: number): void {
  const b = skb.buf;
  const at = skb.network;
  const source = ipv4.src(b, at);
  const address = ipv4.dst(b, at);
  if (ns.icmpSending || skb.pktType !== PACKET_HOST || ipv4.fragmentOffset(b, at) !== 0) return;
  if (address >>> 28 === 14 || address === 0xffffffff || source === 0 || source >>> 28 === 14) return;
  const head = ipv4.headerLen(b, at);
  if (ipv4.protocol(b, at) === ipv4.PROTO_ICMP && mayBeError(b, at + head, skb.end)) return;
  const dst = ns.fib.dst(source);
  if (dst.type === "none" || dst.type === "broadcast") return;
  const limited = type === icmpv4.DEST_UNREACH ? code !== icmpv4.FRAG_NEEDED : type !== icmpv4.REDIRECT;
  if (limited && dst.type !== "local" && !ns.peers.allowError(source, ns.world.loop.time)) return;
  const ours = ns.fib.dst(address).type === "local";
  const from = ours ? address : sourceFor(dst);
  if (from === 0) return;

  const quote = Math.min(skb.end - at, MAX_LEN - ipv4.HEADER_LEN - icmpv4.HEADER_LEN);
  const len = icmpv4.HEADER_LEN + quote;
  const error = ns.world.pool.alloc(ipv4.HEADER_LEN + len);
  const eb = error.buf;
  error.network = error.data;
  error.transport = error.data + ipv4.HEADER_LEN;
  error.end = error.transport + len;
  icmpv4.write(eb, error.transport, type, code, info);
  copy(eb, error.transport + icmpv4.HEADER_LEN, b, at, quote);
  icmpv4.fillChecksum(eb, error.transport, len);
  const tos = (ipv4.tos(b, at) & 0x1e) | PREC_INTERNETCONTROL;
  const id = ns.takeIpId();
  const ttl = ns.sysctls.defaultTtl;
  ipv4.write(eb, error.network, ipv4.HEADER_LEN + len, id, 0, ttl, ipv4.PROTO_ICMP, from as Ipv4Addr, source, tos);
  error.dst = dst;
  attachCt(error, skb);
  // A redirect is advice on the way: the packet goes on, and its answer is still to come.
  if (skb.trace !== null && type !== icmpv4.REDIRECT) {
    error.trace = skb.trace.answer(ns, error);
    error.trace?.report(ns, error, { step: "socket", text: icmpv4.format({ type, code, rest: info }) });
  }
  icmpOut(ns, error);
}

/** A message whose type is not there, or not known, may be an error. */
function mayBeError(b: Uint8Array, at: number, end: number): boolean {
  return at >= end || icmpv4.type(b, at) > icmpv4.MAX_TYPE || icmpv4.isError(b, at);
}

/** While one ICMP message is on its way out no other is sent, such as one about the first (icmp_xmit_lock). */
export function icmpOut(ns: NetNs, skb: Skb): void {
  ns.icmpSending = true;
  localOut(ns, skb);
  ns.icmpSending = false;
}
