/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), the checksum of SCTP (RFC 9260 appendix A). */

import { u8 } from "./bytes.ts";

const table: Int32Array = new Int32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0x82f6_3b78 : c >>> 1;
  table[n] = c;
}

/** The register before the first octet. */
export const CRC32C_INIT: number = -1;

/** Feeds octets to a register that is under way. */
export function crc32cUpdate(register: number, b: Uint8Array, off: number, len: number): number {
  let c = register;
  for (let i = off; i < off + len; i++) c = (table[(c ^ u8(b, i)) & 0xff] as number) ^ (c >>> 8);
  return c;
}

/** Unsigned. */
export function crc32c(b: Uint8Array, off: number, len: number): number {
  return ~crc32cUpdate(CRC32C_INIT, b, off, len) >>> 0;
}
