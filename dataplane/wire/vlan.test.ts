import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { dirty, holds, u16s } from "./fixtures/arbitrary.ts";
import { VLAN_UDP4 } from "./fixtures/golden-frames.ts";
import * as vlan from "./vlan.ts";

const repr: vlan.Repr = { vid: 7, priority: 3, dropEligible: false, etherType: 0x0800 };
const OFF = 14;
const golden = VLAN_UDP4.slice(OFF, OFF + vlan.HEADER_LEN);

describe("VLAN tag", () => {
  it("reads the golden tag", () => {
    expect(vlan.vid(VLAN_UDP4, OFF)).toBe(7);
    expect(vlan.priority(VLAN_UDP4, OFF)).toBe(3);
    expect(vlan.dropEligible(VLAN_UDP4, OFF)).toBe(false);
    expect(vlan.etherType(VLAN_UDP4, OFF)).toBe(0x0800);
    expect(vlan.tci(VLAN_UDP4, OFF)).toBe(0x6007);
  });

  it("builds the golden tag with setters", () => {
    const b = dirty(4);
    vlan.setTci(b, 0, 0x6000);
    vlan.setVid(b, 0, 7);
    vlan.setEtherType(b, 0, 0x0800);
    expect(b).toEqual(golden);
  });

  it("parses the golden tag", () => {
    expect(vlan.parse(VLAN_UDP4, OFF, VLAN_UDP4.length)).toEqual(repr);
  });

  it("emits the golden tag over every octet", () => {
    const b = dirty(4);
    expect(vlan.emit(repr, b, 0)).toBe(4);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 4; len++) expect(vlan.check(golden, 0, len)).toBe(DropReason.HDR_TRUNC);
    expect(vlan.check(golden, 0, 4)).toBe(0);
  });

  it("parses what it emits", () => {
    const reprs = fc.record({ vid: fc.nat(4095), priority: fc.nat(7), dropEligible: fc.boolean(), etherType: u16s });
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(4);
        vlan.emit(r, b, 0);
        expect(vlan.parse(b, 0, 4)).toEqual(r);
      }),
    );
  });

  it("keeps priority when the VID changes", () => {
    const b = Uint8Array.from(golden);
    vlan.setVid(b, 0, 4094);
    expect(vlan.parse(b, 0, 4)).toEqual({ ...repr, vid: 4094 });
  });

  it("prints as one line", () => {
    expect(vlan.format(repr)).toBe("vlan 7, p 3, IPv4");
  });
});
