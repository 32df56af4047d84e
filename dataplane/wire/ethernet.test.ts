import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import * as ethernet from "./ethernet.ts";
import { bytes, dirty, holds, macs, u16s } from "./fixtures/arbitrary.ts";
import { TCP_SYN } from "./fixtures/golden-frames.ts";
import { mac } from "./mac-addr.ts";

const repr: ethernet.Repr = { dst: mac("02:00:00:00:00:12"), src: mac("02:00:00:00:00:11"), etherType: 0x0800 };
const golden = TCP_SYN.slice(0, ethernet.HEADER_LEN);

describe("Ethernet", () => {
  it("reads a captured header", () => {
    expect(ethernet.dst(TCP_SYN, 0)).toBe(repr.dst);
    expect(ethernet.src(TCP_SYN, 0)).toBe(repr.src);
    expect(ethernet.etherType(TCP_SYN, 0)).toBe(ethernet.ETH_P_IP);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(14);
    ethernet.setDst(b, 0, repr.dst);
    ethernet.setSrc(b, 0, repr.src);
    ethernet.setEtherType(b, 0, repr.etherType);
    expect(b).toEqual(golden);
  });

  it("parses the captured header", () => {
    expect(ethernet.parse(TCP_SYN, 0, TCP_SYN.length)).toEqual(repr);
  });

  it("emits the captured header over every octet", () => {
    const b = dirty(14);
    expect(ethernet.emit(repr, b, 0)).toBe(14);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 14; len++) expect(ethernet.check(golden, 0, len)).toBe(DropReason.HDR_TRUNC);
    expect(ethernet.check(golden, 0, 14)).toBe(0);
  });

  it("parses what it emits", () => {
    holds(
      fc.property(fc.record({ dst: macs, src: macs, etherType: u16s }), (r) => {
        const b = dirty(14);
        ethernet.emit(r, b, 0);
        expect(ethernet.parse(b, 0, 14)).toEqual(r);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        const r = ethernet.parse(b, 0, b.length);
        expect(r === undefined).toBe(b.length < 14);
        if (r !== undefined) expect(ethernet.format(r)).toContain(" > ");
      }),
    );
  });

  it("prints as one line", () => {
    expect(ethernet.format(repr)).toBe("02:00:00:00:00:11 > 02:00:00:00:00:12, IPv4");
    expect(ethernet.format({ ...repr, etherType: 0x1234 })).toContain("ethertype 0x1234");
  });
});
