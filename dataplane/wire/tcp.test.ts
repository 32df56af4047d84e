import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { update16, update32 } from "./checksum.ts";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv4s, u8s, u16s, u32s } from "./fixtures/arbitrary.ts";
import { TCP_PUSH, TCP_SYN, TCP_SYN_ACK } from "./fixtures/golden-frames.ts";
import { ipv4 } from "./ipv4-addr.ts";
import * as tcp from "./tcp.ts";

const OFF = 34;
const SRC = ipv4("192.168.64.11");
const DST = ipv4("192.168.64.12");
const repr: tcp.Repr = {
  srcPort: 56724,
  dstPort: 8080,
  seq: 0x4b58_479d,
  ack: 0,
  flags: tcp.SYN,
  window: 64240,
  urgent: 0,
  options: [
    { kind: "mss", mss: 1460 },
    { kind: "sackPermitted" },
    { kind: "timestamps", value: 1721163832, echo: 0 },
    { kind: "nop" },
    { kind: "windowScale", shift: 10 },
  ],
};
const golden = TCP_SYN.slice(OFF);

const options: fc.Arbitrary<tcp.TcpOption> = fc.oneof(
  fc.constant({ kind: "nop" } as const),
  fc.record({ kind: fc.constant("mss" as const), mss: u16s }),
  fc.record({ kind: fc.constant("windowScale" as const), shift: u8s }),
  fc.constant({ kind: "sackPermitted" } as const),
  fc.record({ kind: fc.constant("timestamps" as const), value: u32s, echo: u32s }),
  fc.record({
    kind: fc.constant("sack" as const),
    blocks: fc.array(fc.tuple(u32s, u32s), { minLength: 1, maxLength: 1 }),
  }),
  fc.record({
    kind: fc.constant("unknown" as const),
    option: fc.integer({ min: 30, max: 255 }),
    octets: fc.array(u8s, { maxLength: 6 }),
  }),
);
/** Up to four of at most ten octets: they always fit. */
const reprs: fc.Arbitrary<tcp.Repr> = fc.record({
  srcPort: u16s,
  dstPort: u16s,
  seq: u32s,
  ack: u32s,
  flags: u8s,
  window: u16s,
  urgent: u16s,
  options: fc.array(options, { maxLength: 4 }),
});

describe("TCP", () => {
  it("reads a captured SYN", () => {
    expect(tcp.srcPort(TCP_SYN, OFF)).toBe(56724);
    expect(tcp.dstPort(TCP_SYN, OFF)).toBe(8080);
    expect(tcp.seq(TCP_SYN, OFF)).toBe(0x4b58_479d);
    expect(tcp.ack(TCP_SYN_ACK, OFF)).toBe(0x4b58_479e);
    expect(tcp.dataOffset(TCP_SYN, OFF)).toBe(40);
    expect(tcp.flags(TCP_SYN, OFF)).toBe(tcp.SYN);
    expect(tcp.window(TCP_SYN, OFF)).toBe(64240);
    expect(tcp.checksum(TCP_SYN, OFF)).toBe(0x74ba);
    expect(tcp.urgent(TCP_SYN, OFF)).toBe(0);
    expect(tcp.verify4(TCP_SYN, OFF, 40, SRC, DST)).toBe(true);
    expect(tcp.verify4(TCP_PUSH, OFF, TCP_PUSH.length - OFF, SRC, DST)).toBe(true);
  });

  it("finds the options of a captured SYN", () => {
    expect(tcp.mss(TCP_SYN, OFF)).toBe(1460);
    expect(tcp.windowScale(TCP_SYN, OFF)).toBe(10);
    expect(tcp.sackPermitted(TCP_SYN, OFF)).toBe(true);
    expect(tcp.timestampValue(TCP_SYN, OFF)).toBe(1721163832);
    expect(tcp.timestampEcho(TCP_SYN, OFF)).toBe(0);
  });

  it("says that an option is not there", () => {
    expect(tcp.mss(TCP_PUSH, OFF)).toBe(-1);
    expect(tcp.windowScale(TCP_PUSH, OFF)).toBe(-1);
    expect(tcp.sackPermitted(TCP_PUSH, OFF)).toBe(false);
    expect(tcp.setMss(TCP_PUSH, OFF, 1)).toBe(-1);
    const bare = dirty(20);
    tcp.emit({ ...repr, options: [] }, bare, 0);
    expect(tcp.timestampValue(bare, 0)).toBe(-1);
    expect(tcp.timestampEcho(bare, 0)).toBe(-1);
  });

  it("builds the captured header with setters", () => {
    const b = golden.slice();
    b.fill(0xa5, 0, 20);
    b[12] = 0;
    tcp.setSrcPort(b, 0, 56724);
    tcp.setDstPort(b, 0, 8080);
    tcp.setSeq(b, 0, 0x4b58_479d);
    tcp.setAck(b, 0, 0);
    tcp.setDataOffset(b, 0, 40);
    tcp.setFlags(b, 0, tcp.SYN);
    tcp.setWindow(b, 0, 64240);
    tcp.setUrgent(b, 0, 0);
    tcp.setChecksum(b, 0, 0x74ba);
    expect(b).toEqual(golden);
  });

  it("parses a captured SYN", () => {
    expect(tcp.parse(TCP_SYN, OFF, TCP_SYN.length)).toEqual(repr);
  });

  it("emits the captured SYN over every octet, once the checksum is filled", () => {
    const b = dirty(40);
    expect(tcp.emit(repr, b, 0)).toBe(40);
    tcp.fillChecksum4(b, 0, 40, SRC, DST);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < 40; len++) expect(tcp.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(tcp.check(golden, 0, 40)).toBe(0);
  });

  it("refuses a data offset inside the fixed header", () => {
    const b = golden.slice();
    tcp.setDataOffset(b, 0, 16);
    expect(tcp.check(b, 0, 40)).toBe(DropReason.PKT_TOO_SMALL);
  });

  it("parses what it emits", () => {
    holds(
      fc.property(reprs, (r) => {
        const b = dirty(60);
        const len = tcp.emit(r, b, 0);
        expect(len % 4).toBe(0);
        expect(tcp.parse(b, 0, len)).toEqual(r);
      }),
    );
  });

  it("verifies what it filled over IPv6", () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 60, maxLength: 99 }), (b) => {
        tcp.fillChecksum6(b, 40, b.length - 40, 0);
        expect(tcp.verify6(b, 40, b.length - 40, 0)).toBe(true);
        b[8] = (b[8] ?? 0) ^ 1;
        expect(tcp.verify6(b, 40, b.length - 40, 0)).toBe(false);
      }),
    );
  });

  it("keeps the checksum right when the MSS is clamped and NAT rewrites address and port", () => {
    holds(
      fc.property(u16s, ipv4s, u16s, (mss, to, port) => {
        const b = golden.slice();
        let check = update16(tcp.checksum(b, 0), tcp.setMss(b, 0, mss), mss);
        check = update16(check, tcp.dstPort(b, 0), port);
        tcp.setDstPort(b, 0, port);
        tcp.setChecksum(b, 0, update32(check, DST, to));
        expect(tcp.mss(b, 0)).toBe(mss);
        expect(tcp.verify4(b, 0, 40, SRC, to)).toBe(true);
      }),
    );
  });

  it.each([
    ["an option of length 0", [2, 0, 5, 180]],
    ["an option of length 1", [2, 1, 5, 180]],
    ["an option that runs past the header", [2, 5, 5, 180]],
    ["a kind without a length", [1, 1, 1, 2]],
    ["an MSS of the wrong length", [2, 3, 5, 0]],
    ["an option after the end of the list", [0, 2, 4, 5]],
  ])("finds nothing in %s", (_what, list) => {
    const b = dirty(24);
    tcp.write(b, 0, 1, 2, 3, 4, 24, tcp.SYN, 5);
    b.set(list, 20);
    expect(tcp.mss(b, 0)).toBe(-1);
    expect(tcp.parse(b, 0, 24)?.options.some((o) => o.kind === "mss")).toBe(false);
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        const r = tcp.parse(b, 0, b.length);
        expect(r === undefined).toBe(tcp.check(b, 0, b.length) !== 0);
        if (r !== undefined) expect(tcp.format(r)).toMatch(/^TCP /);
      }),
    );
  });

  it("prints flags in tcpdump's letters", () => {
    expect(tcp.formatFlags(tcp.SYN)).toBe("[S]");
    expect(tcp.formatFlags(tcp.SYN | tcp.ACK)).toBe("[S.]");
    expect(tcp.formatFlags(tcp.PSH | tcp.ACK)).toBe("[P.]");
    expect(tcp.formatFlags(tcp.FIN | tcp.ACK)).toBe("[F.]");
    expect(tcp.formatFlags(tcp.RST)).toBe("[R]");
    expect(tcp.formatFlags(0xff)).toBe("[FSRP.UEW]");
    expect(tcp.formatFlags(0)).toBe("[none]");
  });

  it("prints as one line", () => {
    expect(tcp.format(repr)).toBe(
      "TCP 56724 > 8080, Flags [S], seq 1264076701, win 64240, options [mss 1460,sackOK,TS val 1721163832 ecr 0,nop,wscale 10]",
    );
  });
});
