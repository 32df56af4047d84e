import { describe, expect, it } from "vitest";
import { LINKTYPE_ETHERNET } from "./capture-file.ts";
import { UDP4 } from "./fixtures/golden-frames.ts";
import { PcapWriter } from "./pcap.ts";
import { PcapngWriter } from "./pcapng.ts";
import { readCapture } from "./read-capture.ts";

describe("readCapture", () => {
  it("tells the formats apart", async () => {
    const pcap = new PcapWriter(LINKTYPE_ETHERNET);
    pcap.packet(1, UDP4, 0, UDP4.length);
    const pcapng = new PcapngWriter();
    pcapng.packet(pcapng.addInterface("eth0", "", LINKTYPE_ETHERNET), 1, UDP4, 0, UDP4.length);
    const [a, b] = [await readCapture(pcap.bytes()), await readCapture(pcapng.bytes())];
    expect([a.format, b.format]).toEqual(["pcap", "pcapng"]);
    expect(a.packets).toEqual(b.packets);
  });

  it("refuses anything else", async () => {
    await expect(readCapture(new Uint8Array(0))).rejects.toThrow("found an empty file");
    await expect(readCapture(new TextEncoder().encode("apiVersion: v1"))).rejects.toThrow(
      "capture: octet 0: found 0x61706956, expected the magic of a pcap or pcapng file",
    );
  });
});
