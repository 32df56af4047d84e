import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CaptureError, LINKTYPE_ETHERNET, LINKTYPE_RAW, toNanoseconds } from "./capture-file.ts";
import { ARP_REPLY, octets, UDP4 } from "./fixtures/golden-frames.ts";
import { isPcap, PcapWriter, readPcap } from "./pcap.ts";

/** Written by tcpdump: one frame, microseconds, little-endian. */
const TCPDUMP_HEADER = "d4c3b2a1020004000000000000000000000004000100000002000000030000002a0000002a000000";

function twoPackets(resolution: "microseconds" | "nanoseconds"): Uint8Array {
  const writer = new PcapWriter(LINKTYPE_ETHERNET, resolution);
  writer.packet(1_500.25, ARP_REPLY, 0, ARP_REPLY.length);
  writer.packet(2_000_000_000_123_456_789n, UDP4, 14, 20, 33);
  return writer.bytes();
}

async function failure(bytes: Uint8Array): Promise<CaptureError> {
  const error: unknown = await readPcap(bytes).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CaptureError);
  return error as CaptureError;
}

describe("pcap", () => {
  it("reads what tcpdump wrote", async () => {
    const capture = await readPcap(Uint8Array.of(...octets(TCPDUMP_HEADER), ...ARP_REPLY));
    expect(capture.interfaces).toEqual([{ name: undefined, description: undefined, linkType: 1 }]);
    expect(capture.packets).toHaveLength(1);
    expect(capture.packets[0]).toMatchObject({ timeNs: 2_000_003_000n, originalLen: 42, interfaceId: 0 });
    expect(capture.packets[0]?.bytes).toEqual(ARP_REPLY);
  });

  it("writes what tcpdump writes", () => {
    const writer = new PcapWriter(LINKTYPE_ETHERNET, "microseconds");
    writer.packet(2_000.003, ARP_REPLY, 0, ARP_REPLY.length);
    expect(writer.bytes()).toEqual(Uint8Array.of(...octets(TCPDUMP_HEADER), ...ARP_REPLY));
  });

  it.each(["nanoseconds", "microseconds"] as const)("reads back what it wrote in %s", async (resolution) => {
    const { packets } = await readPcap(twoPackets(resolution));
    expect(packets.map((p) => p.timeNs)).toEqual([
      1_500_250_000n,
      resolution === "nanoseconds" ? 2_000_000_000_123_456_789n : 2_000_000_000_123_456_000n,
    ]);
    expect(packets[0]?.bytes).toEqual(ARP_REPLY);
    expect(packets[1]?.bytes).toEqual(UDP4.slice(14, 34));
    expect(packets[1]?.originalLen).toBe(33);
  });

  it.each(["nanoseconds", "microseconds"] as const)("reads the other byte order in %s", async (resolution) => {
    const b = Buffer.from(twoPackets(resolution));
    const swap16 = (at: number): void => void b.subarray(at, at + 2).swap16();
    const swap32 = (at: number): void => void b.subarray(at, at + 4).swap32();
    swap16(4);
    swap16(6);
    for (const at of [0, 16, 20, 24, 28, 32, 36, 82, 86, 90, 94]) swap32(at);
    expect((await readPcap(new Uint8Array(b))).packets).toEqual((await readPcap(twoPackets(resolution))).packets);
  });

  it("keeps the link type", async () => {
    expect((await readPcap(new PcapWriter(LINKTYPE_RAW).bytes())).interfaces[0]?.linkType).toBe(101);
  });

  it("gives the same bytes for the same packets, in one piece or drained", () => {
    const writer = new PcapWriter(LINKTYPE_ETHERNET);
    const head = writer.drain();
    writer.packet(1_500.25, ARP_REPLY, 0, ARP_REPLY.length);
    const first = writer.drain();
    writer.packet(2_000_000_000_123_456_789n, UDP4, 14, 20, 33);
    expect(Uint8Array.of(...head, ...first, ...writer.drain())).toEqual(twoPackets("nanoseconds"));
  });

  it("refuses a file that is cut short anywhere but between packets, and says where", async () => {
    const whole = twoPackets("nanoseconds");
    const afterFirst = 24 + 16 + 42;
    for (let len = 0; len < whole.length; len++) {
      if (len === 24 || len === afterFirst) continue;
      const error = await failure(whole.slice(0, len));
      expect(error.message).toMatch(/^capture: octet \d+: found .+, expected .+$/);
      expect(error.offset).toBeLessThanOrEqual(len);
    }
    expect((await failure(whole.slice(0, 20))).message).toBe(
      "capture: octet 0: found 20 octets, expected a file header of 24",
    );
    expect((await failure(whole.slice(0, 30))).message).toBe(
      "capture: octet 24: found 6 octets, expected a packet header of 16",
    );
    expect((await failure(whole.slice(0, 60))).message).toBe(
      "capture: octet 40: found 20 octets, expected a packet of 42",
    );
  });

  it("refuses another magic and another version", async () => {
    const magic = twoPackets("microseconds");
    magic[0] = 0;
    expect(isPcap(magic)).toBe(false);
    expect((await failure(magic)).found).toBe("magic 0x00c3b2a1");
    const version = twoPackets("microseconds");
    version[4] = 3;
    expect((await failure(version)).message).toBe("capture: octet 4: found version 3.4, expected 2.4");
  });

  it("refuses a length that no packet can have", async () => {
    const b = twoPackets("microseconds");
    b.set([0xff, 0xff, 0xff, 0xff], 24 + 8);
    expect((await failure(b)).message).toContain("expected a packet of 4294967295");
  });

  it("answers any bytes with a capture or a CaptureError", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 120 }), async (tail) => {
        const b = Uint8Array.of(...octets(TCPDUMP_HEADER).slice(0, 24), ...tail);
        const outcome: unknown = await readPcap(b).catch((e: unknown) => e);
        const ok = outcome instanceof CaptureError || (outcome as { format: string }).format === "pcap";
        expect(ok).toBe(true);
      }),
    );
  });

  it("tells milliseconds and nanoseconds apart by their type", () => {
    expect(toNanoseconds(0.000001)).toBe(1n);
    expect(toNanoseconds(1_700_000_000_000.5)).toBe(1_700_000_000_000_500_000n);
    expect(toNanoseconds(7n)).toBe(7n);
  });
});
