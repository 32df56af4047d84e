import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds } from "./fixtures/arbitrary.ts";
import { VXLAN_ECHO_REQUEST } from "./fixtures/golden-frames.ts";
import * as vxlan from "./vxlan.ts";

const OFF = 42;
const repr: vxlan.Repr = { vni: 1 };
const golden = VXLAN_ECHO_REQUEST.slice(OFF, OFF + vxlan.HEADER_LEN);

describe("VXLAN", () => {
  it("reads a captured header", () => {
    expect(vxlan.flags(VXLAN_ECHO_REQUEST, OFF)).toBe(vxlan.FLAG_VNI);
    expect(vxlan.vni(VXLAN_ECHO_REQUEST, OFF)).toBe(1);
    expect(vxlan.check(VXLAN_ECHO_REQUEST, OFF, VXLAN_ECHO_REQUEST.length)).toBe(0);
  });

  it("builds the captured header with setters, and in one call", () => {
    const b = dirty(8);
    vxlan.setFlags(b, 0, vxlan.FLAG_VNI);
    vxlan.setVni(b, 0, 1);
    expect(b).toEqual(golden);
    const c = dirty(8);
    vxlan.write(c, 0, 1);
    expect(c).toEqual(golden);
  });

  it("parses the captured header", () => {
    expect(vxlan.parse(VXLAN_ECHO_REQUEST, OFF, VXLAN_ECHO_REQUEST.length)).toEqual(repr);
  });

  it("emits the captured header over every octet", () => {
    const b = dirty(8);
    expect(vxlan.emit(repr, b, 0)).toBe(8);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 8; len++) expect(vxlan.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
  });

  it("refuses every bit but the I flag and the VNI, and a missing I flag", () => {
    for (let bit = 0; bit < 64; bit++) {
      const b = golden.slice();
      b[bit >> 3] = (b[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
      const isVni = bit >= 32 && bit < 56;
      expect(vxlan.check(b, 0, 8)).toBe(isVni ? 0 : DropReason.VXLAN_INVALID_HDR);
    }
  });

  it("parses what it emits", () => {
    holds(
      fc.property(fc.nat(vxlan.VNI_MAX), (vni) => {
        const b = dirty(8);
        vxlan.emit({ vni }, b, 0);
        expect(vxlan.parse(b, 0, 8)).toEqual({ vni });
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        expect(vxlan.parse(b, 0, b.length) === undefined).toBe(vxlan.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(vxlan.format(repr)).toBe("VXLAN, vni 1");
  });
});
