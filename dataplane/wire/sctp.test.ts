import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, u8s, u16s, u32s } from "./fixtures/arbitrary.ts";
import { SCTP_INIT } from "./fixtures/golden-frames.ts";
import * as sctp from "./sctp.ts";

const OFF = 34;
const repr: sctp.Repr = {
  srcPort: 40001,
  dstPort: 9999,
  verificationTag: 0,
  chunkType: sctp.INIT,
  chunkFlags: 0,
  chunkLen: 20,
};
const golden = SCTP_INIT.slice(OFF);

describe("SCTP", () => {
  it("reads the golden INIT", () => {
    expect(sctp.srcPort(SCTP_INIT, OFF)).toBe(40001);
    expect(sctp.dstPort(SCTP_INIT, OFF)).toBe(9999);
    expect(sctp.verificationTag(SCTP_INIT, OFF)).toBe(0);
    expect(sctp.checksum(SCTP_INIT, OFF)).toBe(0x3570_0870);
    expect(sctp.chunkType(SCTP_INIT, OFF)).toBe(sctp.INIT);
    expect(sctp.chunkFlags(SCTP_INIT, OFF)).toBe(0);
    expect(sctp.chunkLen(SCTP_INIT, OFF)).toBe(20);
    expect(sctp.verify(SCTP_INIT, OFF, 32)).toBe(true);
  });

  it("builds the golden header with setters", () => {
    const b = golden.slice();
    b.fill(0xa5, 0, 12);
    sctp.setSrcPort(b, 0, 40001);
    sctp.setDstPort(b, 0, 9999);
    sctp.setVerificationTag(b, 0, 0);
    sctp.setChecksum(b, 0, 0x3570_0870);
    expect(b).toEqual(golden);
  });

  it("parses the golden INIT", () => {
    expect(sctp.parse(SCTP_INIT, OFF, SCTP_INIT.length)).toEqual(repr);
  });

  it("emits the golden header over every octet, once the checksum is filled", () => {
    const b = golden.slice();
    b.fill(0xa5, 0, 16);
    expect(sctp.emit(repr, b, 0)).toBe(16);
    sctp.fillChecksum(b, 0, 32);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 32; len++) expect(sctp.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(sctp.check(golden, 0, 32)).toBe(0);
  });

  it("parses what it emits", () => {
    const reprs = fc.record({
      srcPort: u16s,
      dstPort: u16s,
      verificationTag: u32s,
      chunkType: u8s,
      chunkFlags: u8s,
      chunkLen: fc.integer({ min: 4, max: 40 }),
    });
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(52);
        sctp.emit(r, b, 0);
        expect(sctp.parse(b, 0, 52)).toEqual(r);
      }),
    );
  });

  it("verifies what it filled, and notices a flipped bit", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 99 }), fc.nat(10_000), (b, bit) => {
        sctp.fillChecksum(b, 0, b.length);
        expect(sctp.verify(b, 0, b.length)).toBe(true);
        const at = bit % (8 * b.length);
        b[at >> 3] = (b[at >> 3] ?? 0) ^ (1 << (at & 7));
        expect(sctp.verify(b, 0, b.length)).toBe(false);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        expect(sctp.parse(b, 0, b.length) === undefined).toBe(sctp.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(sctp.format(repr)).toBe("SCTP 40001 > 9999, [INIT]");
    expect(sctp.format({ ...repr, chunkType: 200 })).toBe("SCTP 40001 > 9999, [chunk 200]");
  });
});
