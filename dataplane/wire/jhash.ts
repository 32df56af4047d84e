/** The kernel's hash of octets (include/linux/jhash.h, B. Jenkins' lookup3), on a little-endian machine. */

import { u8 } from "./bytes.ts";

const GOLDEN = 0xdeadbeef;

function rol(x: number, n: number): number {
  return (x << n) | (x >>> (32 - n));
}

function le32(b: Uint8Array, at: number): number {
  return u8(b, at) | (u8(b, at + 1) << 8) | (u8(b, at + 2) << 16) | (u8(b, at + 3) << 24);
}

/** Of the first `length` octets, a signed 32-bit integer. The twelve octets behind them become zeros. */
export function jhash(octets: Uint8Array, length: number, seed: number): number {
  let a = (GOLDEN + length + seed) | 0;
  let b = a;
  let c = a;
  let at = 0;
  let left = length;
  octets.fill(0, length, length + 12);
  while (left > 12) {
    a = (a + le32(octets, at)) | 0;
    b = (b + le32(octets, at + 4)) | 0;
    c = (c + le32(octets, at + 8)) | 0;
    a = ((a - c) ^ rol(c, 4)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rol(a, 6)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rol(b, 8)) | 0;
    b = (b + a) | 0;
    a = ((a - c) ^ rol(c, 16)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rol(a, 19)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rol(b, 4)) | 0;
    b = (b + a) | 0;
    at += 12;
    left -= 12;
  }
  if (left === 0) return c;
  a = (a + le32(octets, at)) | 0;
  b = (b + le32(octets, at + 4)) | 0;
  c = (c + le32(octets, at + 8)) | 0;
  c = ((c ^ b) - rol(b, 14)) | 0;
  a = ((a ^ c) - rol(c, 11)) | 0;
  b = ((b ^ a) - rol(a, 25)) | 0;
  c = ((c ^ b) - rol(b, 16)) | 0;
  a = ((a ^ c) - rol(c, 4)) | 0;
  b = ((b ^ a) - rol(a, 14)) | 0;
  c = ((c ^ b) - rol(b, 24)) | 0;
  return c;
}
