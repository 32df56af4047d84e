/**
 * Reads and writes in place, big-endian unless the name ends in Le: the only file that indexes raw bytes.
 *
 * Nothing here checks bounds. A protocol's `check` runs once, on entry to its layer, and proves that
 * every later read lies inside the packet; a read past the end of the array gives a meaningless number,
 * never an exception.
 */

/** Up to this many octets a plain loop beats a call into the engine (a loop costs 1-2 ns an octet, `set` of a subarray 50). */
const SMALL_COPY = 24;

export function u8(b: Uint8Array, o: number): number {
  return b[o] as number;
}

export function u16(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 8) | (b[o + 1] as number);
}

export function u24(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 16) | ((b[o + 1] as number) << 8) | (b[o + 2] as number);
}

/** Signed: it needs no heap number, whatever its value. */
export function i32(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 24) | ((b[o + 1] as number) << 16) | ((b[o + 2] as number) << 8) | (b[o + 3] as number);
}

/** Unsigned: 0 to 4294967295. */
export function u32(b: Uint8Array, o: number): number {
  return (
    (((b[o] as number) << 24) | ((b[o + 1] as number) << 16) | ((b[o + 2] as number) << 8) | (b[o + 3] as number)) >>> 0
  );
}

/** 48 bits fit a double exactly. */
export function u48(b: Uint8Array, o: number): number {
  return u16(b, o) * 0x1_0000_0000 + u32(b, o + 2);
}

export function setU8(b: Uint8Array, o: number, v: number): void {
  b[o] = v;
}

export function setU16(b: Uint8Array, o: number, v: number): void {
  b[o] = v >>> 8;
  b[o + 1] = v;
}

export function setU24(b: Uint8Array, o: number, v: number): void {
  b[o] = v >>> 16;
  b[o + 1] = v >>> 8;
  b[o + 2] = v;
}

export function setU32(b: Uint8Array, o: number, v: number): void {
  b[o] = v >>> 24;
  b[o + 1] = v >>> 16;
  b[o + 2] = v >>> 8;
  b[o + 3] = v;
}

export function setU48(b: Uint8Array, o: number, v: number): void {
  setU16(b, o, Math.floor(v / 0x1_0000_0000));
  setU32(b, o + 2, v >>> 0);
}

/** Little-endian, for capture files. */
export function u16Le(b: Uint8Array, o: number): number {
  return (b[o] as number) | ((b[o + 1] as number) << 8);
}

/** Little-endian and unsigned, for capture files. */
export function u32Le(b: Uint8Array, o: number): number {
  return (u16Le(b, o) | (u16Le(b, o + 2) << 16)) >>> 0;
}

export function setU16Le(b: Uint8Array, o: number, v: number): void {
  b[o] = v;
  b[o + 1] = v >>> 8;
}

export function setU32Le(b: Uint8Array, o: number, v: number): void {
  setU16Le(b, o, v);
  setU16Le(b, o + 2, v >>> 16);
}

/** Copies `len` octets. Both may be the same array, and the two ranges may then overlap. */
export function copy(dst: Uint8Array, dstOff: number, src: Uint8Array, srcOff: number, len: number): void {
  if (dst === src) {
    dst.copyWithin(dstOff, srcOff, srcOff + len);
  } else if (len <= SMALL_COPY) {
    for (let i = 0; i < len; i++) dst[dstOff + i] = src[srcOff + i] as number;
  } else if (srcOff === 0 && len === src.length) {
    dst.set(src, dstOff);
  } else {
    dst.set(src.subarray(srcOff, srcOff + len), dstOff);
  }
}

export function equal(a: Uint8Array, aOff: number, b: Uint8Array, bOff: number, len: number): boolean {
  for (let i = 0; i < len; i++) if (a[aOff + i] !== b[bOff + i]) return false;
  return true;
}

export function fill(b: Uint8Array, o: number, len: number, v: number): void {
  if (len <= SMALL_COPY) for (let i = 0; i < len; i++) b[o + i] = v;
  else b.fill(v, o, o + len);
}

/**
 * Sum of the big-endian 16-bit words of a range; an odd last octet counts as the high half of a word. Exact up to
 * 64 KiB, where the sum still fits 32 bits.
 *
 * The hot loop of checksum.ts. It stands here because it indexes: built on `u8` it is as fast only while the engine
 * inlines all sixteen calls, and ten times slower when it does not. High and low octets are summed apart, which
 * needs no shift per word and keeps both sums small integers.
 */
export function wordSum(b: Uint8Array, o: number, len: number): number {
  let hi = 0;
  let lo = 0;
  let i = o;
  for (const end = o + (len & ~15); i < end; i += 16) {
    hi +=
      (b[i] as number) +
      (b[i + 2] as number) +
      (b[i + 4] as number) +
      (b[i + 6] as number) +
      (b[i + 8] as number) +
      (b[i + 10] as number) +
      (b[i + 12] as number) +
      (b[i + 14] as number);
    lo +=
      (b[i + 1] as number) +
      (b[i + 3] as number) +
      (b[i + 5] as number) +
      (b[i + 7] as number) +
      (b[i + 9] as number) +
      (b[i + 11] as number) +
      (b[i + 13] as number) +
      (b[i + 15] as number);
  }
  for (const end = o + (len & ~1); i < end; i += 2) {
    hi += b[i] as number;
    lo += b[i + 1] as number;
  }
  if ((len & 1) !== 0) hi += b[i] as number;
  return hi * 256 + lo;
}

/** wordSum of twenty octets: an IPv4 header without options, which every hop checks. */
export function wordSum20(b: Uint8Array, o: number): number {
  const hi =
    (b[o] as number) +
    (b[o + 2] as number) +
    (b[o + 4] as number) +
    (b[o + 6] as number) +
    (b[o + 8] as number) +
    (b[o + 10] as number) +
    (b[o + 12] as number) +
    (b[o + 14] as number) +
    (b[o + 16] as number) +
    (b[o + 18] as number);
  const lo =
    (b[o + 1] as number) +
    (b[o + 3] as number) +
    (b[o + 5] as number) +
    (b[o + 7] as number) +
    (b[o + 9] as number) +
    (b[o + 11] as number) +
    (b[o + 13] as number) +
    (b[o + 15] as number) +
    (b[o + 17] as number) +
    (b[o + 19] as number);
  return (hi << 8) + lo;
}
