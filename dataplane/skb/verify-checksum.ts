/**
 * Whether a packet's transport checksum is right, as netfilter asks (nf_ip_checksum and nf_ip6_checksum, net/netfilter/
 * utils.c). Packets whose checksum is known good, or still to be filled in, are not summed; a sum that was right is
 * remembered.
 */
import { pseudo4, pseudo6, verifies } from "../wire/checksum.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as sctp from "../wire/sctp.ts";
import * as udp from "../wire/udp.ts";
import { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, type Skb } from "./skb.ts";

/** What conntrack lets in (nf_conntrack_checksum): of other protocols it does not look at the sum. */
export function trackable(skb: Skb): boolean {
  if (skb.csum !== CHECKSUM_NONE) return true;
  switch (ipv4.protocol(skb.buf, skb.network)) {
    case ipv4.PROTO_TCP:
    case ipv4.PROTO_UDP:
    case ipv4.PROTO_ICMP:
    case ipv4.PROTO_SCTP:
      return verified(skb);
    default:
      return true;
  }
}

/** The same of an IPv6 packet. A datagram without a sum is let in: its receiver will not take it. */
export function trackable6(skb: Skb, proto: number): boolean {
  if (skb.csum !== CHECKSUM_NONE) return true;
  switch (proto) {
    case ipv4.PROTO_UDP:
      return udp.checksum(skb.buf, skb.transport) === 0 || verified6(skb, proto);
    case ipv4.PROTO_TCP:
    case ipv4.PROTO_ICMPV6:
    case ipv4.PROTO_SCTP:
      return verified6(skb, proto);
    default:
      return true;
  }
}

/** What REJECT answers (nf_reject_verify_csum): of unknown protocols Linux takes the sum to be over all octets. */
export function answerable(skb: Skb): boolean {
  return ipv4.protocol(skb.buf, skb.network) === ipv4.PROTO_SCTP || verified(skb);
}

/** The same of an IPv6 packet (reject6_csum_ok): fragments but the first are not answered. */
export function answerable6(skb: Skb): boolean {
  if (skb.csum !== CHECKSUM_NONE) return true;
  const { buf: b, network: at, end } = skb;
  const proto = ipv6.transportProtocol(b, at, end);
  if (skb.transport >= end || ipv6.fragmentOffset(b, at, end) !== 0) return false;
  return proto === ipv4.PROTO_SCTP || verified6(skb, proto);
}

function verified6(skb: Skb, proto: number): boolean {
  const { buf: b, network: at, transport: th } = skb;
  const len = skb.end - th;
  if (proto === ipv4.PROTO_SCTP) return len >= sctp.HEADER_LEN && sctp.verify(b, th, len);
  if (!verifies(b, th, len, pseudo6(b, at + ipv6.SRC, at + ipv6.DST, proto, len))) return false;
  skb.csum = CHECKSUM_UNNECESSARY;
  return true;
}

function verified(skb: Skb): boolean {
  if (skb.csum !== CHECKSUM_NONE) return true;
  const b = skb.buf;
  const at = skb.network;
  const th = at + ipv4.headerLen(b, at);
  const len = skb.end - th;
  const proto = ipv4.protocol(b, at);
  if (proto === ipv4.PROTO_SCTP) return len >= sctp.HEADER_LEN && sctp.verify(b, th, len);
  if (proto === ipv4.PROTO_UDP && len >= udp.HEADER_LEN && udp.checksum(b, th) === 0) return true;
  const ported = proto === ipv4.PROTO_TCP || proto === ipv4.PROTO_UDP;
  const pseudo = ported ? pseudo4(ipv4.srcKey(b, at), ipv4.dstKey(b, at), proto, len) : 0;
  // The sum of a good IP header is the zero that is all ones, so that a payload of zeros is right, too.
  if (!verifies(b, th, len, ported ? pseudo : 0xffff)) return false;
  skb.csum = CHECKSUM_UNNECESSARY;
  return true;
}
