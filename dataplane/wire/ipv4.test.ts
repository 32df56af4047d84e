import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { update32 } from "./checksum.ts";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv4s, u8s, u16s } from "./fixtures/arbitrary.ts";
import { LAST_FRAGMENT, TCP_SYN } from "./fixtures/golden-frames.ts";
import * as ipv4 from "./ipv4.ts";
import type { Ipv4Addr } from "./ipv4-addr.ts";
import { ipv4 as addr } from "./ipv4-addr.ts";

const OFF = 14;
const repr: ipv4.Repr = {
  tos: 0,
  totalLen: 60,
  id: 0xec72,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  ttl: 64,
  protocol: ipv4.PROTO_TCP,
  src: addr("192.168.64.11"),
  dst: addr("192.168.64.12"),
  options: [],
};
const golden = TCP_SYN.slice(OFF, OFF + ipv4.HEADER_LEN);
const packet = TCP_SYN.slice(OFF);

const reprs: fc.Arbitrary<ipv4.Repr> = fc.record({
  tos: u8s,
  totalLen: fc.integer({ min: 60, max: 100 }),
  id: u16s,
  dontFragment: fc.boolean(),
  moreFragments: fc.boolean(),
  fragmentOffset: fc.nat(0x1fff).map((n) => 8 * n),
  ttl: u8s,
  protocol: u8s,
  src: ipv4s,
  dst: ipv4s,
  options: fc.nat(10).chain((n) => fc.array(u8s, { minLength: 4 * n, maxLength: 4 * n })),
});

describe("IPv4", () => {
  it("reads a captured header", () => {
    expect(ipv4.version(TCP_SYN, OFF)).toBe(4);
    expect(ipv4.headerLen(TCP_SYN, OFF)).toBe(20);
    expect(ipv4.tos(TCP_SYN, OFF)).toBe(0);
    expect(ipv4.totalLen(TCP_SYN, OFF)).toBe(60);
    expect(ipv4.id(TCP_SYN, OFF)).toBe(0xec72);
    expect(ipv4.flagsFrag(TCP_SYN, OFF)).toBe(ipv4.FLAG_DF);
    expect(ipv4.dontFragment(TCP_SYN, OFF)).toBe(true);
    expect(ipv4.moreFragments(TCP_SYN, OFF)).toBe(false);
    expect(ipv4.isFragment(TCP_SYN, OFF)).toBe(false);
    expect(ipv4.ttl(TCP_SYN, OFF)).toBe(64);
    expect(ipv4.protocol(TCP_SYN, OFF)).toBe(ipv4.PROTO_TCP);
    expect(ipv4.headerChecksum(TCP_SYN, OFF)).toBe(0x4ce1);
    expect(ipv4.src(TCP_SYN, OFF)).toBe(repr.src);
    expect(ipv4.dst(TCP_SYN, OFF)).toBe(repr.dst);
  });

  it("reads a captured fragment", () => {
    expect(ipv4.fragmentOffset(LAST_FRAGMENT, OFF)).toBe(2960);
    expect(ipv4.moreFragments(LAST_FRAGMENT, OFF)).toBe(false);
    expect(ipv4.isFragment(LAST_FRAGMENT, OFF)).toBe(true);
    expect(ipv4.check(LAST_FRAGMENT, OFF, LAST_FRAGMENT.length)).toBe(0);
  });

  it("builds the captured header with setters", () => {
    const b = dirty(20);
    b[0] = 0x45;
    ipv4.setTos(b, 0, 0);
    ipv4.setTotalLen(b, 0, 60);
    ipv4.setId(b, 0, 0xec72);
    ipv4.setFlagsFrag(b, 0, ipv4.FLAG_DF);
    ipv4.setTtl(b, 0, 64);
    ipv4.setProtocol(b, 0, ipv4.PROTO_TCP);
    ipv4.setSrc(b, 0, repr.src);
    ipv4.setDst(b, 0, repr.dst);
    ipv4.setHeaderChecksum(b, 0, 0x4ce1);
    expect(b).toEqual(golden);
  });

  it("writes the captured header in one call, checksum included", () => {
    const b = dirty(20);
    ipv4.write(b, 0, 60, 0xec72, ipv4.FLAG_DF, 64, ipv4.PROTO_TCP, repr.src, repr.dst, 0);
    expect(b).toEqual(golden);
  });

  it("parses the captured header", () => {
    expect(ipv4.parse(TCP_SYN, OFF, TCP_SYN.length)).toEqual(repr);
  });

  it("emits the captured header over every octet", () => {
    const b = dirty(20);
    expect(ipv4.emit(repr, b, 0)).toBe(20);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length: the header as such, and then the packet", () => {
    for (let len = 0; len < 20; len++) expect(ipv4.check(packet, 0, len)).toBe(DropReason.IP_INHDR);
    for (let len = 20; len < 60; len++) expect(ipv4.check(packet, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(ipv4.check(packet, 0, 60)).toBe(0);
  });

  it("takes octets after the total length for padding", () => {
    expect(ipv4.check(Uint8Array.of(...packet, 0, 0, 0), 0, 63)).toBe(0);
  });

  it("refuses another version, a header shorter than 20 and one longer than the packet", () => {
    for (const first of [0x65, 0x44, 0x4f]) {
      const b = golden.slice();
      b[0] = first;
      expect(ipv4.check(b, 0, 20)).toBe(DropReason.IP_INHDR);
    }
  });

  it("refuses a total length that does not hold the header", () => {
    const b = packet.slice();
    ipv4.setTotalLen(b, 0, 19);
    ipv4.fillChecksum(b, 0);
    expect(ipv4.check(b, 0, b.length)).toBe(DropReason.IP_INHDR);
  });

  it("refuses a wrong checksum, whichever bit is wrong", () => {
    for (let bit = 8; bit < 160; bit++) {
      const b = packet.slice();
      b[bit >> 3] = (b[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(ipv4.check(b, 0, b.length)).toBe(DropReason.IP_CSUM);
    }
  });

  it("parses what it emits", () => {
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(r.totalLen + 2);
        expect(ipv4.emit(r, b, 2)).toBe(20 + r.options.length);
        expect(ipv4.check(b, 2, b.length)).toBe(0);
        expect(ipv4.parse(b, 2, b.length)).toEqual(r);
      }),
    );
  });

  it("keeps the checksum right while the TTL runs down", () => {
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(r.totalLen);
        ipv4.emit({ ...r, ttl: 255 }, b, 0);
        for (let ttl = 254; ttl >= 0; ttl--) {
          ipv4.decTtl(b, 0);
          expect(ipv4.ttl(b, 0)).toBe(ttl);
          const incremental = ipv4.headerChecksum(b, 0);
          ipv4.fillChecksum(b, 0);
          expect(incremental).toBe(ipv4.headerChecksum(b, 0));
        }
      }),
      { numRuns: 50 },
    );
  });

  it("keeps the checksum right when an address is rewritten", () => {
    holds(
      fc.property(reprs, ipv4s, (r, to) => {
        const b = dirty(r.totalLen);
        ipv4.emit(r, b, 0);
        ipv4.setHeaderChecksum(b, 0, update32(ipv4.headerChecksum(b, 0), ipv4.dst(b, 0), to));
        ipv4.setDst(b, 0, to);
        expect(ipv4.check(b, 0, b.length)).toBe(0);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        expect(ipv4.parse(b, 0, b.length) === undefined).toBe(ipv4.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(ipv4.format(repr)).toBe("IP 192.168.64.11 > 192.168.64.12, TCP, ttl 64, id 60530, DF, length 60");
  });
});

describe("srcKey and dstKey", () => {
  it("are the addresses as signed integers, above and below 2^31", () => {
    const b = new Uint8Array(20);
    ipv4.write(b, 0, 20, 1, 0, 64, 17, 0xc0a8000b as Ipv4Addr, 0x0a000001 as Ipv4Addr, 0);
    expect(ipv4.srcKey(b, 0)).toBe(0xc0a8000b | 0);
    expect(ipv4.dstKey(b, 0)).toBe(0x0a000001);
  });
});
