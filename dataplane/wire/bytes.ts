/**
 * Reads and writes in place, big-endian unless the name ends in Le: the only file that indexes raw bytes.
 *
 * Nothing here checks bounds. A protocol's `check` runs once, on entry to its layer, and proves that
 * every later read lies inside the packet; a read past the end of the array gives a meaningless number,
 * never an exception.
 */

/** Below this many octets a plain loop beats a call into the engine. */
const SMALL_COPY = 64;

export function u8(b: Uint8Array, o: number): number {
  return b[o] as number;
}

export function u16(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 8) | (b[o + 1] as number);
}

export function u24(b: Uint8Array, o: number): number {
  return ((b[o] as number) << 16) | ((b[o + 1] as number) << 8) | (b[o + 2] as number);
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
