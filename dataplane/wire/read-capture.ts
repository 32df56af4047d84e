/** Reads a capture file of either format, told apart by its first octets. */

import { type Capture, CaptureError } from "./capture-file.ts";
import { isPcap, readPcap } from "./pcap.ts";
import { isPcapng, readPcapng } from "./pcapng.ts";

/** Rejects with CaptureError if the file is neither, cut short or corrupt. */
export async function readCapture(bytes: Uint8Array): Promise<Capture> {
  if (isPcapng(bytes)) return readPcapng(bytes);
  if (isPcap(bytes)) return readPcap(bytes);
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(4, bytes.byteLength)).toString("hex");
  throw new CaptureError(0, start === "" ? "an empty file" : `0x${start}`, "the magic of a pcap or pcapng file");
}
