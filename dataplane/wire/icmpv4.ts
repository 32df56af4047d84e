/**
 * ICMP for IPv4 (RFC 792; next-hop MTU RFC 1191; codes RFC 1812; the kernel's net/ipv4/icmp.c).
 *
 *    0      1      2          4                8
 *    | type | code | checksum | rest of header | data, or the packet that caused the error …
 *
 * Left out: extensions of RFC 4884, the messages that nobody sends any more.
 */

import { setU8, setU16, setU32, u8, u16, u32 } from "./bytes.ts";
import { fillAt, verifies } from "./checksum.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";

/** Octets from the start of the ICMP header. */
export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
export const REST = 4;
export const HEADER_LEN = 8;

/** Types. */
export const ECHO_REPLY = 0;
export const DEST_UNREACH = 3;
export const SOURCE_QUENCH = 4;
export const REDIRECT = 5;
export const ECHO_REQUEST = 8;
export const TIME_EXCEEDED = 11;
export const PARAM_PROBLEM = 12;
export const TIMESTAMP = 13;
export const TIMESTAMP_REPLY = 14;
/** The highest type that the kernel knows (NR_ICMP_TYPES): address mask replies. */
export const MAX_TYPE = 18;

/** Codes of DEST_UNREACH. */
export const NET_UNREACH = 0;
export const HOST_UNREACH = 1;
export const PROT_UNREACH = 2;
export const PORT_UNREACH = 3;
export const FRAG_NEEDED = 4;
export const SR_FAILED = 5;
export const NET_UNKNOWN = 6;
export const HOST_UNKNOWN = 7;
export const HOST_ISOLATED = 8;
export const NET_ANO = 9;
export const HOST_ANO = 10;
export const NET_UNR_TOS = 11;
export const HOST_UNR_TOS = 12;
export const PKT_FILTERED = 13;
export const PREC_VIOLATION = 14;
export const PREC_CUTOFF = 15;

/** Codes of TIME_EXCEEDED. */
export const EXC_TTL = 0;
export const EXC_FRAGTIME = 1;

/** Codes of REDIRECT. */
export const REDIR_NET = 0;
export const REDIR_HOST = 1;

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

/** Of FRAG_NEEDED, in octets of IP. */
export function nextHopMtu(b: Uint8Array, off: number): number {
  return u16(b, off + REST + 2);
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

/** `len` is header and data. */
export function fillChecksum(b: Uint8Array, off: number, len: number): void {
  fillAt(b, off + CHECKSUM, off, len, 0);
}

export function verify(b: Uint8Array, off: number, len: number): boolean {
  return verifies(b, off, len, 0);
}

/** Does the message report an error about a packet that it quotes after its header? */
export function isErrorType(type: number): boolean {
  return (
    type === DEST_UNREACH ||
    type === SOURCE_QUENCH ||
    type === REDIRECT ||
    type === TIME_EXCEEDED ||
    type === PARAM_PROBLEM
  );
}

export function isError(b: Uint8Array, off: number): boolean {
  return isErrorType(type(b, off));
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
  "net unreachable",
  "host unreachable",
  "protocol unreachable",
  "port unreachable",
  "unreachable - need to frag",
  "source route failed",
  "net unknown",
  "host unknown",
  "source host isolated",
  "net administratively prohibited",
  "host administratively prohibited",
  "net unreachable for tos",
  "host unreachable for tos",
  "communication administratively prohibited",
  "host precedence violation",
  "precedence cutoff",
];

export function format(r: Repr): string {
  switch (r.type) {
    case ECHO_REQUEST:
    case ECHO_REPLY:
      return `ICMP echo ${r.type === ECHO_REPLY ? "reply" : "request"}, id ${r.rest >>> 16}, seq ${r.rest & 0xffff}`;
    case DEST_UNREACH: {
      const mtu = r.code === FRAG_NEEDED ? ` (mtu ${r.rest & 0xffff})` : "";
      return `ICMP ${unreachable[r.code] ?? `unreachable, code ${r.code}`}${mtu}`;
    }
    case TIME_EXCEEDED:
      return r.code === EXC_FRAGTIME ? "ICMP ip reassembly time exceeded" : "ICMP time exceeded in-transit";
    case REDIRECT:
      return `ICMP redirect, code ${r.code}`;
    case PARAM_PROBLEM:
      return `ICMP parameter problem - octet ${r.rest >>> 24}`;
    default:
      return `ICMP type ${r.type}, code ${r.code}`;
  }
}
