/**
 * UDP (RFC 768; over IPv6 RFC 8200 section 8.1; checks as the kernel's __udp4_lib_rcv).
 *
 *    0             2                  4        6          8
 *    | source port | destination port | length | checksum | payload …
 *
 * `check` looks at lengths only: whether a checksum must be verified depends on the device.
 * Left out: UDP-Lite.
 */

import { setU16, u16 } from "./bytes.ts";
import { finish, pseudo4, pseudo6, sum, verifies } from "./checksum.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import * as ipv6 from "./ipv6.ts";

/** Octets from the start of the UDP header. */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const LENGTH = 4;
export const CHECKSUM = 6;
export const HEADER_LEN = 8;

const PROTO_UDP = 17;

export function srcPort(b: Uint8Array, off: number): number {
  return u16(b, off + SRC_PORT);
}

export function dstPort(b: Uint8Array, off: number): number {
  return u16(b, off + DST_PORT);
}

/** Header and payload, in octets. */
export function length(b: Uint8Array, off: number): number {
  return u16(b, off + LENGTH);
}

/** 0 means that the sender computed none. */
export function checksum(b: Uint8Array, off: number): number {
  return u16(b, off + CHECKSUM);
}

export function setSrcPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + SRC_PORT, v);
}

export function setDstPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + DST_PORT, v);
}

export function setLength(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + LENGTH, v);
}

export function setChecksum(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + CHECKSUM, v);
}

/** A header with checksum 0. `length` counts the header too. */
export function write(b: Uint8Array, off: number, srcPort: number, dstPort: number, length: number): void {
  setU16(b, off + SRC_PORT, srcPort);
  setU16(b, off + DST_PORT, dstPort);
  setU16(b, off + LENGTH, length);
  setU16(b, off + CHECKSUM, 0);
}

/** A sum that comes out as 0 is sent as 0xffff, because 0 means none. */
function fillWith(b: Uint8Array, off: number, len: number, pseudo: number): void {
  setU16(b, off + CHECKSUM, 0);
  setU16(b, off + CHECKSUM, finish(sum(b, off, len, pseudo)) || 0xffff);
}

/** `len` is the UDP length, header and payload. */
export function fillChecksum4(b: Uint8Array, off: number, len: number, src: number, dst: number): void {
  fillWith(b, off, len, pseudo4(src, dst, PROTO_UDP, len));
}

/** Addresses are read from the IPv6 header at `ipOff`. */
export function fillChecksum6(b: Uint8Array, off: number, len: number, ipOff: number): void {
  fillWith(b, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_UDP, len));
}

/** True also if there is no checksum. */
export function verify4(b: Uint8Array, off: number, len: number, src: number, dst: number): boolean {
  return checksum(b, off) === 0 || verifies(b, off, len, pseudo4(src, dst, PROTO_UDP, len));
}

/** Over IPv6 a checksum is required. */
export function verify6(b: Uint8Array, off: number, len: number, ipOff: number): boolean {
  return (
    checksum(b, off) !== 0 && verifies(b, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_UDP, len))
  );
}

export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < HEADER_LEN) return DropReason.PKT_TOO_SMALL;
  const len = length(b, off);
  return len < HEADER_LEN || len > end - off ? DropReason.PKT_TOO_SMALL : NOT_DROPPED;
}

export type Repr = { readonly srcPort: number; readonly dstPort: number; readonly length: number };

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return { srcPort: srcPort(b, off), dstPort: dstPort(b, off), length: length(b, off) };
}

/** Leaves the checksum 0 for fillChecksum4 or fillChecksum6, once the payload is in place. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.srcPort, r.dstPort, r.length);
  return HEADER_LEN;
}

export function format(r: Repr): string {
  return `UDP ${r.srcPort} > ${r.dstPort}, length ${r.length - HEADER_LEN}`;
}
