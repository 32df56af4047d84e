/**
 * The SCTP common header and the head of its first chunk (RFC 9260).
 *
 *    0             2                  4                  8         12           13      14
 *    | source port | destination port | verification tag | CRC32c  | chunk type | flags | length | …
 *
 * The CRC stands in the header with its lowest octet first. It covers no pseudo-header, so NAT of addresses
 * leaves it alone and NAT of ports does not. Left out: what is inside the chunks.
 */

import { setU8, setU16, setU32, u8, u16, u32 } from "./bytes.ts";
import { CRC32C_INIT, crc32cUpdate } from "./crc32c.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";

/** Octets from the start of the common header. */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const VERIFICATION_TAG = 4;
export const CHECKSUM = 8;
/** The common header. */
export const HEADER_LEN = 12;
export const CHUNK_TYPE = 12;
export const CHUNK_FLAGS = 13;
export const CHUNK_LEN = 14;
/** Common header and the head of one chunk. */
export const MIN_LEN = 16;

/** Chunk types. */
export const DATA = 0;
export const INIT = 1;
export const INIT_ACK = 2;
export const SACK = 3;
export const HEARTBEAT = 4;
export const HEARTBEAT_ACK = 5;
export const ABORT = 6;
export const SHUTDOWN = 7;
export const SHUTDOWN_ACK = 8;
export const ERROR = 9;
export const COOKIE_ECHO = 10;
export const COOKIE_ACK = 11;
export const SHUTDOWN_COMPLETE = 14;

export function srcPort(b: Uint8Array, off: number): number {
  return u16(b, off + SRC_PORT);
}

export function dstPort(b: Uint8Array, off: number): number {
  return u16(b, off + DST_PORT);
}

export function verificationTag(b: Uint8Array, off: number): number {
  return u32(b, off + VERIFICATION_TAG);
}

/** As the four octets stand, first octet highest. */
export function checksum(b: Uint8Array, off: number): number {
  return u32(b, off + CHECKSUM);
}

/** Type of the first chunk. */
export function chunkType(b: Uint8Array, off: number): number {
  return u8(b, off + CHUNK_TYPE);
}

export function chunkFlags(b: Uint8Array, off: number): number {
  return u8(b, off + CHUNK_FLAGS);
}

/** Head and value of the first chunk without padding, in octets. */
export function chunkLen(b: Uint8Array, off: number): number {
  return u16(b, off + CHUNK_LEN);
}

export function setSrcPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + SRC_PORT, v);
}

export function setDstPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + DST_PORT, v);
}

export function setVerificationTag(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + VERIFICATION_TAG, v);
}

export function setChecksum(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + CHECKSUM, v);
}

/** CRC over `len` octets with the checksum field taken as zero, in the octet order of the field. */
function crcOf(b: Uint8Array, off: number, len: number): number {
  let c = crc32cUpdate(CRC32C_INIT, b, off, CHECKSUM);
  c = crc32cUpdate(c, zeros, 0, 4);
  c = ~crc32cUpdate(c, b, off + HEADER_LEN, len - HEADER_LEN);
  return ((c << 24) | ((c & 0xff00) << 8) | ((c >>> 8) & 0xff00) | (c >>> 24)) >>> 0;
}

const zeros: Uint8Array = new Uint8Array(4);

/** `len` is header and all chunks. */
export function fillChecksum(b: Uint8Array, off: number, len: number): void {
  setU32(b, off + CHECKSUM, crcOf(b, off, len));
}

export function verify(b: Uint8Array, off: number, len: number): boolean {
  return checksum(b, off) === crcOf(b, off, len);
}

export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < MIN_LEN) return DropReason.PKT_TOO_SMALL;
  const len = chunkLen(b, off);
  return len < 4 || HEADER_LEN + len > end - off ? DropReason.PKT_TOO_SMALL : NOT_DROPPED;
}

export type Repr = {
  readonly srcPort: number;
  readonly dstPort: number;
  readonly verificationTag: number;
  readonly chunkType: number;
  readonly chunkFlags: number;
  readonly chunkLen: number;
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return {
    srcPort: srcPort(b, off),
    dstPort: dstPort(b, off),
    verificationTag: verificationTag(b, off),
    chunkType: chunkType(b, off),
    chunkFlags: chunkFlags(b, off),
    chunkLen: chunkLen(b, off),
  };
}

/** Common header and chunk head; leaves the checksum 0 for fillChecksum, once the chunks are in place. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  setSrcPort(b, off, r.srcPort);
  setDstPort(b, off, r.dstPort);
  setVerificationTag(b, off, r.verificationTag);
  setChecksum(b, off, 0);
  setU8(b, off + CHUNK_TYPE, r.chunkType);
  setU8(b, off + CHUNK_FLAGS, r.chunkFlags);
  setU16(b, off + CHUNK_LEN, r.chunkLen);
  return MIN_LEN;
}

const chunkNames: ReadonlyMap<number, string> = new Map([
  [DATA, "DATA"],
  [INIT, "INIT"],
  [INIT_ACK, "INIT ACK"],
  [SACK, "SACK"],
  [HEARTBEAT, "HB REQ"],
  [HEARTBEAT_ACK, "HB ACK"],
  [ABORT, "ABORT"],
  [SHUTDOWN, "SHUTDOWN"],
  [SHUTDOWN_ACK, "SHUTDOWN ACK"],
  [ERROR, "ERROR"],
  [COOKIE_ECHO, "COOKIE ECHO"],
  [COOKIE_ACK, "COOKIE ACK"],
  [SHUTDOWN_COMPLETE, "SHUTDOWN COMPLETE"],
]);

export function format(r: Repr): string {
  return `SCTP ${r.srcPort} > ${r.dstPort}, [${chunkNames.get(r.chunkType) ?? `chunk ${r.chunkType}`}]`;
}
