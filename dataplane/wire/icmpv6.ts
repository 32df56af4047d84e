/**
 * ICMPv6 (RFC 4443; the kernel's net/ipv6/icmp.c).
 *
 *    0      1      2          4                8
 *    | type | code | checksum | rest of header | data, or the packet that caused the error …
 *
 * The checksum covers the IPv6 pseudo-header. Neighbor discovery is in ndisc.ts. Left out: MLD, node information.
 */

import { setU8, setU16, setU32, u8, u16, u32 } from "./bytes.ts";
import { fillAt, pseudo6, verifies } from "./checksum.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { PROTO_ICMPV6 } from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";

/** Octets from the start of the ICMPv6 header. */
export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
export const REST = 4;
export const HEADER_LEN = 8;

/** Types; below 128 they report errors. */
export const DEST_UNREACH = 1;
export const PKT_TOOBIG = 2;
export const TIME_EXCEED = 3;
export const PARAMPROB = 4;
export const ECHO_REQUEST = 128;
export const ECHO_REPLY = 129;

/** Codes of DEST_UNREACH. */
export const NOROUTE = 0;
export const ADM_PROHIBITED = 1;
export const NOT_NEIGHBOUR = 2;
export const ADDR_UNREACH = 3;
export const PORT_UNREACH = 4;
export const POLICY_FAIL = 5;
export const REJECT_ROUTE = 6;

/** Code of PARAMPROB: a next header that nobody here knows. */
export const UNKNOWN_NEXT_HEADER = 1;

/** Codes of TIME_EXCEED. */
export const EXC_HOPLIMIT = 0;
export const EXC_FRAGTIME = 1;

export function type(b: Uint8Array, off: number): number {
  return u8(b, off + TYPE);
}

export function code(b: Uint8Array, off: number): number {
  return u8(b, off + CODE);
}

export function checksum(b: Uint8Array, off: number): number {
  return u16(b, off + CHECKSUM);
}

export function restOfHeader(b: Uint8Array, off: number): number {
  return u32(b, off + REST);
}

/** Of an echo message. */
export function id(b: Uint8Array, off: number): number {
  return u16(b, off + REST);
}

/** Of an echo message. */
export function seq(b: Uint8Array, off: number): number {
  return u16(b, off + REST + 2);
}

/** Of PKT_TOOBIG, in octets of IP. */
export function mtu(b: Uint8Array, off: number): number {
  return u32(b, off + REST);
}

export function setType(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + TYPE, v);
}

export function setCode(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + CODE, v);
}

export function setChecksum(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + CHECKSUM, v);
}

export function setRestOfHeader(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + REST, v);
}

export function setId(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + REST, v);
}

export function setSeq(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + REST + 2, v);
}

/** A header with checksum 0. */
export function write(b: Uint8Array, off: number, type: number, code: number, rest: number): void {
  setU8(b, off + TYPE, type);
  setU8(b, off + CODE, code);
  setU16(b, off + CHECKSUM, 0);
  setU32(b, off + REST, rest);
}

/** `len` is header and data; addresses are read from the IPv6 header at `ipOff`. */
export function fillChecksum(b: Uint8Array, off: number, len: number, ipOff: number): void {
  fillAt(b, off + CHECKSUM, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_ICMPV6, len));
}

export function verify(b: Uint8Array, off: number, len: number, ipOff: number): boolean {
  return verifies(b, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_ICMPV6, len));
}

export function isError(b: Uint8Array, off: number): boolean {
  return u8(b, off + TYPE) < 128;
}

/** Length only; `verify` looks at the checksum. */
export function check(_b: Uint8Array, off: number, end: number): DropReasonCode {
  return end - off < HEADER_LEN ? DropReason.PKT_TOO_SMALL : NOT_DROPPED;
}

export type Repr = { readonly type: number; readonly code: number; readonly rest: number };

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return { type: type(b, off), code: code(b, off), rest: restOfHeader(b, off) };
}

/** Leaves the checksum 0 for fillChecksum, once the data is in place. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.type, r.code, r.rest);
  return HEADER_LEN;
}

const unreachable: readonly string[] = [
  "no route",
  "administratively prohibited",
  "beyond scope",
  "unreachable address",
  "unreachable port",
  "source address failed policy",
  "reject route",
];

export function format(r: Repr): string {
  switch (r.type) {
    case ECHO_REQUEST:
    case ECHO_REPLY:
      return `ICMP6 echo ${r.type === ECHO_REPLY ? "reply" : "request"}, id ${r.rest >>> 16}, seq ${r.rest & 0xffff}`;
    case DEST_UNREACH:
      return `ICMP6 destination unreachable, ${unreachable[r.code] ?? `code ${r.code}`}`;
    case PKT_TOOBIG:
      return `ICMP6 packet too big, mtu ${r.rest}`;
    case TIME_EXCEED:
      return r.code === EXC_FRAGTIME ? "ICMP6 time exceeded for reassembly" : "ICMP6 time exceeded in-transit";
    case PARAMPROB:
      return `ICMP6 parameter problem, code ${r.code} - octet ${r.rest}`;
    default:
      return `ICMP6 type ${r.type}, code ${r.code}`;
  }
}
