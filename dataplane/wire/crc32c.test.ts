import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CRC32C_INIT, crc32c, crc32cUpdate } from "./crc32c.ts";
import { bytes, holds } from "./fixtures/arbitrary.ts";

describe("CRC-32C", () => {
  it("gives the check value of the nine digits", () => {
    expect(crc32c(new TextEncoder().encode("123456789"), 0, 9)).toBe(0xe306_9283);
  });

  it.each([
    ["32 octets of zeros", new Uint8Array(32), 0x8a91_36aa],
    ["32 octets of ones", new Uint8Array(32).fill(0xff), 0x62a8_ab43],
    ["32 octets that count up", Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd_794e],
  ])("gives the value of RFC 3720 for %s", (_what, b, crc) => {
    expect(crc32c(b, 0, b.length)).toBe(crc);
  });

  it("is the same in pieces", () => {
    holds(
      fc.property(bytes, fc.nat(200), (b, at) => {
        const cut = Math.min(at, b.length);
        const first = crc32cUpdate(CRC32C_INIT, b, 0, cut);
        expect(~crc32cUpdate(first, b, cut, b.length - cut) >>> 0).toBe(crc32c(b, 0, b.length));
      }),
    );
  });
});
