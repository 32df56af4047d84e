import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv6s, u8s, u16s } from "./fixtures/arbitrary.ts";
import { ECHO_REQUEST6 } from "./fixtures/golden-frames.ts";
import * as ipv6 from "./ipv6.ts";
import { ipv6 as addr, formatIpv6 } from "./ipv6-addr.ts";

const OFF = 14;
const repr: ipv6.Repr = {
  trafficClass: 0,
  flowLabel: 0xe50c3,
  payloadLen: 16,
  nextHeader: 58,
  hopLimit: 64,
  src: addr("fd00::11"),
  dst: addr("fd00::12"),
};
const golden = ECHO_REQUEST6.slice(OFF, OFF + ipv6.HEADER_LEN);
const packet = ECHO_REQUEST6.slice(OFF);

/** A packet whose payload begins with these octets, the first of them a header of that type. */
function withPayload(nextHeader: number, payload: readonly number[]): Uint8Array {
  const b = new Uint8Array(40 + payload.length);
  ipv6.emit({ ...repr, nextHeader, payloadLen: payload.length }, b, 0);
  b.set(payload, 40);
  return b;
}

describe("IPv6", () => {
  it("reads a captured header", () => {
    expect(ipv6.version(ECHO_REQUEST6, OFF)).toBe(6);
    expect(ipv6.trafficClass(ECHO_REQUEST6, OFF)).toBe(0);
    expect(ipv6.flowLabel(ECHO_REQUEST6, OFF)).toBe(0xe50c3);
    expect(ipv6.payloadLen(ECHO_REQUEST6, OFF)).toBe(16);
    expect(ipv6.nextHeader(ECHO_REQUEST6, OFF)).toBe(58);
    expect(ipv6.hopLimit(ECHO_REQUEST6, OFF)).toBe(64);
    expect(formatIpv6(ipv6.src(ECHO_REQUEST6, OFF))).toBe("fd00::11");
    expect(formatIpv6(ipv6.dst(ECHO_REQUEST6, OFF))).toBe("fd00::12");
    expect(ipv6.srcEquals(ECHO_REQUEST6, OFF, repr.src)).toBe(true);
    expect(ipv6.dstEquals(ECHO_REQUEST6, OFF, repr.src)).toBe(false);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(40);
    b[0] = 0x60;
    ipv6.setTrafficClass(b, 0, 0);
    ipv6.setFlowLabel(b, 0, 0xe50c3);
    ipv6.setPayloadLen(b, 0, 16);
    ipv6.setNextHeader(b, 0, 58);
    ipv6.setHopLimit(b, 0, 64);
    ipv6.setSrc(b, 0, repr.src);
    ipv6.setDst(b, 0, repr.dst);
    expect(b).toEqual(golden);
  });

  it("parses the captured header", () => {
    expect(ipv6.parse(ECHO_REQUEST6, OFF, ECHO_REQUEST6.length)).toEqual(repr);
  });

  it("emits the captured header over every octet", () => {
    const b = dirty(40);
    expect(ipv6.emit(repr, b, 0)).toBe(40);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length: the header as such, and then the packet", () => {
    for (let len = 0; len < 40; len++) expect(ipv6.check(packet, 0, len)).toBe(DropReason.IP_INHDR);
    for (let len = 40; len < 56; len++) expect(ipv6.check(packet, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(ipv6.check(packet, 0, 56)).toBe(0);
  });

  it("refuses another version and a multicast source", () => {
    const b = packet.slice();
    b[0] = 0x45;
    expect(ipv6.check(b, 0, 56)).toBe(DropReason.UNHANDLED_PROTO);
    b[0] = 0x60;
    ipv6.setSrc(b, 0, addr("ff02::1"));
    expect(ipv6.check(b, 0, 56)).toBe(DropReason.IP_INHDR);
  });

  it("parses what it emits", () => {
    const reprs = fc.record({
      trafficClass: u8s,
      flowLabel: fc.nat(0xf_ffff),
      payloadLen: fc.nat(60),
      nextHeader: u8s,
      hopLimit: u8s,
      src: ipv6s.filter((a) => a[0] !== 0xff),
      dst: ipv6s,
    });
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(100);
        ipv6.emit(r, b, 0);
        expect(ipv6.parse(b, 0, 100)).toEqual(r);
      }),
    );
  });

  it("changes class and label without touching the rest of their word", () => {
    holds(
      fc.property(u8s, fc.nat(0xf_ffff), (cls, label) => {
        const b = packet.slice();
        ipv6.setTrafficClass(b, 0, cls);
        ipv6.setFlowLabel(b, 0, label);
        expect(ipv6.parse(b, 0, 56)).toEqual({ ...repr, trafficClass: cls, flowLabel: label });
      }),
    );
  });

  it("walks over extension headers to the transport", () => {
    const b = withPayload(ipv6.NEXT_HOP_BY_HOP, [
      60,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      17,
      1,
      ...new Array<number>(14).fill(0),
      9,
      9,
    ]);
    expect(ipv6.transportOffset(b, 0, b.length)).toBe(64);
    expect(ipv6.transportProtocol(b, 0, b.length)).toBe(17);
    expect(ipv6.fragmentHeader(b, 0, b.length)).toBe(-1);
  });

  it("stops at the data of a later fragment", () => {
    const b = withPayload(ipv6.NEXT_FRAGMENT, [60, 0, 0x05, 0xa8, 0, 0, 0, 1, 0xff, 0xff]);
    expect(ipv6.fragmentHeader(b, 0, b.length)).toBe(40);
    expect(ipv6.transportOffset(b, 0, b.length)).toBe(48);
    expect(ipv6.transportProtocol(b, 0, b.length)).toBe(60);
  });

  it("says so when extension headers run past the end", () => {
    const b = withPayload(ipv6.NEXT_DEST_OPTIONS, [6, 2, 0, 0, 0, 0, 0, 0]);
    expect(ipv6.transportOffset(b, 0, b.length)).toBe(-1);
    expect(ipv6.transportProtocol(b, 0, b.length)).toBe(-1);
  });

  it("counts down the hop limit", () => {
    const b = packet.slice();
    ipv6.decHopLimit(b, 0);
    expect(ipv6.hopLimit(b, 0)).toBe(63);
  });

  it("never throws or walks out of the packet, whatever the bytes are", () => {
    holds(
      fc.property(bytes, u16s, (b, len) => {
        if (b.length < 40) return;
        b[6] = [0, 43, 44, 60][len & 3] ?? 0;
        const at = ipv6.transportOffset(b, 0, b.length);
        expect(at === -1 || (at >= 40 && at <= b.length)).toBe(true);
        expect(ipv6.transportProtocol(b, 0, b.length) === -1).toBe(at === -1);
        expect(ipv6.parse(b, 0, b.length) === undefined).toBe(ipv6.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(ipv6.format(repr)).toBe(
      "IP6 fd00::11 > fd00::12, next-header 58, hlim 64, flowlabel 0xe50c3, payload length 16",
    );
  });
});
