/**
 * Ethernet II frames (IEEE 802.3 type encoding), without the frame check sequence.
 *
 *    0               6              12      14
 *    | destination   | source        | type  | payload …
 *
 * Left out: 802.3 length frames with LLC/SNAP, which an etherType below 0x600 announces. A tag is in vlan.ts.
 */

import { setU16, setU48, u16, u48 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { formatMac, type Mac } from "./mac-addr.ts";

/** Octets from the start of the frame. */
export const DST = 0;
export const SRC = 6;
export const ETHER_TYPE = 12;
export const HEADER_LEN = 14;

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021AD = 0x88a8;
/** The least payload of a frame on a real cable (60 octets without the check sequence); virtual links do not pad. */
export const MIN_PAYLOAD = 46;

export function dst(b: Uint8Array, off: number): Mac {
  return u48(b, off + DST) as Mac;
}

export function src(b: Uint8Array, off: number): Mac {
  return u48(b, off + SRC) as Mac;
}

export function etherType(b: Uint8Array, off: number): number {
  return u16(b, off + ETHER_TYPE);
}

export function setDst(b: Uint8Array, off: number, v: Mac): void {
  setU48(b, off + DST, v);
}

export function setSrc(b: Uint8Array, off: number, v: Mac): void {
  setU48(b, off + SRC, v);
}

export function setEtherType(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + ETHER_TYPE, v);
}

export function write(b: Uint8Array, off: number, dst: Mac, src: Mac, etherType: number): void {
  setU48(b, off + DST, dst);
  setU48(b, off + SRC, src);
  setU16(b, off + ETHER_TYPE, etherType);
}

/** `end` is the offset after the last octet. */
export function check(_b: Uint8Array, off: number, end: number): DropReasonCode {
  return end - off < HEADER_LEN ? DropReason.HDR_TRUNC : NOT_DROPPED;
}

export type Repr = { readonly dst: Mac; readonly src: Mac; readonly etherType: number };

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return { dst: dst(b, off), src: src(b, off), etherType: etherType(b, off) };
}

/** Returns the octets written. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.dst, r.src, r.etherType);
  return HEADER_LEN;
}

const typeNames: ReadonlyMap<number, string> = new Map([
  [ETH_P_IP, "IPv4"],
  [ETH_P_ARP, "ARP"],
  [ETH_P_8021Q, "802.1Q"],
  [ETH_P_8021AD, "802.1ad"],
  [ETH_P_IPV6, "IPv6"],
]);

export function etherTypeName(type: number): string {
  return typeNames.get(type) ?? `ethertype 0x${type.toString(16).padStart(4, "0")}`;
}

export function format(r: Repr): string {
  return `${formatMac(r.src)} > ${formatMac(r.dst)}, ${etherTypeName(r.etherType)}`;
}
