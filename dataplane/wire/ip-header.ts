/** The IP header of either family, chosen by the key of an address or by the version in the packet. */
import { wordSum } from "./bytes.ts";
import { pseudo4 } from "./checksum.ts";
import { type IpKey, isKey6, key6At, octets6 } from "./ip-key.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";

/** Octets of the header that a packet to this address gets. */
export function headerLenOf(address: IpKey): number {
  return isKey6(address) ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
}

/** Writes a header for `total` octets of IP. `id` and `df` are IPv4's. */
export function writeHeader(
  b: Uint8Array,
  at: number,
  total: number,
  proto: number,
  ttl: number,
  src: IpKey,
  dst: IpKey,
  tos: number,
  id: number,
  df: boolean,
): void {
  if (isKey6(dst)) ipv6.write(b, at, total - ipv6.HEADER_LEN, proto, ttl, octets6(src), octets6(dst), tos, 0);
  else ipv4.write(b, at, total, id, df ? ipv4.FLAG_DF : 0, ttl, proto, src, dst, tos);
}

/** Sum of the pseudo-header of a transport protocol (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function pseudo(src: IpKey, dst: IpKey, proto: number, len: number): number {
  if (!isKey6(dst)) return pseudo4(src, dst, proto, len);
  const [s, d] = [octets6(src), octets6(dst)];
  return wordSum(s, 0, s.length) + wordSum(d, 0, d.length) + (len >>> 16) + (len & 0xffff) + proto;
}

export function srcAt(b: Uint8Array, at: number): IpKey {
  return ipv4.version(b, at) === 4 ? ipv4.src(b, at) : key6At(b, at + ipv6.SRC);
}

export function dstAt(b: Uint8Array, at: number): IpKey {
  return ipv4.version(b, at) === 4 ? ipv4.dst(b, at) : key6At(b, at + ipv6.DST);
}
