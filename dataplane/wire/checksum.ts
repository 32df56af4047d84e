/**
 * The Internet checksum: RFC 1071 sums, RFC 1624 incremental updates (equation 3), pseudo-headers of IPv4
 * (RFC 793, RFC 768) and IPv6 (RFC 8200 section 8.1).
 *
 * A sum that is under way is a number below 2^32; `fold` brings it to sixteen bits and `finish` gives the
 * value for the header. Sums over several pieces add up only if every piece but the last has an even length.
 */

import { setU16, u16, wordSum } from "./bytes.ts";

/** Pieces of this size keep every intermediate below 2^32 whatever the bytes are. */
const PIECE = 0x1_0000;

/** Adds the octets of `b` to a sum under way. An odd last octet counts as the high half of a word. */
export function sum(b: Uint8Array, off: number, len: number, initial: number): number {
  let acc = fold(initial);
  while (len > PIECE) {
    acc = fold(acc + wordSum(b, off, PIECE));
    off += PIECE;
    len -= PIECE;
  }
  return acc + wordSum(b, off, len);
}

/** To sixteen bits, carries added back in. */
export function fold(s: number): number {
  const once = (s >>> 16) + (s & 0xffff);
  return (once >>> 16) + (once & 0xffff);
}

/** The checksum that goes into the header. */
export function finish(s: number): number {
  return ~fold(s) & 0xffff;
}

/** `len` is the length of the transport header and its payload, in octets. */
export function pseudo4(src: number, dst: number, proto: number, len: number): number {
  return (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + proto + len;
}

/** The two addresses are read from the packet at their offsets. */
export function pseudo6(b: Uint8Array, srcOff: number, dstOff: number, proto: number, len: number): number {
  let s = (len >>> 16) + (len & 0xffff) + proto;
  for (let i = 0; i < 16; i += 2) s += u16(b, srcOff + i) + u16(b, dstOff + i);
  return s;
}

/** The checksum after one 16-bit field of what it covers changed from `old` to `now`. */
export function update16(check: number, old: number, now: number): number {
  return finish((~check & 0xffff) + (~old & 0xffff) + now);
}

/** The checksum after a 32-bit field changed, such as an IPv4 address. */
export function update32(check: number, old: number, now: number): number {
  return finish((~check & 0xffff) + (~(old >>> 16) & 0xffff) + (~old & 0xffff) + (now >>> 16) + (now & 0xffff));
}

/** Writes the checksum over `len` octets at `off` into the field at `at`, which lies at an even distance inside. */
export function fillAt(b: Uint8Array, at: number, off: number, len: number, initial: number): void {
  setU16(b, at, 0);
  setU16(b, at, finish(sum(b, off, len, initial)));
}

/** Over a range that holds its own checksum: is it right? */
export function verifies(b: Uint8Array, off: number, len: number, initial: number): boolean {
  return fold(sum(b, off, len, initial)) === 0xffff;
}
