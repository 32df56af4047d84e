/**
 * Classic capture files (libpcap 2.4, draft-ietf-opsawg-pcap): written here, read through pcap-parser.
 *
 *    file    | magic 4 | 2.4 | 0 0 (8) | snap length 4 | link type 4 |    then for each packet
 *    packet  | seconds 4 | fraction 4 | captured 4 | original 4 | octets …
 *
 * The magic tells byte order and whether the fraction counts microseconds or nanoseconds. We write little-endian,
 * as nearly everybody does. pcap-parser knows only microseconds and takes a file that is cut short for one that
 * ends, so the reader looks at the file header first and counts octets after.
 * Left out: the frame check sequence bits of the link type, the modified format of old kernels.
 */

import { Readable } from "node:stream";
import { type PacketHeader, parse } from "pcap-parser";
import { ByteSink } from "./byte-sink.ts";
import { copy, setU16Le, setU32Le, u16, u16Le, u32, u32Le } from "./bytes.ts";
import { type Capture, type CapturedPacket, CaptureError, type CaptureTime, toNanoseconds } from "./capture-file.ts";

export const MAGIC_MICROSECONDS = 0xa1b2_c3d4;
export const MAGIC_NANOSECONDS = 0xa1b2_3c4d;
/** What tcpdump writes: no packet is longer. */
export const SNAP_LEN = 0x4_0000;

const FILE_HEADER_LEN = 24;
const PACKET_HEADER_LEN = 16;

export type PcapResolution = "microseconds" | "nanoseconds";

export class PcapWriter {
  readonly #sink = new ByteSink();
  readonly #resolution: PcapResolution;

  constructor(linkType: number, resolution: PcapResolution = "nanoseconds") {
    this.#resolution = resolution;
    const { block: b, offset: o } = this.#sink.reserve(FILE_HEADER_LEN);
    setU32Le(b, o, resolution === "nanoseconds" ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS);
    setU16Le(b, o + 4, 2);
    setU16Le(b, o + 6, 4);
    setU32Le(b, o + 16, SNAP_LEN);
    setU32Le(b, o + 20, linkType);
  }

  /** `len` octets of `bytes` from `off`; `originalLen` if the packet was longer on the wire. */
  packet(time: CaptureTime, bytes: Uint8Array, off: number, len: number, originalLen: number = len): void {
    const ns = toNanoseconds(time);
    const fraction = Number(ns % 1_000_000_000n);
    const { block: b, offset: o } = this.#sink.reserve(PACKET_HEADER_LEN + len);
    setU32Le(b, o, Number(ns / 1_000_000_000n));
    setU32Le(b, o + 4, this.#resolution === "nanoseconds" ? fraction : Math.floor(fraction / 1000));
    setU32Le(b, o + 8, len);
    setU32Le(b, o + 12, originalLen);
    copy(b, o + PACKET_HEADER_LEN, bytes, off, len);
  }

  /** The file so far. */
  bytes(): Uint8Array {
    return this.#sink.bytes();
  }

  /** What was added since the last drain; the first one begins with the file's header. */
  drain(): Uint8Array {
    return this.#sink.drain();
  }
}

function hex32(n: number): string {
  return `0x${n.toString(16).padStart(8, "0")}`;
}

function isMagic(n: number): boolean {
  return n === MAGIC_MICROSECONDS || n === MAGIC_NANOSECONDS;
}

/** Does the file begin like a classic capture? */
export function isPcap(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && (isMagic(u32(bytes, 0)) || isMagic(u32Le(bytes, 0)));
}

type FileHeader = { readonly littleEndian: boolean; readonly nanoseconds: boolean };

function readFileHeader(bytes: Uint8Array): FileHeader {
  if (bytes.length < FILE_HEADER_LEN) {
    throw new CaptureError(0, `${bytes.length} octets`, `a file header of ${FILE_HEADER_LEN}`);
  }
  if (!isPcap(bytes)) throw new CaptureError(0, `magic ${hex32(u32(bytes, 0))}`, "that of a pcap file");
  const littleEndian = isMagic(u32Le(bytes, 0));
  const magic = littleEndian ? u32Le(bytes, 0) : u32(bytes, 0);
  const major = littleEndian ? u16Le(bytes, 4) : u16(bytes, 4);
  const minor = littleEndian ? u16Le(bytes, 6) : u16(bytes, 6);
  if (major !== 2 || minor !== 4) throw new CaptureError(4, `version ${major}.${minor}`, "2.4");
  return { littleEndian, nanoseconds: magic === MAGIC_NANOSECONDS };
}

/** In one piece, because pcap-parser joins pieces by copying; with the magic of microseconds, the only one it knows. */
function forParser(bytes: Uint8Array, header: FileHeader): Buffer {
  if (!header.nanoseconds) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all = Buffer.from(bytes);
  if (header.littleEndian) all.writeUInt32LE(MAGIC_MICROSECONDS, 0);
  else all.writeUInt32BE(MAGIC_MICROSECONDS, 0);
  return all;
}

function cutShort(at: number, size: number, last: PacketHeader | undefined): CaptureError {
  if (last === undefined) {
    return new CaptureError(at, `${size - at} octets`, `a packet header of ${PACKET_HEADER_LEN}`);
  }
  return new CaptureError(at, `${size - at} octets`, `a packet of ${last.capturedLength}`);
}

/** Reads a whole classic capture file. Rejects with CaptureError if it is cut short or corrupt. */
export async function readPcap(bytes: Uint8Array): Promise<Capture> {
  const file = readFileHeader(bytes);
  const fractionNs = file.nanoseconds ? 1n : 1000n;
  const packets: CapturedPacket[] = [];
  let linkType = 0;
  let consumed = FILE_HEADER_LEN;
  let pending: PacketHeader | undefined;
  await new Promise<void>((resolve, reject) => {
    parse(Readable.from([forParser(bytes, file)]))
      .on("globalHeader", (h) => {
        linkType = h.linkLayerType & 0xffff;
      })
      .on("packetHeader", (h) => {
        pending = h;
        consumed += PACKET_HEADER_LEN;
      })
      .on("packet", ({ header, data }) => {
        pending = undefined;
        consumed += header.capturedLength;
        packets.push({
          interfaceId: 0,
          timeNs: BigInt(header.timestampSeconds) * 1_000_000_000n + BigInt(header.timestampMicroseconds) * fractionNs,
          bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
          originalLen: header.originalLength,
          comments: [],
          direction: undefined,
        });
      })
      .on("error", (cause) => reject(new CaptureError(consumed, cause.message, "a packet", { cause })))
      .on("end", resolve);
  });
  if (consumed !== bytes.length || pending !== undefined) throw cutShort(consumed, bytes.length, pending);
  return { format: "pcap", interfaces: [{ name: undefined, description: undefined, linkType }], packets };
}
