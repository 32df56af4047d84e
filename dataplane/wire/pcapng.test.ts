import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CaptureError, LINKTYPE_ETHERNET, LINKTYPE_RAW } from "./capture-file.ts";
import { holds } from "./fixtures/arbitrary.ts";
import { ARP_REPLY, octets, UDP4 } from "./fixtures/golden-frames.ts";
import { isPcapng, PcapngWriter, readPcapng } from "./pcapng.ts";

function sample(): Uint8Array {
  const writer = new PcapngWriter();
  const eth0 = writer.addInterface("eth0", "node-1 / pod default/a", LINKTYPE_ETHERNET);
  const tunl0 = writer.addInterface("tunl0", "", LINKTYPE_RAW);
  writer.packet(eth0, 1_500.25, ARP_REPLY, 0, ARP_REPLY.length, "hop 4: out, peer veth3b1c", "out");
  writer.packet(tunl0, 2_000_000_000_123_456_789n, UDP4, 14, 33);
  writer.packet(eth0, 0, UDP4, 0, 7, undefined, "in", UDP4.length);
  return writer.bytes();
}

/** A section header without options, then these blocks, in the byte order asked for. */
function section(little: boolean, ...blocks: readonly (readonly [type: number, body: Buffer])[]): Uint8Array {
  const word = (n: number): Buffer => {
    const w = Buffer.alloc(4);
    if (little) w.writeUInt32LE(n);
    else w.writeUInt32BE(n);
    return w;
  };
  const head = Buffer.concat([
    word(0x1a2b_3c4d),
    little ? octets("01000000") : octets("00010000"),
    octets("ff".repeat(8)),
  ]);
  const all = [[0x0a0d_0d0a, head] as const, ...blocks].flatMap(([type, body]) => {
    const len = word(body.length + 12);
    return [word(type), len, body, len];
  });
  return new Uint8Array(Buffer.concat(all));
}

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(" ", ""), "hex");
}

/** Where the nth block of the sample begins. */
function blockStart(n: number): number {
  const b = Buffer.from(sample());
  let at = 0;
  for (let i = 0; i < n; i++) at += b.readUInt32LE(at + 4);
  return at;
}

function failure(bytes: Uint8Array): CaptureError {
  try {
    readPcapng(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(CaptureError);
    return error as CaptureError;
  }
  throw new Error("nothing was refused");
}

describe("pcapng", () => {
  it("reads back what it wrote", () => {
    const capture = readPcapng(sample());
    expect(capture.interfaces).toEqual([
      { name: "eth0", description: "node-1 / pod default/a", linkType: 1 },
      { name: "tunl0", description: undefined, linkType: 101 },
    ]);
    expect(capture.packets).toEqual([
      {
        interfaceId: 0,
        timeNs: 1_500_250_000n,
        bytes: ARP_REPLY,
        originalLen: 42,
        comments: ["hop 4: out, peer veth3b1c"],
        direction: "out",
      },
      {
        interfaceId: 1,
        timeNs: 2_000_000_000_123_456_789n,
        bytes: UDP4.slice(14),
        originalLen: 33,
        comments: [],
        direction: undefined,
      },
      { interfaceId: 0, timeNs: 0n, bytes: UDP4.slice(0, 7), originalLen: 47, comments: [], direction: "in" },
    ]);
  });

  it("writes these octets", () => {
    const writer = new PcapngWriter();
    writer.packet(writer.addInterface("a", "b", 1), 0x1_0000_0002n, Uint8Array.of(1, 2, 3, 4, 5), 0, 5, "é", "out");
    const shb = "0a0d0d0a 2c000000 4d3c2b1a 01000000 ffffffffffffffff 04000700 706f647769726500 00000000 2c000000";
    const idb =
      "01000000 30000000 01000000 00000400 02000100 61000000 03000100 62000000 09000100 09000000 00000000 30000000";
    const epb =
      "06000000 3c000000 00000000 01000000 02000000 05000000 05000000 0102030405000000 01000200 c3a90000 02000400 02000000 00000000 3c000000";
    expect(Buffer.from(writer.bytes()).toString("hex")).toBe((shb + idb + epb).replaceAll(" ", ""));
  });

  it("gives the same bytes for the same packets", () => {
    expect(sample()).toEqual(sample());
  });

  it("drains in pieces that make the same file", () => {
    const whole = new PcapngWriter();
    const pieces = new PcapngWriter();
    const parts = [pieces.drain()];
    for (const writer of [whole, pieces]) writer.addInterface("eth0", "", 1);
    parts.push(pieces.drain());
    for (const writer of [whole, pieces]) writer.packet(0, 5, UDP4, 0, UDP4.length);
    parts.push(pieces.drain());
    expect(new Uint8Array(Buffer.concat(parts))).toEqual(whole.bytes());
  });

  it("reads any packets back", () => {
    const packets = fc.array(
      fc.record({
        at: fc.bigInt({ min: 0n, max: 2n ** 63n }),
        bytes: fc.uint8Array({ maxLength: 40 }),
        comment: fc.option(fc.string({ unit: "grapheme", maxLength: 20 }), { nil: undefined }),
        direction: fc.constantFrom(undefined, "in" as const, "out" as const),
      }),
    );
    holds(
      fc.property(packets, (list) => {
        const writer = new PcapngWriter();
        writer.addInterface("eth0", "", LINKTYPE_ETHERNET);
        for (const p of list) writer.packet(0, p.at, p.bytes, 0, p.bytes.length, p.comment, p.direction);
        const got = readPcapng(writer.bytes()).packets;
        expect(got.map((p) => [p.timeNs, [...p.bytes], p.comments[0], p.direction])).toEqual(
          list.map((p) => [p.at, [...p.bytes], p.comment, p.direction]),
        );
      }),
    );
  });

  it("cuts a comment that is too long between two characters", () => {
    const writer = new PcapngWriter();
    writer.addInterface("eth0", "", 1);
    writer.packet(0, 0, UDP4, 0, UDP4.length, `${"a".repeat(65_534)}é`);
    expect(readPcapng(writer.bytes()).packets[0]?.comments).toEqual(["a".repeat(65_534)]);
  });

  it("refuses to write for an interface that it does not have", () => {
    expect(() => new PcapngWriter().packet(0, 0, UDP4, 0, 1)).toThrow("interface 0: not in this capture (0 added)");
  });

  it("reads big-endian files, microseconds where nothing is said, and simple packets", () => {
    const idb = hex("0001 0000 00000000");
    const epb = hex("00000000 00000000 00000007 00000003 00000009 aabbcc00");
    const spb = hex("00000002 ddee0000");
    const capture = readPcapng(section(false, [1, idb], [6, epb], [3, spb]));
    expect(capture.packets.map((p) => [p.timeNs, Buffer.from(p.bytes).toString("hex"), p.originalLen])).toEqual([
      [7_000n, "aabbcc", 9],
      [0n, "ddee", 2],
    ]);
  });

  it("counts time in powers of two and from an offset where the interface says so", () => {
    // tsresol 2^-10, tsoffset 100 seconds
    const idb = hex("0100 0000 00000000 0900 0100 8a000000 0e00 0800 6400000000000000 0000 0000");
    const epb = hex("00000000 00000000 00020000 00000000 00000000");
    const capture = readPcapng(section(true, [1, idb], [6, epb]));
    expect(capture.packets[0]?.timeNs).toBe(100_000_000_000n + (0x200n * 1_000_000_000n) / 1024n);
  });

  it("passes over blocks that it does not know", () => {
    const capture = readPcapng(section(true, [5, hex("00000000")], [0x0bad, hex("")], [1, hex("0100000000000000")]));
    expect(capture.interfaces).toHaveLength(1);
  });

  it("begins to count interfaces again in each section", () => {
    const one = sample();
    const capture = readPcapng(Uint8Array.of(...one, ...one));
    expect(capture.interfaces).toHaveLength(4);
    expect(capture.packets.map((p) => p.interfaceId)).toEqual([0, 1, 0, 2, 3, 2]);
  });

  it("refuses a file that is cut short anywhere but between blocks, and says where", () => {
    const whole = sample();
    const ends: number[] = [];
    for (let at = 0; at < whole.length; ) {
      at += Buffer.from(whole).readUInt32LE(at + 4);
      ends.push(at);
    }
    for (let len = 0; len < whole.length; len++) {
      if (ends.includes(len)) continue;
      const error = failure(whole.slice(0, len));
      expect(error.message).toMatch(/^capture: octet \d+: found .+, expected .+$/);
      expect(error.offset).toBeLessThanOrEqual(len);
    }
  });

  it.each([
    [
      "another magic",
      (b: Buffer): unknown => b.writeUInt32LE(7, 8),
      "octet 8: found 0x07000000, expected the byte-order magic",
    ],
    ["another version", (b: Buffer): unknown => b.writeUInt16LE(2, 12), "octet 12: found version 2.0, expected 1.0"],
    ["an odd block length", (b: Buffer): unknown => b.writeUInt32LE(45, 4), "octet 4: found block length 45"],
    [
      "lengths that differ",
      (b: Buffer): unknown => b.writeUInt32LE(48, 40),
      "octet 40: found block length 48, expected 44",
    ],
    [
      "an unknown interface",
      (b: Buffer): unknown => b.writeUInt32LE(9, blockStart(3) + 8),
      "found interface 9, expected one of the 2",
    ],
    [
      "a packet longer than its block",
      (b: Buffer): unknown => b.writeUInt32LE(999, blockStart(3) + 20),
      "expected a packet of 999",
    ],
    [
      "an option longer than its block",
      (b: Buffer): unknown => b.writeUInt16LE(999, blockStart(1) + 16 + 2),
      "expected option 2 of 999",
    ],
  ])("refuses %s", (_what, spoil, message) => {
    const b = Buffer.from(sample());
    spoil(b);
    expect(failure(new Uint8Array(b)).message).toContain(message);
  });

  it("answers any bytes with a capture or a CaptureError", () => {
    const good = sample();
    holds(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }), (edits) => {
        const b = good.slice();
        for (const [at, v] of edits) b[at] = v;
        try {
          expect(readPcapng(b).format).toBe("pcapng");
        } catch (error) {
          expect(error).toBeInstanceOf(CaptureError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("knows its own files", () => {
    expect(isPcapng(sample())).toBe(true);
    expect(isPcapng(Uint8Array.of(1, 2, 3))).toBe(false);
  });
});
