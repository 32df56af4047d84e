import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as bytes from "./bytes.ts";
import { bytes as arbitraryBytes, dirty, holds } from "./fixtures/arbitrary.ts";

describe("bytes", () => {
  it("reads big-endian and unsigned", () => {
    const b = Uint8Array.of(0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa);
    expect(bytes.u8(b, 1)).toBe(0xfe);
    expect(bytes.u16(b, 1)).toBe(0xfefd);
    expect(bytes.u24(b, 1)).toBe(0xfefdfc);
    expect(bytes.u32(b, 0)).toBe(0xfffefdfc);
    expect(bytes.u48(b, 0)).toBe(0xfffefdfcfbfa);
    expect(bytes.u16Le(b, 1)).toBe(0xfdfe);
    expect(bytes.u32Le(b, 0)).toBe(0xfcfdfeff);
  });

  it.each([
    ["U8", 1, bytes.setU8, bytes.u8],
    ["U16", 2, bytes.setU16, bytes.u16],
    ["U24", 3, bytes.setU24, bytes.u24],
    ["U32", 4, bytes.setU32, bytes.u32],
    ["U48", 6, bytes.setU48, bytes.u48],
    ["U16Le", 2, bytes.setU16Le, bytes.u16Le],
    ["U32Le", 4, bytes.setU32Le, bytes.u32Le],
  ] as const)("set%s writes what the reader reads and not one octet more", (_name, width, set, get) => {
    holds(
      fc.property(fc.integer({ min: 0, max: 2 ** (8 * width) - 1 }), fc.nat(5), (v, o) => {
        const b = dirty(16);
        set(b, o, v);
        expect(get(b, o)).toBe(v);
        for (let i = 0; i < 16; i++) if (i < o || i >= o + width) expect(b[i]).toBe(0xa5);
      }),
    );
  });

  it("copies between arrays of any length", () => {
    holds(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), fc.nat(20), (src, srcOff, dstOff) => {
        const from = Math.min(srcOff, src.length);
        const len = src.length - from;
        const dst = dirty(dstOff + len + 3);
        bytes.copy(dst, dstOff, src, from, len);
        expect([...dst]).toEqual([...dirty(dstOff), ...src.slice(from), 0xa5, 0xa5, 0xa5]);
      }),
    );
  });

  it("copies within one array as if through a second one", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 200 }), fc.nat(20), fc.nat(20), (b, from, to) => {
        const len = b.length - 20;
        const want = Uint8Array.from(b);
        want.set(b.slice(from, from + len), to);
        bytes.copy(b, to, b, from, len);
        expect([...b]).toEqual([...want]);
      }),
    );
  });

  it("compares ranges", () => {
    const a = Uint8Array.of(1, 2, 3, 4);
    const b = Uint8Array.of(9, 2, 3, 9);
    expect(bytes.equal(a, 1, b, 1, 2)).toBe(true);
    expect(bytes.equal(a, 1, b, 1, 3)).toBe(false);
    expect(bytes.equal(a, 0, b, 0, 0)).toBe(true);
  });

  it("fills a range and nothing around it", () => {
    holds(
      fc.property(arbitraryBytes, fc.nat(9), (b, before) => {
        const all = new Uint8Array(before + b.length + 2);
        bytes.fill(all, before, b.length, 7);
        expect([...all]).toEqual([...new Uint8Array(before), ...new Uint8Array(b.length).fill(7), 0, 0]);
      }),
    );
  });

  it("sums twenty octets as it sums any number of them", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 40 }), (b) => {
        const off = b.length - 20;
        let words = 0;
        for (let i = off; i < b.length; i += 2) words += bytes.u16(b, i);
        expect(bytes.wordSum20(b, off)).toBe(words);
        expect(bytes.wordSum(b, off, 20)).toBe(words);
        expect(bytes.wordSum(b, off, 19)).toBe(words - bytes.u8(b, b.length - 1));
      }),
    );
  });
});
