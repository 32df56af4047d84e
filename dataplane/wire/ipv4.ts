/**
 * The IPv4 header (RFC 791; ToS octet as RFC 2474 and RFC 3168; checks in the order of the kernel's ip_rcv_core).
 *
 *    0        1        2                 4                 6
 *    | 4 |ihl | tos    | total length    | identification  | 0 DF MF | fragment offset / 8 |
 *    8        9        10                12                16                20
 *    | ttl    | proto  | header checksum | source          | destination     | options …
 *
 * IPIP (protocol 4, RFC 2003) has no header of its own: the payload is another IPv4 header.
 * Options are carried as octets; none is interpreted.
 */

import { i32, setU8, setU16, setU32, u8, u16, u32, wordSum20 } from "./bytes.ts";
import { finish, sum } from "./checksum.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { formatIpv4, type Ipv4Addr } from "./ipv4-addr.ts";

/** Octets from the start of the IPv4 header. */
export const VERSION_IHL = 0;
export const TOS = 1;
export const TOTAL_LEN = 2;
export const ID = 4;
export const FLAGS_FRAG = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const HEADER_CHECKSUM = 10;
export const SRC = 12;
export const DST = 16;
/** Without options. */
export const HEADER_LEN = 20;
export const MAX_HEADER_LEN = 60;

/** Bits of the flags and fragment offset field. */
export const FLAG_DF = 0x4000;
export const FLAG_MF = 0x2000;
const OFFSET_MASK = 0x1fff;

export const PROTO_ICMP = 1;
export const PROTO_IGMP = 2;
export const PROTO_IPIP = 4;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const PROTO_IPV6 = 41;
export const PROTO_GRE = 47;
export const PROTO_ESP = 50;
export const PROTO_ICMPV6 = 58;
export const PROTO_SCTP = 132;

export function version(b: Uint8Array, off: number): number {
  return u8(b, off + VERSION_IHL) >>> 4;
}

/** In octets, 20 to 60. */
export function headerLen(b: Uint8Array, off: number): number {
  return (u8(b, off + VERSION_IHL) & 15) << 2;
}

export function tos(b: Uint8Array, off: number): number {
  return u8(b, off + TOS);
}

/** Header and payload, in octets. */
export function totalLen(b: Uint8Array, off: number): number {
  return u16(b, off + TOTAL_LEN);
}

export function id(b: Uint8Array, off: number): number {
  return u16(b, off + ID);
}

/** The raw field: flags and fragment offset. */
export function flagsFrag(b: Uint8Array, off: number): number {
  return u16(b, off + FLAGS_FRAG);
}

export function dontFragment(b: Uint8Array, off: number): boolean {
  return (u16(b, off + FLAGS_FRAG) & FLAG_DF) !== 0;
}

export function moreFragments(b: Uint8Array, off: number): boolean {
  return (u16(b, off + FLAGS_FRAG) & FLAG_MF) !== 0;
}

/** In octets, a multiple of 8. */
export function fragmentOffset(b: Uint8Array, off: number): number {
  return (u16(b, off + FLAGS_FRAG) & OFFSET_MASK) << 3;
}

/** Is this a piece of a larger packet (any but a whole one)? */
export function isFragment(b: Uint8Array, off: number): boolean {
  return (u16(b, off + FLAGS_FRAG) & (FLAG_MF | OFFSET_MASK)) !== 0;
}

export function ttl(b: Uint8Array, off: number): number {
  return u8(b, off + TTL);
}

export function protocol(b: Uint8Array, off: number): number {
  return u8(b, off + PROTOCOL);
}

export function headerChecksum(b: Uint8Array, off: number): number {
  return u16(b, off + HEADER_CHECKSUM);
}

export function src(b: Uint8Array, off: number): Ipv4Addr {
  return u32(b, off + SRC) as Ipv4Addr;
}

export function dst(b: Uint8Array, off: number): Ipv4Addr {
  return u32(b, off + DST) as Ipv4Addr;
}

/**
 * The source as a signed 32-bit integer. A call that V8 does not inline returns an address above 2^31 in a heap number;
 * the packet path compares and looks up by these.
 */
export function srcKey(b: Uint8Array, off: number): number {
  return i32(b, off + SRC);
}

/** The destination as a signed 32-bit integer; see srcKey. */
export function dstKey(b: Uint8Array, off: number): number {
  return i32(b, off + DST);
}

export function setTos(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + TOS, v);
}

export function setTotalLen(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + TOTAL_LEN, v);
}

export function setId(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + ID, v);
}

export function setFlagsFrag(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + FLAGS_FRAG, v);
}

export function setTtl(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + TTL, v);
}

export function setProtocol(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + PROTOCOL, v);
}

export function setHeaderChecksum(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + HEADER_CHECKSUM, v);
}

/** Leaves the checksum as it is; see checksum.update32. */
export function setSrc(b: Uint8Array, off: number, v: Ipv4Addr): void {
  setU32(b, off + SRC, v);
}

/** Leaves the checksum as it is; see checksum.update32. */
export function setDst(b: Uint8Array, off: number, v: Ipv4Addr): void {
  setU32(b, off + DST, v);
}

/**
 * One less TTL, with the checksum kept right. The TTL is the high octet of its word, so the checksum grows
 * by 0x0100 with the carry brought round; 0xffff becomes 0, as in the kernel's ip_decrease_ttl.
 */
export function decTtl(b: Uint8Array, off: number): void {
  const c = u16(b, off + HEADER_CHECKSUM) + 0x100;
  setU16(b, off + HEADER_CHECKSUM, c >= 0xffff ? c + 1 : c);
  setU8(b, off + TTL, u8(b, off + TTL) - 1);
}

export function fillChecksum(b: Uint8Array, off: number): void {
  setU16(b, off + HEADER_CHECKSUM, 0);
  setU16(b, off + HEADER_CHECKSUM, finish(headerSum(b, off)));
}

function headerSum(b: Uint8Array, off: number): number {
  const s = wordSum20(b, off);
  const len = headerLen(b, off);
  return len === HEADER_LEN ? s : sum(b, off + HEADER_LEN, len - HEADER_LEN, s);
}

/** A header without options, checksum included. `totalLen` counts the header too. */
export function write(
  b: Uint8Array,
  off: number,
  totalLen: number,
  id: number,
  flagsFrag: number,
  ttl: number,
  protocol: number,
  src: Ipv4Addr,
  dst: Ipv4Addr,
  tos: number,
): void {
  setU8(b, off + VERSION_IHL, 0x45);
  setU8(b, off + TOS, tos);
  setU16(b, off + TOTAL_LEN, totalLen);
  setU16(b, off + ID, id);
  setU16(b, off + FLAGS_FRAG, flagsFrag);
  setU8(b, off + TTL, ttl);
  setU8(b, off + PROTOCOL, protocol);
  setU32(b, off + SRC, src);
  setU32(b, off + DST, dst);
  fillChecksum(b, off);
}

/** `end` is the offset after the last octet; octets after the total length (Ethernet padding) are no fault. */
export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  const len = end - off;
  if (len < HEADER_LEN) return DropReason.IP_INHDR;
  const hlen = headerLen(b, off);
  if (version(b, off) !== 4 || hlen < HEADER_LEN || hlen > len) return DropReason.IP_INHDR;
  if (finish(headerSum(b, off)) !== 0) return DropReason.IP_CSUM;
  const total = totalLen(b, off);
  if (total > len) return DropReason.PKT_TOO_SMALL;
  return total < hlen ? DropReason.IP_INHDR : NOT_DROPPED;
}

export type Repr = {
  readonly tos: number;
  readonly totalLen: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  readonly fragmentOffset: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly src: Ipv4Addr;
  readonly dst: Ipv4Addr;
  /** Raw octets, a multiple of 4, at most 40. */
  readonly options: readonly number[];
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  const options: number[] = [];
  for (let i = HEADER_LEN; i < headerLen(b, off); i++) options.push(u8(b, off + i));
  return {
    tos: tos(b, off),
    totalLen: totalLen(b, off),
    id: id(b, off),
    dontFragment: dontFragment(b, off),
    moreFragments: moreFragments(b, off),
    fragmentOffset: fragmentOffset(b, off),
    ttl: ttl(b, off),
    protocol: protocol(b, off),
    src: src(b, off),
    dst: dst(b, off),
    options,
  };
}

/** Writes the header with its checksum and returns its length. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  const flags = (r.dontFragment ? FLAG_DF : 0) | (r.moreFragments ? FLAG_MF : 0) | (r.fragmentOffset >>> 3);
  write(b, off, r.totalLen, r.id, flags, r.ttl, r.protocol, r.src, r.dst, r.tos);
  for (const [i, octet] of r.options.entries()) setU8(b, off + HEADER_LEN + i, octet);
  const len = HEADER_LEN + r.options.length;
  setU8(b, off + VERSION_IHL, 0x40 | (len >>> 2));
  fillChecksum(b, off);
  return len;
}

const protocolNames: ReadonlyMap<number, string> = new Map([
  [PROTO_ICMP, "ICMP"],
  [PROTO_IGMP, "IGMP"],
  [PROTO_IPIP, "IPIP"],
  [PROTO_TCP, "TCP"],
  [PROTO_UDP, "UDP"],
  [PROTO_IPV6, "IPv6"],
  [PROTO_GRE, "GRE"],
  [PROTO_ESP, "ESP"],
  [PROTO_ICMPV6, "ICMP6"],
  [PROTO_SCTP, "SCTP"],
]);

export function protocolName(protocol: number): string {
  return protocolNames.get(protocol) ?? `proto ${protocol}`;
}

export function format(r: Repr): string {
  const flags = `${r.dontFragment ? ", DF" : ""}${r.moreFragments ? ", MF" : ""}`;
  const frag = r.moreFragments || r.fragmentOffset > 0 ? `, offset ${r.fragmentOffset}` : "";
  const tosText = r.tos === 0 ? "" : `, tos 0x${r.tos.toString(16)}`;
  return `IP ${formatIpv4(r.src)} > ${formatIpv4(r.dst)}, ${protocolName(r.protocol)}, ttl ${r.ttl}, id ${r.id}${flags}${frag}${tosText}, length ${r.totalLen}`;
}
