/**
 * The IEEE 802.1Q tag, as it stands between the Ethernet source address and the type of the payload.
 *
 *    etherType 0x8100 | priority 3 bits, drop eligible 1 bit, VID 12 bits | etherType of the payload
 *
 * Offsets count from the octet after the Ethernet header: the tag control information.
 * Left out: pushing and popping, which move the addresses and belong to the device.
 */

import { setU16, u16 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { etherTypeName } from "./ethernet.ts";

/** Octets from the start of the tag control information. */
export const TCI = 0;
export const ETHER_TYPE = 2;
export const HEADER_LEN = 4;

export const VID_MAX = 4094;

export function tci(b: Uint8Array, off: number): number {
  return u16(b, off + TCI);
}

export function vid(b: Uint8Array, off: number): number {
  return u16(b, off + TCI) & 0xfff;
}

export function priority(b: Uint8Array, off: number): number {
  return u16(b, off + TCI) >>> 13;
}

export function dropEligible(b: Uint8Array, off: number): boolean {
  return (u16(b, off + TCI) & 0x1000) !== 0;
}

export function etherType(b: Uint8Array, off: number): number {
  return u16(b, off + ETHER_TYPE);
}

export function setTci(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + TCI, v);
}

export function setVid(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + TCI, (u16(b, off + TCI) & 0xf000) | (v & 0xfff));
}

export function setEtherType(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + ETHER_TYPE, v);
}

export function check(_b: Uint8Array, off: number, end: number): DropReasonCode {
  return end - off < HEADER_LEN ? DropReason.HDR_TRUNC : NOT_DROPPED;
}

export type Repr = {
  readonly vid: number;
  readonly priority: number;
  readonly dropEligible: boolean;
  readonly etherType: number;
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return {
    vid: vid(b, off),
    priority: priority(b, off),
    dropEligible: dropEligible(b, off),
    etherType: etherType(b, off),
  };
}

export function emit(r: Repr, b: Uint8Array, off: number): number {
  setTci(b, off, (r.priority << 13) | (r.dropEligible ? 0x1000 : 0) | r.vid);
  setEtherType(b, off, r.etherType);
  return HEADER_LEN;
}

export function format(r: Repr): string {
  return `vlan ${r.vid}, p ${r.priority}${r.dropEligible ? ", DEI" : ""}, ${etherTypeName(r.etherType)}`;
}
