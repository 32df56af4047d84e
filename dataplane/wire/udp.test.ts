import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { update16, update32 } from "./checksum.ts";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv4s, u16s } from "./fixtures/arbitrary.ts";
import { UDP4, UDP6 } from "./fixtures/golden-frames.ts";
import { ipv4 } from "./ipv4-addr.ts";
import * as udp from "./udp.ts";

const OFF = 34;
const IP6_OFF = 14;
const OFF6 = 54;
const SRC = ipv4("192.168.64.11");
const DST = ipv4("192.168.64.12");
const repr: udp.Repr = { srcPort: 38015, dstPort: 5353, length: 13 };
const golden = UDP4.slice(OFF);

describe("UDP", () => {
  it("reads a captured header", () => {
    expect(udp.srcPort(UDP4, OFF)).toBe(38015);
    expect(udp.dstPort(UDP4, OFF)).toBe(5353);
    expect(udp.length(UDP4, OFF)).toBe(13);
    expect(udp.checksum(UDP4, OFF)).toBe(0x1131);
    expect(udp.verify4(UDP4, OFF, 13, SRC, DST)).toBe(true);
    expect(udp.verify6(UDP6, OFF6, 13, IP6_OFF)).toBe(true);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(13);
    b.set(golden.slice(8), 8);
    udp.setSrcPort(b, 0, 38015);
    udp.setDstPort(b, 0, 5353);
    udp.setLength(b, 0, 13);
    udp.setChecksum(b, 0, 0x1131);
    expect(b).toEqual(golden);
  });

  it("parses the captured header", () => {
    expect(udp.parse(UDP4, OFF, UDP4.length)).toEqual(repr);
  });

  it("emits the captured header over every octet, once the checksum is filled", () => {
    const b = dirty(13);
    b.set(golden.slice(8), 8);
    expect(udp.emit(repr, b, 0)).toBe(8);
    udp.fillChecksum4(b, 0, 13, SRC, DST);
    expect(b).toEqual(golden);
  });

  it("fills the captured checksum over IPv6", () => {
    const b = UDP6.slice();
    udp.setChecksum(b, OFF6, 0xa5a5);
    udp.fillChecksum6(b, OFF6, 13, IP6_OFF);
    expect(b).toEqual(UDP6);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 13; len++) expect(udp.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(udp.check(golden, 0, 13)).toBe(0);
  });

  it("refuses a length that does not hold the header", () => {
    const b = golden.slice();
    udp.setLength(b, 0, 7);
    expect(udp.check(b, 0, 13)).toBe(DropReason.PKT_TOO_SMALL);
  });

  it("parses what it emits", () => {
    const reprs = fc.record({ srcPort: u16s, dstPort: u16s, length: fc.integer({ min: 8, max: 60 }) });
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(60);
        udp.emit(r, b, 0);
        expect(udp.parse(b, 0, 60)).toEqual(r);
      }),
    );
  });

  it("sends 0xffff where the sum comes out as zero, and both verify", () => {
    const b = new Uint8Array(10);
    udp.write(b, 0, 1, 2, 10);
    // the last word makes the sum of everything 0xffff
    udp.fillChecksum4(b, 0, 10, 0, 0);
    const without = udp.checksum(b, 0);
    b[8] = without >>> 8;
    b[9] = without & 0xff;
    udp.fillChecksum4(b, 0, 10, 0, 0);
    expect(udp.checksum(b, 0)).toBe(0xffff);
    expect(udp.verify4(b, 0, 10, 0, 0)).toBe(true);
  });

  it("takes no checksum for a right one over IPv4 and for a wrong one over IPv6", () => {
    const b4 = UDP4.slice();
    udp.setChecksum(b4, OFF, 0);
    expect(udp.verify4(b4, OFF, 13, SRC, DST)).toBe(true);
    const b6 = UDP6.slice();
    udp.setChecksum(b6, OFF6, 0);
    expect(udp.verify6(b6, OFF6, 13, IP6_OFF)).toBe(false);
  });

  it("notices a payload or an address that changed", () => {
    const b = UDP4.slice();
    b[b.length - 1] = 0;
    expect(udp.verify4(b, OFF, 13, SRC, DST)).toBe(false);
    expect(udp.verify4(UDP4, OFF, 13, SRC, ipv4("192.168.64.13"))).toBe(false);
  });

  it("keeps the checksum right when NAT rewrites address and port", () => {
    holds(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 60 }),
        ipv4s,
        ipv4s,
        ipv4s,
        u16s,
        (b, src, dst, to, port) => {
          udp.setLength(b, 0, b.length);
          udp.fillChecksum4(b, 0, b.length, src, dst);
          const check = update32(udp.checksum(b, 0), dst, to);
          udp.setChecksum(b, 0, update16(check, udp.dstPort(b, 0), port));
          udp.setDstPort(b, 0, port);
          expect(udp.verify4(b, 0, b.length, src, to)).toBe(true);
        },
      ),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        expect(udp.parse(b, 0, b.length) === undefined).toBe(udp.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(udp.format(repr)).toBe("UDP 38015 > 5353, length 5");
  });
});
