/**
 * Whether a packet's transport checksum is right, as netfilter asks (nf_ip_checksum, net/netfilter/utils.c). Packets whose
 * checksum is known good, or still to be filled in, are not summed; a sum that was right is remembered.
 */
import { pseudo4, verifies } from "../wire/checksum.ts";
import * as ipv4 from "../wire/ipv4.ts";
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

/** What REJECT answers (nf_reject_verify_csum): of unknown protocols Linux takes the sum to be over all octets. */
export function answerable(skb: Skb): boolean {
  return ipv4.protocol(skb.buf, skb.network) === ipv4.PROTO_SCTP || verified(skb);
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
