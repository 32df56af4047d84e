import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { setU16, setU32, u16, u32 } from "./bytes.ts";
import { finish, fold, pseudo4, pseudo6, sum, update16, update32, verifies } from "./checksum.ts";
import { holds, u16s, u32s } from "./fixtures/arbitrary.ts";

/** RFC 1071 as it is told: add the words, and bring every carry round at once. */
function plainSum(b: Uint8Array, initial: bigint): number {
  let acc = initial;
  for (let i = 0; i < b.length; i += 2) acc += BigInt((b[i] ?? 0) * 256 + (b[i + 1] ?? 0));
  while (acc > 0xffffn) acc = (acc & 0xffffn) + (acc >> 16n);
  return Number(acc);
}

describe("checksum", () => {
  it("sums the example of RFC 1071", () => {
    const b = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(fold(sum(b, 0, b.length, 0))).toBe(0xddf2);
    expect(finish(sum(b, 0, b.length, 0))).toBe(0x220d);
  });

  it("equals the plain sum for any bytes, offset and start", () => {
    holds(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(40), u32s, (b, off, initial) => {
        const from = Math.min(off, b.length);
        expect(fold(sum(b, from, b.length - from, initial))).toBe(plainSum(b.slice(from), BigInt(initial)));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([0xffff, 0x1_0000, 0x1_0001, 0x2_0000, 0x3_0003])("holds for %d octets of ones", (len) => {
    const b = new Uint8Array(len).fill(0xff);
    expect(fold(sum(b, 0, len, 0xffff_ffff))).toBe(plainSum(b, 0xffff_ffffn));
  });

  it("adds up over pieces of even length", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 99 }), fc.nat(10), (b, half) => {
        const first = sum(b, 0, 2 * half, 0);
        expect(fold(sum(b, 2 * half, b.length - 2 * half, first))).toBe(fold(sum(b, 0, b.length, 0)));
      }),
    );
  });

  it("updated for one word equals the full one", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), u16s, fc.nat(18), (b, now, word) => {
        b[39] = 1; // RFC 1624: data is never all zero
        const check = finish(sum(b, 0, 40, 0));
        const old = u16(b, 2 * word);
        setU16(b, 2 * word, now);
        expect(update16(check, old, now)).toBe(finish(sum(b, 0, 40, 0)));
      }),
    );
  });

  it("updated for two words equals the full one", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), u32s, fc.nat(17), (b, now, word) => {
        b[39] = 1;
        const check = finish(sum(b, 0, 40, 0));
        const old = u32(b, 2 * word);
        setU32(b, 2 * word, now);
        expect(update32(check, old, now)).toBe(finish(sum(b, 0, 40, 0)));
      }),
    );
  });

  it("keeps zero where RFC 1624 has its example", () => {
    expect(update16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it("sums pseudo-headers like the octets they stand for", () => {
    holds(
      fc.property(u32s, u32s, fc.nat(255), u16s, (src, dst, proto, len) => {
        const b = new Uint8Array(12);
        setU32(b, 0, src);
        setU32(b, 4, dst);
        setU16(b, 8, proto);
        setU16(b, 10, len);
        expect(fold(pseudo4(src, dst, proto, len))).toBe(plainSum(b, 0n));
      }),
    );
    holds(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), fc.nat(255), u32s, (packet, proto, len) => {
        const b = Uint8Array.from([...packet.slice(8, 40), 0, 0, 0, 0, 0, 0, 0, 0]);
        setU32(b, 32, len);
        setU32(b, 36, proto);
        expect(fold(pseudo6(packet, 8, 24, proto, len))).toBe(plainSum(b, 0n));
      }),
    );
  });

  it("verifies what it filled, and notices a flipped bit", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 60 }), fc.nat(1000), (b, bit) => {
        setU16(b, 0, 0);
        setU16(b, 0, finish(sum(b, 0, b.length, 0)));
        expect(verifies(b, 0, b.length, 0)).toBe(true);
        const at = bit % (8 * b.length);
        b[at >> 3] = (b[at >> 3] ?? 0) ^ (1 << (at & 7));
        expect(verifies(b, 0, b.length, 0)).toBe(false);
      }),
    );
  });
});
