/**
 * Rewriting one side of a packet, with its checksums (nf_nat_proto.c): the address in the IP header, the port or identifier
 * behind it. A partial transport checksum holds the sum of the pseudo-header only, so ports are not in it yet.
 */
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { setU16, u16 } from "../wire/bytes.ts";
import { fold, update16, update32 } from "../wire/checksum.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { ipv4Of } from "../wire/ipv4-addr.ts";
import * as sctp from "../wire/sctp.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { mangle6 } from "./nat-mangle6.ts";
import { MANIP_DST, MANIP_SRC } from "./nat-manip.ts";

export { MANIP_DST, MANIP_SRC };

/**
 * Gives the packet whose IP header is at `at` a new source or destination; `port` is the new port, or identifier of an
 * ICMP query. `end` is where its octets end: of a quoted packet there may be eight after the header.
 */
export function mangle(skb: Skb, at: number, end: number, manip: number, address: number, port: number): void {
  const b = skb.buf;
  if (ipv4.version(b, at) === 6) {
    mangle6(skb, at, end, manip, address, port);
    return;
  }
  const old = manip === MANIP_SRC ? ipv4.src(b, at) : ipv4.dst(b, at);
  const now = ipv4Of(address);
  const partial = skb.csum === CHECKSUM_PARTIAL && at === skb.network;
  if (ipv4.fragmentOffset(b, at) === 0) {
    const th = at + ipv4.headerLen(b, at);
    switch (ipv4.protocol(b, at)) {
      case ipv4.PROTO_TCP:
        tcpPort(b, th, end, manip, old, now, port, partial);
        break;
      case ipv4.PROTO_UDP:
        udpPort(b, th, end, manip, old, now, port, partial);
        break;
      case ipv4.PROTO_ICMP:
        icmpId(b, th, end, port);
        break;
      case ipv4.PROTO_SCTP:
        sctpPort(b, th, end, manip, port);
        break;
    }
  }
  if (old === now) return;
  if (manip === MANIP_SRC) ipv4.setSrc(b, at, now);
  else ipv4.setDst(b, at, now);
  ipv4.setHeaderChecksum(b, at, update32(ipv4.headerChecksum(b, at), old, now));
}

/** The sum of a pseudo-header, not complemented, after an address changed. */
function partialAddress(sum: number, old: number, now: number): number {
  return fold(sum + (~(old >>> 16) & 0xffff) + (~old & 0xffff) + (now >>> 16) + (now & 0xffff));
}

function tcpPort(
  b: Uint8Array,
  th: number,
  end: number,
  manip: number,
  old: number,
  now: number,
  port: number,
  partial: boolean,
): void {
  if (end - th < 4) return;
  const at = th + (manip === MANIP_SRC ? tcp.SRC_PORT : tcp.DST_PORT);
  const before = u16(b, at);
  setU16(b, at, port);
  if (end - th < tcp.HEADER_LEN) return;
  const sum = tcp.checksum(b, th);
  tcp.setChecksum(b, th, partial ? partialAddress(sum, old, now) : update16(update32(sum, old, now), before, port));
}

function udpPort(
  b: Uint8Array,
  th: number,
  end: number,
  manip: number,
  old: number,
  now: number,
  port: number,
  partial: boolean,
): void {
  if (end - th < udp.HEADER_LEN) return;
  const at = th + (manip === MANIP_SRC ? udp.SRC_PORT : udp.DST_PORT);
  const before = u16(b, at);
  setU16(b, at, port);
  const sum = udp.checksum(b, th);
  if (partial) udp.setChecksum(b, th, partialAddress(sum, old, now));
  else if (sum !== 0) udp.setChecksum(b, th, update16(update32(sum, old, now), before, port) || 0xffff);
}

function icmpId(b: Uint8Array, th: number, end: number, id: number): void {
  if (end - th < icmpv4.HEADER_LEN) return;
  const type = icmpv4.type(b, th);
  const query = type === 8 || type === 0 || (type >= 13 && type <= 18);
  if (!query) return;
  const before = icmpv4.id(b, th);
  if (before === id) return;
  icmpv4.setChecksum(b, th, update16(icmpv4.checksum(b, th), before, id));
  icmpv4.setId(b, th, id);
}

function sctpPort(b: Uint8Array, th: number, end: number, manip: number, port: number): void {
  if (end - th < sctp.CHECKSUM) return;
  const at = th + (manip === MANIP_SRC ? sctp.SRC_PORT : sctp.DST_PORT);
  if (u16(b, at) === port) return;
  setU16(b, at, port);
  if (end - th >= sctp.HEADER_LEN) sctp.fillChecksum(b, th, end - th);
}
