import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, u8s, u32s } from "./fixtures/arbitrary.ts";
import { ECHO_REQUEST, PORT_UNREACHABLE } from "./fixtures/golden-frames.ts";
import * as icmpv4 from "./icmpv4.ts";

const OFF = 34;
const repr: icmpv4.Repr = { type: icmpv4.ECHO_REQUEST, code: 0, rest: 0x004d_0001 };
const golden = ECHO_REQUEST.slice(OFF);

describe("ICMP", () => {
  it("reads a captured echo request", () => {
    expect(icmpv4.type(ECHO_REQUEST, OFF)).toBe(icmpv4.ECHO_REQUEST);
    expect(icmpv4.code(ECHO_REQUEST, OFF)).toBe(0);
    expect(icmpv4.checksum(ECHO_REQUEST, OFF)).toBe(0xeba1);
    expect(icmpv4.restOfHeader(ECHO_REQUEST, OFF)).toBe(0x004d_0001);
    expect(icmpv4.id(ECHO_REQUEST, OFF)).toBe(77);
    expect(icmpv4.seq(ECHO_REQUEST, OFF)).toBe(1);
    expect(icmpv4.isError(ECHO_REQUEST, OFF)).toBe(false);
    expect(icmpv4.verify(ECHO_REQUEST, OFF, 16)).toBe(true);
  });

  it("reads a captured port unreachable", () => {
    expect(icmpv4.parse(PORT_UNREACHABLE, OFF, PORT_UNREACHABLE.length)).toEqual({
      type: icmpv4.DEST_UNREACH,
      code: icmpv4.PORT_UNREACH,
      rest: 0,
    });
    expect(icmpv4.isError(PORT_UNREACHABLE, OFF)).toBe(true);
    expect(icmpv4.verify(PORT_UNREACHABLE, OFF, PORT_UNREACHABLE.length - OFF)).toBe(true);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(16);
    b.set(golden.slice(8), 8);
    icmpv4.setType(b, 0, icmpv4.ECHO_REQUEST);
    icmpv4.setCode(b, 0, 0);
    icmpv4.setId(b, 0, 77);
    icmpv4.setSeq(b, 0, 1);
    icmpv4.setChecksum(b, 0, 0xeba1);
    expect(b).toEqual(golden);
  });

  it("parses a captured echo request", () => {
    expect(icmpv4.parse(ECHO_REQUEST, OFF, ECHO_REQUEST.length)).toEqual(repr);
  });

  it("emits the captured header over every octet, once the checksum is filled", () => {
    const b = dirty(16);
    b.set(golden.slice(8), 8);
    expect(icmpv4.emit(repr, b, 0)).toBe(8);
    icmpv4.fillChecksum(b, 0, 16);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 8; len++) expect(icmpv4.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(icmpv4.check(golden, 0, 8)).toBe(0);
  });

  it("parses what it emits", () => {
    holds(
      fc.property(fc.record({ type: u8s, code: u8s, rest: u32s }), (r) => {
        const b = dirty(8);
        icmpv4.emit(r, b, 0);
        expect(icmpv4.parse(b, 0, 8)).toEqual(r);
        icmpv4.setRestOfHeader(b, 0, 1);
        icmpv4.setRestOfHeader(b, 0, r.rest);
        icmpv4.fillChecksum(b, 0, 8);
        expect(icmpv4.verify(b, 0, 8)).toBe(true);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        const r = icmpv4.parse(b, 0, b.length);
        expect(r === undefined).toBe(b.length < 8);
        if (r !== undefined) expect(icmpv4.format(r)).toMatch(/^ICMP /);
      }),
    );
  });

  it("tells the MTU of the next hop where fragmentation was needed", () => {
    const b = dirty(8);
    const r = { type: icmpv4.DEST_UNREACH, code: icmpv4.FRAG_NEEDED, rest: 1450 };
    icmpv4.emit(r, b, 0);
    expect(icmpv4.nextHopMtu(b, 0)).toBe(1450);
    expect(icmpv4.format(r)).toBe("ICMP unreachable - need to frag (mtu 1450)");
  });

  it.each([
    [repr, "ICMP echo request, id 77, seq 1"],
    [{ type: 0, code: 0, rest: 0x1_0002 }, "ICMP echo reply, id 1, seq 2"],
    [{ type: 3, code: 13, rest: 0 }, "ICMP communication administratively prohibited"],
    [{ type: 11, code: 0, rest: 0 }, "ICMP time exceeded in-transit"],
    [{ type: 11, code: 1, rest: 0 }, "ICMP ip reassembly time exceeded"],
    [{ type: 99, code: 3, rest: 0 }, "ICMP type 99, code 3"],
  ])("prints %o as %s", (r, text) => {
    expect(icmpv4.format(r)).toBe(text);
  });
});
