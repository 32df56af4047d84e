/**
 * The IPv6 header (RFC 8200; checks in the order of the kernel's ip6_rcv_core).
 *
 *    0                           4                6             7           8         24             40
 *    | 6 | class | flow label    | payload length | next header | hop limit | source  | destination  |
 *
 * Of the extension headers that of fragments is read and written, the others are only walked over. Left out: jumbograms, and
 * the refusal of ::1 on a device that is not the loopback, which needs the device.
 */

import { copy, equal, setU8, setU16, setU32, u8, u16, u32 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { ADDR_LEN, formatIpv6, type Ipv6Addr, ipv6At } from "./ipv6-addr.ts";

/** Octets from the start of the IPv6 header. */
export const VERSION_CLASS_LABEL = 0;
export const PAYLOAD_LEN = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SRC = 8;
export const DST = 24;
export const HEADER_LEN = 40;

export const NEXT_HOP_BY_HOP = 0;
export const NEXT_ROUTING = 43;
export const NEXT_FRAGMENT = 44;
export const NEXT_NONE = 59;
export const NEXT_DEST_OPTIONS = 60;

/** The least MTU of a link that carries IPv6. */
export const MIN_MTU = 1280;

export function version(b: Uint8Array, off: number): number {
  return u8(b, off) >>> 4;
}

export function trafficClass(b: Uint8Array, off: number): number {
  return (u16(b, off) >>> 4) & 0xff;
}

export function flowLabel(b: Uint8Array, off: number): number {
  return u32(b, off) & 0xf_ffff;
}

/** Everything after the 40 octets of the header, extension headers included. */
export function payloadLen(b: Uint8Array, off: number): number {
  return u16(b, off + PAYLOAD_LEN);
}

export function nextHeader(b: Uint8Array, off: number): number {
  return u8(b, off + NEXT_HEADER);
}

export function hopLimit(b: Uint8Array, off: number): number {
  return u8(b, off + HOP_LIMIT);
}

/** A copy; on the hot path read the octets at SRC in place. */
export function src(b: Uint8Array, off: number): Ipv6Addr {
  return ipv6At(b, off + SRC);
}

/** A copy; on the hot path read the octets at DST in place. */
export function dst(b: Uint8Array, off: number): Ipv6Addr {
  return ipv6At(b, off + DST);
}

export function srcEquals(b: Uint8Array, off: number, a: Ipv6Addr): boolean {
  return equal(b, off + SRC, a, 0, ADDR_LEN);
}

export function dstEquals(b: Uint8Array, off: number, a: Ipv6Addr): boolean {
  return equal(b, off + DST, a, 0, ADDR_LEN);
}

export function setTrafficClass(b: Uint8Array, off: number, v: number): void {
  setU16(b, off, (u16(b, off) & 0xf00f) | ((v & 0xff) << 4));
}

export function setFlowLabel(b: Uint8Array, off: number, v: number): void {
  setU32(b, off, ((u32(b, off) & 0xfff0_0000) | (v & 0xf_ffff)) >>> 0);
}

export function setPayloadLen(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + PAYLOAD_LEN, v);
}

export function setNextHeader(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + NEXT_HEADER, v);
}

export function setHopLimit(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + HOP_LIMIT, v);
}

export function decHopLimit(b: Uint8Array, off: number): void {
  setU8(b, off + HOP_LIMIT, u8(b, off + HOP_LIMIT) - 1);
}

export function setSrc(b: Uint8Array, off: number, v: Ipv6Addr): void {
  copy(b, off + SRC, v, 0, ADDR_LEN);
}

export function setDst(b: Uint8Array, off: number, v: Ipv6Addr): void {
  copy(b, off + DST, v, 0, ADDR_LEN);
}

export function write(
  b: Uint8Array,
  off: number,
  payloadLen: number,
  nextHeader: number,
  hopLimit: number,
  src: Ipv6Addr,
  dst: Ipv6Addr,
  trafficClass: number,
  flowLabel: number,
): void {
  setU32(b, off, ((6 << 28) | (trafficClass << 20) | flowLabel) >>> 0);
  setU16(b, off + PAYLOAD_LEN, payloadLen);
  setU8(b, off + NEXT_HEADER, nextHeader);
  setU8(b, off + HOP_LIMIT, hopLimit);
  copy(b, off + SRC, src, 0, ADDR_LEN);
  copy(b, off + DST, dst, 0, ADDR_LEN);
}

function isExtension(header: number): boolean {
  return (
    header === NEXT_HOP_BY_HOP || header === NEXT_ROUTING || header === NEXT_DEST_OPTIONS || header === NEXT_FRAGMENT
  );
}

/** Octets of the extension header at `at`. */
function extensionLen(b: Uint8Array, at: number, header: number): number {
  return header === NEXT_FRAGMENT ? 8 : (u8(b, at + 1) + 1) << 3;
}

/** Offset of what follows the extension headers, or -1 if they run past the end. A non-first fragment stops at its data. */
export function transportOffset(b: Uint8Array, off: number, end: number): number {
  let header = nextHeader(b, off);
  let at = off + HEADER_LEN;
  while (isExtension(header)) {
    if (at + 8 > end) return -1;
    const len = extensionLen(b, at, header);
    const laterFragment = header === NEXT_FRAGMENT && (u16(b, at + 2) & 0xfff8) !== 0;
    header = u8(b, at);
    at += len;
    if (at > end) return -1;
    if (laterFragment) return at;
  }
  return at;
}

/** Protocol of what follows the extension headers, or -1 if they run past the end. */
export function transportProtocol(b: Uint8Array, off: number, end: number): number {
  let header = nextHeader(b, off);
  let at = off + HEADER_LEN;
  while (isExtension(header)) {
    if (at + 8 > end) return -1;
    const len = extensionLen(b, at, header);
    const laterFragment = header === NEXT_FRAGMENT && (u16(b, at + 2) & 0xfff8) !== 0;
    header = u8(b, at);
    at += len;
    if (at > end) return -1;
    if (laterFragment) return header;
  }
  return header;
}

/** Offset of the fragment header, or -1 if there is none. */
export function fragmentHeader(b: Uint8Array, off: number, end: number): number {
  let header = nextHeader(b, off);
  let at = off + HEADER_LEN;
  while (isExtension(header) && at + 8 <= end) {
    if (header === NEXT_FRAGMENT) return at;
    const len = extensionLen(b, at, header);
    header = u8(b, at);
    at += len;
  }
  return -1;
}

/** Octets of the fragment header; its fields are counted from its own start. */
export const FRAGMENT_HEADER_LEN = 8;
export const FRAGMENT_OFFSET = 2;
const FRAGMENT_ID = 4;

export function fragmentNext(b: Uint8Array, at: number): number {
  return u8(b, at);
}

export function moreFragments(b: Uint8Array, at: number): boolean {
  return (u16(b, at + FRAGMENT_OFFSET) & 1) !== 0;
}

export function fragmentId(b: Uint8Array, at: number): number {
  return u32(b, at + FRAGMENT_ID);
}

export function writeFragment(
  b: Uint8Array,
  at: number,
  next: number,
  offset: number,
  more: boolean,
  id: number,
): void {
  setU16(b, at, next << 8);
  setU16(b, at + FRAGMENT_OFFSET, offset | (more ? 1 : 0));
  setU32(b, at + FRAGMENT_ID, id);
}

/** Octets of the headers that every fragment keeps: those that routers on the way read (ip6_find_1stfragopt). */
export function unfragmentableLen(b: Uint8Array, off: number, end: number): number {
  let header = nextHeader(b, off);
  let at = off + HEADER_LEN;
  let routed = false;
  while (at + 8 <= end) {
    if (header === NEXT_ROUTING) routed = true;
    else if (header !== NEXT_HOP_BY_HOP && (header !== NEXT_DEST_OPTIONS || routed)) break;
    const len = extensionLen(b, at, header);
    header = u8(b, at);
    at += len;
  }
  return at - off;
}

/** Where the first `len` octets of a packet, all of them headers, name what follows them. */
function lastNextAt(b: Uint8Array, off: number, len: number): number {
  let place = off + NEXT_HEADER;
  let at = off + HEADER_LEN;
  while (at < off + len) {
    const own = extensionLen(b, at, u8(b, place));
    place = at;
    at += own;
  }
  return place;
}

export function lastNext(b: Uint8Array, off: number, len: number): number {
  return u8(b, lastNextAt(b, off, len));
}

export function setLastNext(b: Uint8Array, off: number, len: number, next: number): void {
  setU8(b, lastNextAt(b, off, len), next);
}

/** Octets from the start of the datagram, of a later fragment; 0 for a whole one or the first. */
export function fragmentOffset(b: Uint8Array, off: number, end: number): number {
  const at = fragmentHeader(b, off, end);
  return at < 0 ? 0 : u16(b, at + 2) & 0xfff8;
}

/** Whether a packet is a part of one; a fragment header in front of the whole of one does not make it so (RFC 6946). */
export function isFragment(b: Uint8Array, off: number, end: number): boolean {
  const at = fragmentHeader(b, off, end);
  return at >= 0 && (u16(b, at + FRAGMENT_OFFSET) & 0xfff9) !== 0;
}

export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < HEADER_LEN) return DropReason.IP_INHDR;
  if (version(b, off) !== 6) return DropReason.UNHANDLED_PROTO;
  if (u8(b, off + SRC) === 0xff) return DropReason.IP_INHDR; // multicast is never a source (RFC 4291, 2.7)
  return HEADER_LEN + payloadLen(b, off) > end - off ? DropReason.PKT_TOO_SMALL : NOT_DROPPED;
}

export type Repr = {
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly payloadLen: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly src: Ipv6Addr;
  readonly dst: Ipv6Addr;
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return {
    trafficClass: trafficClass(b, off),
    flowLabel: flowLabel(b, off),
    payloadLen: payloadLen(b, off),
    nextHeader: nextHeader(b, off),
    hopLimit: hopLimit(b, off),
    src: src(b, off),
    dst: dst(b, off),
  };
}

export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.payloadLen, r.nextHeader, r.hopLimit, r.src, r.dst, r.trafficClass, r.flowLabel);
  return HEADER_LEN;
}

export function format(r: Repr): string {
  const label = r.flowLabel === 0 ? "" : `, flowlabel 0x${r.flowLabel.toString(16).padStart(5, "0")}`;
  const cls = r.trafficClass === 0 ? "" : `, class 0x${r.trafficClass.toString(16)}`;
  return `IP6 ${formatIpv6(r.src)} > ${formatIpv6(r.dst)}, next-header ${r.nextHeader}, hlim ${r.hopLimit}${label}${cls}, payload length ${r.payloadLen}`;
}
