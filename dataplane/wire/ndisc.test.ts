import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv6s, macs } from "./fixtures/arbitrary.ts";
import { NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION } from "./fixtures/golden-frames.ts";
import * as icmpv6 from "./icmpv6.ts";
import { ipv6 } from "./ipv6-addr.ts";
import { mac } from "./mac-addr.ts";
import * as ndisc from "./ndisc.ts";

const IP_OFF = 14;
const OFF = 54;
const solicitation: ndisc.Repr = {
  kind: "solicitation",
  target: ipv6("fd00::12"),
  router: false,
  solicited: false,
  override: false,
  linkLayerAddr: mac("02:00:00:00:00:11"),
};
const advertisement: ndisc.Repr = {
  kind: "advertisement",
  target: ipv6("fd00::12"),
  router: false,
  solicited: true,
  override: true,
  linkLayerAddr: mac("02:00:00:00:00:12"),
};
const golden = NEIGHBOUR_ADVERTISEMENT.slice(OFF);

describe("neighbor discovery", () => {
  it("reads a captured advertisement", () => {
    expect(ndisc.target(NEIGHBOUR_ADVERTISEMENT, OFF)).toEqual(ipv6("fd00::12"));
    expect(ndisc.isRouter(NEIGHBOUR_ADVERTISEMENT, OFF)).toBe(false);
    expect(ndisc.isSolicited(NEIGHBOUR_ADVERTISEMENT, OFF)).toBe(true);
    expect(ndisc.isOverride(NEIGHBOUR_ADVERTISEMENT, OFF)).toBe(true);
    const end = NEIGHBOUR_ADVERTISEMENT.length;
    expect(ndisc.linkLayerAddr(NEIGHBOUR_ADVERTISEMENT, OFF, end, ndisc.OPT_TARGET_LLA)).toBe(0x0200_0000_0012);
    expect(ndisc.linkLayerAddr(NEIGHBOUR_ADVERTISEMENT, OFF, end, ndisc.OPT_SOURCE_LLA)).toBe(-1);
  });

  it("builds the captured solicitation in one call", () => {
    const b = NEIGHBOUR_SOLICITATION.slice();
    b.fill(0xa5, OFF);
    const { target, linkLayerAddr } = solicitation;
    const len = ndisc.write(b, OFF, ndisc.NEIGHBOUR_SOLICITATION, 0, target, ndisc.OPT_SOURCE_LLA, linkLayerAddr ?? -1);
    expect(len).toBe(32);
    icmpv6.fillChecksum(b, OFF, len, IP_OFF);
    expect(b).toEqual(NEIGHBOUR_SOLICITATION);
  });

  it("builds a redirect over every octet, with and without a MAC, and quotes whole eights of a packet", () => {
    const packet = Uint8Array.from({ length: 61 }, (_, i) => i);
    for (const lla of [-1, 0x0200_0000_0012]) {
      const b = new Uint8Array(OFF + 200).fill(0xa5);
      const quote = ndisc.redirectQuote(packet.length, lla);
      expect(quote).toBe(56);
      const [to, about] = [ipv6("fe80::9"), ipv6("fd00::3")];
      const len = ndisc.writeRedirect(b, OFF, to, about, lla, packet, 0, quote);
      const options = lla < 0 ? [] : [2, 1, 2, 0, 0, 0, 0, 0x12];
      expect([...b.subarray(OFF, OFF + len)]).toEqual([
        ...[137, 0, 0, 0, 0, 0, 0, 0],
        ...to,
        ...about,
        ...options,
        ...[4, 8, 0, 0, 0, 0, 0, 0],
        ...packet.subarray(0, quote),
      ]);
      expect(b[OFF + len]).toBe(0xa5);
      expect(ndisc.formatRedirect(b, OFF)).toBe("ICMP6 redirect, fd00::3 to fe80::9");
    }
    expect([ndisc.redirectQuote(9_000, -1), ndisc.redirectQuote(9_000, 1)]).toEqual([1_192, 1_184]);
  });

  it("parses what was captured", () => {
    expect(ndisc.parse(NEIGHBOUR_SOLICITATION, OFF, NEIGHBOUR_SOLICITATION.length)).toEqual(solicitation);
    expect(ndisc.parse(NEIGHBOUR_ADVERTISEMENT, OFF, NEIGHBOUR_ADVERTISEMENT.length)).toEqual(advertisement);
  });

  it("emits the captured advertisement over every octet, once the checksum is filled", () => {
    const b = NEIGHBOUR_ADVERTISEMENT.slice();
    b.fill(0xa5, OFF);
    expect(ndisc.emit(advertisement, b, OFF)).toBe(32);
    icmpv6.fillChecksum(b, OFF, 32, IP_OFF);
    expect(b).toEqual(NEIGHBOUR_ADVERTISEMENT);
  });

  it("refuses every shorter length, but for the one without options", () => {
    for (let len = 0; len < 24; len++) expect(ndisc.check(golden, 0, len, 255)).toBe(DropReason.PKT_TOO_SMALL);
    expect(ndisc.check(golden, 0, 24, 255)).toBe(0);
    for (let len = 25; len < 32; len++) {
      expect(ndisc.check(golden, 0, len, 255)).toBe(DropReason.IPV6_NDISC_BAD_OPTIONS);
    }
    expect(ndisc.check(golden, 0, 32, 255)).toBe(0);
  });

  it("refuses what a router could have passed on", () => {
    expect(ndisc.check(golden, 0, 32, 254)).toBe(DropReason.IPV6_NDISC_HOP_LIMIT);
  });

  it("refuses a code, an option of length zero and a multicast target", () => {
    const code = golden.slice();
    code[1] = 1;
    expect(ndisc.check(code, 0, 32, 255)).toBe(DropReason.IPV6_NDISC_BAD_CODE);
    const option = golden.slice();
    option[25] = 0;
    expect(ndisc.check(option, 0, 32, 255)).toBe(DropReason.IPV6_NDISC_BAD_OPTIONS);
    const target = golden.slice();
    target[8] = 0xff;
    expect(ndisc.check(target, 0, 32, 255)).toBe(DropReason.NOT_SPECIFIED);
  });

  it("parses what it emits", () => {
    const advertisements = fc.record({
      kind: fc.constant("advertisement" as const),
      target: ipv6s.filter((a) => a[0] !== 0xff),
      router: fc.boolean(),
      solicited: fc.boolean(),
      override: fc.boolean(),
      linkLayerAddr: fc.option(macs, { nil: undefined }),
    });
    holds(
      fc.property(advertisements, fc.boolean(), (a, asks) => {
        const r: ndisc.Repr = asks
          ? { ...a, kind: "solicitation", router: false, solicited: false, override: false }
          : a;
        const b = dirty(32);
        const len = ndisc.emit(r, b, 0);
        expect(ndisc.parse(b, 0, len)).toEqual(r);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, fc.constantFrom(133, 134, 135, 136, 137), (b, type) => {
        if (b.length > 1) b.set([type, 0]);
        const r = ndisc.parse(b, 0, b.length);
        if (r !== undefined) expect(ndisc.format(r)).toMatch(/^ICMP6 neighbor/);
        else expect(ndisc.check(b, 0, b.length, 255) !== 0 || type < 135 || type > 136).toBe(true);
      }),
    );
  });

  it("prints as one line", () => {
    expect(ndisc.format(solicitation)).toBe(
      "ICMP6 neighbor solicitation, who has fd00::12, source link-address 02:00:00:00:00:11",
    );
    expect(ndisc.format(advertisement)).toBe(
      "ICMP6 neighbor advertisement, tgt is fd00::12 at 02:00:00:00:00:12, flags [solicited, override]",
    );
  });
});
