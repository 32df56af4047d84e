/** What ipvs asks of a packet and does with it, by family (struct ip_vs_iphdr, and the halves of ip_vs_xmit.c). */
import type { NetDev } from "../dev/netdev.ts";
import { nfPass } from "../ip/hook.ts";
import { output } from "../ip/output.ts";
import { nfPass6 } from "../ip6/hook.ts";
import { output as output6 } from "../ip6/output.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { ETH_P_IPV6 } from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { key6At } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";

export function isSix(skb: Skb): boolean {
  return skb.protocol === ETH_P_IPV6;
}

/** Of a header in the packet; addresses are signed 32-bit integers, of IPv6 their keys. */
export function srcOf(b: Uint8Array, at: number, six: boolean): number {
  return six ? key6At(b, at + ipv6.SRC) : ipv4.srcKey(b, at);
}

export function dstOf(b: Uint8Array, at: number, six: boolean): number {
  return six ? key6At(b, at + ipv6.DST) : ipv4.dstKey(b, at);
}

export function protoOf(skb: Skb): number {
  const { buf: b, network: at } = skb;
  return isSix(skb) ? ipv6.transportProtocol(b, at, skb.end) : ipv4.protocol(b, at);
}

/** Whether a packet has ports: TCP, UDP or SCTP, whole or the first fragment. */
export function ported(skb: Skb): boolean {
  const proto = protoOf(skb);
  if (proto !== ipv4.PROTO_TCP && proto !== ipv4.PROTO_UDP && proto !== ipv4.PROTO_SCTP) return false;
  return isFirst(skb) && skb.end - skb.transport >= 8;
}

function isFirst(skb: Skb): boolean {
  const { buf: b, network: at } = skb;
  return (isSix(skb) ? ipv6.fragmentOffset(b, at, skb.end) : ipv4.fragmentOffset(b, at)) === 0;
}

export function pass(ns: NetNs, hook: number, skb: Skb, input: NetDev | null, out: NetDev | null): boolean {
  return isSix(skb) ? nfPass6(ns, hook, skb, input, out) : nfPass(ns, hook, skb, input, out);
}

/** Out, by `skb.dst`. */
export function sendOn(ns: NetNs, skb: Skb): void {
  if (isSix(skb)) output6(ns, skb);
  else output(ns, skb);
}

/** Time to live, or hop limit: false where it is over, which the sender is told. */
export function lessHops(ns: NetNs, skb: Skb): boolean {
  const { buf: b, network: at } = skb;
  if (isSix(skb)) {
    if (ipv6.hopLimit(b, at) > 1) {
      ipv6.decHopLimit(b, at);
      return true;
    }
    ns.handlers.icmp6Error(ns, skb, icmpv6.TIME_EXCEED, icmpv6.EXC_HOPLIMIT, 0);
    return false;
  }
  if (ipv4.ttl(b, at) > 1) {
    ipv4.decTtl(b, at);
    return true;
  }
  ns.handlers.icmpError(ns, skb, icmpv4.TIME_EXCEEDED, icmpv4.EXC_TTL, 0);
  return false;
}

/** No destination can take it. */
export function unreachable(ns: NetNs, skb: Skb): void {
  if (isSix(skb)) ns.handlers.icmp6Error(ns, skb, icmpv6.DEST_UNREACH, icmpv6.PORT_UNREACH, 0);
  else ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.PORT_UNREACH, 0);
}

/** It does not fit and must not be cut. */
export function tooBig(ns: NetNs, skb: Skb, mtu: number): void {
  if (isSix(skb)) ns.handlers.icmp6Error(ns, skb, icmpv6.PKT_TOOBIG, 0, mtu);
  else ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.FRAG_NEEDED, mtu);
}

/** Where the packet that an ICMP error quotes begins, if its ports are there; -1 for anything else. */
export function quotedAt(skb: Skb): number {
  const { buf: b, transport: th, end } = skb;
  const six = isSix(skb);
  if (protoOf(skb) !== (six ? ipv4.PROTO_ICMPV6 : ipv4.PROTO_ICMP) || !isFirst(skb)) return -1;
  const inner = th + icmpv4.HEADER_LEN;
  const head = six ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
  if (end - inner < head + 8 || !(six ? icmpv6.isError(b, th) : icmpv4.isError(b, th))) return -1;
  if (ipv4.version(b, inner) !== (six ? 6 : 4)) return -1;
  const offset = six ? ipv6.fragmentOffset(b, inner, end) : ipv4.fragmentOffset(b, inner);
  const ports = portsAt(b, inner, end, six);
  return offset !== 0 || ports < 0 || end - ports < 8 ? -1 : inner;
}

/** Where the ports of a quoted packet are. */
export function portsAt(b: Uint8Array, inner: number, end: number, six: boolean): number {
  return six ? ipv6.transportOffset(b, inner, end) : inner + ipv4.headerLen(b, inner);
}
