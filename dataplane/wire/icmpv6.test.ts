import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, u8s, u32s } from "./fixtures/arbitrary.ts";
import { ECHO_REQUEST6, PORT_UNREACHABLE6 } from "./fixtures/golden-frames.ts";
import * as icmpv6 from "./icmpv6.ts";

const IP_OFF = 14;
const OFF = 54;
const repr: icmpv6.Repr = { type: icmpv6.ECHO_REQUEST, code: 0, rest: 0x004d_0001 };
const golden = ECHO_REQUEST6.slice(OFF);

describe("ICMPv6", () => {
  it("reads a captured echo request", () => {
    expect(icmpv6.type(ECHO_REQUEST6, OFF)).toBe(icmpv6.ECHO_REQUEST);
    expect(icmpv6.code(ECHO_REQUEST6, OFF)).toBe(0);
    expect(icmpv6.checksum(ECHO_REQUEST6, OFF)).toBe(0x7932);
    expect(icmpv6.restOfHeader(ECHO_REQUEST6, OFF)).toBe(0x004d_0001);
    expect(icmpv6.id(ECHO_REQUEST6, OFF)).toBe(77);
    expect(icmpv6.seq(ECHO_REQUEST6, OFF)).toBe(1);
    expect(icmpv6.isError(ECHO_REQUEST6, OFF)).toBe(false);
    expect(icmpv6.verify(ECHO_REQUEST6, OFF, 16, IP_OFF)).toBe(true);
  });

  it("reads a captured port unreachable", () => {
    const r = icmpv6.parse(PORT_UNREACHABLE6, OFF, PORT_UNREACHABLE6.length);
    expect(r).toEqual({ type: icmpv6.DEST_UNREACH, code: icmpv6.PORT_UNREACH, rest: 0 });
    expect(icmpv6.isError(PORT_UNREACHABLE6, OFF)).toBe(true);
    expect(icmpv6.verify(PORT_UNREACHABLE6, OFF, PORT_UNREACHABLE6.length - OFF, IP_OFF)).toBe(true);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(16);
    b.set(golden.slice(8), 8);
    icmpv6.setType(b, 0, icmpv6.ECHO_REQUEST);
    icmpv6.setCode(b, 0, 0);
    icmpv6.setId(b, 0, 77);
    icmpv6.setSeq(b, 0, 1);
    icmpv6.setChecksum(b, 0, 0x7932);
    expect(b).toEqual(golden);
  });

  it("parses a captured echo request", () => {
    expect(icmpv6.parse(ECHO_REQUEST6, OFF, ECHO_REQUEST6.length)).toEqual(repr);
  });

  it("emits the captured header over every octet, once the checksum is filled", () => {
    const b = ECHO_REQUEST6.slice();
    b.fill(0xa5, OFF, OFF + 8);
    expect(icmpv6.emit(repr, b, OFF)).toBe(8);
    icmpv6.fillChecksum(b, OFF, 16, IP_OFF);
    expect(b).toEqual(ECHO_REQUEST6);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 8; len++) expect(icmpv6.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(icmpv6.check(golden, 0, 8)).toBe(0);
  });

  it("parses what it emits", () => {
    holds(
      fc.property(fc.record({ type: u8s, code: u8s, rest: u32s }), (r) => {
        const b = dirty(8);
        icmpv6.emit(r, b, 0);
        icmpv6.setRestOfHeader(b, 0, r.rest);
        expect(icmpv6.parse(b, 0, 8)).toEqual(r);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        const r = icmpv6.parse(b, 0, b.length);
        expect(r === undefined).toBe(b.length < 8);
        if (r !== undefined) expect(icmpv6.format(r)).toMatch(/^ICMP6 /);
      }),
    );
  });

  it("tells the MTU when a packet was too big", () => {
    const b = dirty(8);
    const r = { type: icmpv6.PKT_TOOBIG, code: 0, rest: 1430 };
    icmpv6.emit(r, b, 0);
    expect(icmpv6.mtu(b, 0)).toBe(1430);
    expect(icmpv6.format(r)).toBe("ICMP6 packet too big, mtu 1430");
  });
});
