/** Rewriting one side of an IPv6 packet: as nat-mangle.ts, with an address of eight words and no header checksum. */
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { setU16, u16 } from "../wire/bytes.ts";
import { fold, update16 } from "../wire/checksum.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { ADDR_LEN } from "../wire/ipv6-addr.ts";
import * as sctp from "../wire/sctp.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { MANIP_SRC } from "./nat-manip.ts";

/** `address` is a key. */
export function mangle6(skb: Skb, at: number, end: number, manip: number, address: number, port: number): void {
  const b = skb.buf;
  const source = manip === MANIP_SRC;
  const place = at + (source ? ipv6.SRC : ipv6.DST);
  const partial = skb.csum === CHECKSUM_PARTIAL && at === skb.network;
  const th = ipv6.transportOffset(b, at, end);
  const proto = th < 0 ? -1 : ipv6.transportProtocol(b, at, end);
  const now = octets6(address);
  switch (proto) {
    case PROTO_TCP:
      ported(b, th, end, th + tcp.CHECKSUM, source, place, now, port, partial);
      break;
    case PROTO_UDP:
      if (end - th >= udp.HEADER_LEN) {
        const sum = th + udp.CHECKSUM;
        const none = !partial && u16(b, sum) === 0;
        ported(b, th, end, sum, source, place, now, port, partial);
        // None stays none, which nobody takes over IPv6 (udp_manip_pkt); one that comes out as none is written the other way.
        if (none) setU16(b, sum, 0);
        else if (!partial && u16(b, sum) === 0) setU16(b, sum, 0xffff);
      }
      break;
    case PROTO_ICMPV6:
      icmpId(b, th, end, place, now, port);
      break;
    case PROTO_SCTP:
      if (end - th >= sctp.HEADER_LEN) {
        setU16(b, th + (source ? sctp.SRC_PORT : sctp.DST_PORT), port);
        sctp.fillChecksum(b, th, end - th);
      }
  }
  b.set(now, place);
}

function ported(
  b: Uint8Array,
  th: number,
  end: number,
  sum: number,
  source: boolean,
  place: number,
  now: Uint8Array,
  port: number,
  partial: boolean,
): void {
  if (end - th < 4) return;
  const at = th + (source ? 0 : 2);
  const before = u16(b, at);
  setU16(b, at, port);
  if (end < sum + 2) return;
  if (partial) setU16(b, sum, partialAddress(b, place, now, u16(b, sum)));
  else setU16(b, sum, update16(addressUpdate(b, place, now, u16(b, sum)), before, port));
}

/** Echo requests and replies have an identifier; the pseudo-header is in the sum of every message (RFC 4443 section 2.3). */
function icmpId(b: Uint8Array, th: number, end: number, place: number, now: Uint8Array, id: number): void {
  if (end - th < icmpv6.HEADER_LEN) return;
  let sum = addressUpdate(b, place, now, icmpv6.checksum(b, th));
  const type = icmpv6.type(b, th);
  if (type === icmpv6.ECHO_REQUEST || type === icmpv6.ECHO_REPLY) {
    sum = update16(sum, icmpv6.id(b, th), id);
    icmpv6.setId(b, th, id);
  }
  icmpv6.setChecksum(b, th, sum);
}

/** A checksum after the address at `place` becomes another. */
function addressUpdate(b: Uint8Array, place: number, now: Uint8Array, sum: number): number {
  let out = sum;
  for (let i = 0; i < ADDR_LEN; i += 2) out = update16(out, u16(b, place + i), u16(now, i));
  return out;
}

/** The sum of a pseudo-header, not complemented, after an address changed. */
function partialAddress(b: Uint8Array, place: number, now: Uint8Array, sum: number): number {
  let out = sum;
  for (let i = 0; i < ADDR_LEN; i += 2) out += (~u16(b, place + i) & 0xffff) + u16(now, i);
  return fold(out);
}
