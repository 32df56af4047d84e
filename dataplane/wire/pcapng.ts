/**
 * pcapng capture files (draft-ietf-opsawg-pcapng): several interfaces, a comment and a direction on each packet.
 *
 *    block | type 4 | total length 4 | body, a multiple of 4 | total length 4 |
 *
 * Written: one section, an interface block each (name, description, nanoseconds), an enhanced packet block each.
 * Nothing in the file depends on the machine or the time of day, so the same packets give the same file.
 * Read: section, interface, enhanced and simple packet blocks of either byte order; other blocks are passed over.
 * Left out: the obsolete packet block, name resolution, statistics, decryption secrets.
 */

import { ByteSink } from "./byte-sink.ts";
import { copy, setU16Le, setU32Le, u8, u16, u16Le, u32, u32Le } from "./bytes.ts";
import {
  type Capture,
  type CapturedPacket,
  CaptureError,
  type CaptureInterface,
  type CaptureTime,
  type Direction,
  toNanoseconds,
} from "./capture-file.ts";

/** Block types. */
const SECTION_HEADER = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;

const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;

/** Options; those below 2 belong to every block. */
const OPT_END = 0;
const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const IF_TSOFFSET = 14;
const EPB_FLAGS = 2;

const NANOSECONDS = 9;
const SNAP_LEN = 0x4_0000;
const MAX_OPTION_LEN = 0xffff;

type Option = { readonly code: number; readonly value: Uint8Array };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** UTF-8, cut between characters where an option cannot hold it. */
function textOption(code: number, text: string): Option {
  const whole = encoder.encode(text);
  if (whole.length <= MAX_OPTION_LEN) return { code, value: whole };
  const cut = new Uint8Array(MAX_OPTION_LEN);
  return { code, value: cut.subarray(0, encoder.encodeInto(text, cut).written) };
}

function padded(len: number): number {
  return (len + 3) & ~3;
}

function optionsLen(options: readonly Option[]): number {
  if (options.length === 0) return 0;
  return options.reduce((n, o) => n + 4 + padded(o.value.length), 4);
}

/** Room after the end-of-options mark is zero already, and so is the mark. */
function emitOptions(options: readonly Option[], b: Uint8Array, off: number): void {
  let at = off;
  for (const { code, value } of options) {
    setU16Le(b, at, code);
    setU16Le(b, at + 2, value.length);
    copy(b, at + 4, value, 0, value.length);
    at += 4 + padded(value.length);
  }
}

export class PcapngWriter {
  readonly #sink = new ByteSink();
  #interfaces = 0;

  constructor() {
    const options = [textOption(SHB_USERAPPL, "podwire")];
    const { block: b, offset: o } = this.#block(SECTION_HEADER, 16, options);
    setU32Le(b, o, BYTE_ORDER_MAGIC);
    setU16Le(b, o + 4, 1); // version 1.0
    setU32Le(b, o + 8, 0xffff_ffff); // length of the section: not said
    setU32Le(b, o + 12, 0xffff_ffff);
  }

  /** Writes a block's frame and options, and tells where the fixed part of its body goes. */
  #block(
    type: number,
    bodyLen: number,
    options: readonly Option[],
  ): { readonly block: Uint8Array; readonly offset: number } {
    const len = 12 + bodyLen + optionsLen(options);
    const { block, offset } = this.#sink.reserve(len);
    setU32Le(block, offset, type);
    setU32Le(block, offset + 4, len);
    setU32Le(block, offset + len - 4, len);
    emitOptions(options, block, offset + 8 + bodyLen);
    return { block, offset: offset + 8 };
  }

  /** Returns the id to give to `packet`. */
  addInterface(name: string, description: string, linkType: number): number {
    const options = [textOption(IF_NAME, name)];
    if (description !== "") options.push(textOption(IF_DESCRIPTION, description));
    options.push({ code: IF_TSRESOL, value: Uint8Array.of(NANOSECONDS) });
    const { block: b, offset: o } = this.#block(INTERFACE_DESCRIPTION, 8, options);
    setU16Le(b, o, linkType);
    setU32Le(b, o + 4, SNAP_LEN);
    return this.#interfaces++;
  }

  /** `len` octets of `bytes` from `off`. */
  packet(
    interfaceId: number,
    time: CaptureTime,
    bytes: Uint8Array,
    off: number,
    len: number,
    comment?: string,
    direction?: Direction,
    originalLen: number = len,
  ): void {
    if (interfaceId >= this.#interfaces) {
      throw new RangeError(`interface ${interfaceId}: not in this capture (${this.#interfaces} added)`);
    }
    const options: Option[] = [];
    if (comment !== undefined) options.push(textOption(OPT_COMMENT, comment));
    if (direction !== undefined) {
      options.push({ code: EPB_FLAGS, value: Uint8Array.of(direction === "in" ? 1 : 2, 0, 0, 0) });
    }
    const ns = toNanoseconds(time);
    const { block: b, offset: o } = this.#block(ENHANCED_PACKET, 20 + padded(len), options);
    setU32Le(b, o, interfaceId);
    setU32Le(b, o + 4, Number(ns >> 32n));
    setU32Le(b, o + 8, Number(ns & 0xffff_ffffn));
    setU32Le(b, o + 12, len);
    setU32Le(b, o + 16, originalLen);
    copy(b, o + 20, bytes, off, len);
  }

  /** The file so far. */
  bytes(): Uint8Array {
    return this.#sink.bytes();
  }

  /** What was added since the last drain; the first one begins with the section header. */
  drain(): Uint8Array {
    return this.#sink.drain();
  }
}

/** Does the file begin like a pcapng capture? */
export function isPcapng(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && u32(bytes, 0) === SECTION_HEADER;
}

/** An interface as the reader needs it: how to turn its time stamps into nanoseconds. */
type OpenInterface = { readonly id: number; readonly resolution: number; readonly offsetSeconds: bigint };

class PcapngReader {
  readonly interfaces: CaptureInterface[] = [];
  readonly packets: CapturedPacket[] = [];
  readonly #b: Uint8Array;
  /** Of the section under way: ids in a file begin again in each section. */
  #open: OpenInterface[] = [];
  #little = true;

  constructor(bytes: Uint8Array) {
    this.#b = bytes;
  }

  #u16(at: number): number {
    return this.#little ? u16Le(this.#b, at) : u16(this.#b, at);
  }

  #u32(at: number): number {
    return this.#little ? u32Le(this.#b, at) : u32(this.#b, at);
  }

  #u64(at: number): bigint {
    const first = BigInt(this.#u32(at));
    const second = BigInt(this.#u32(at + 4));
    return this.#little ? (second << 32n) | first : (first << 32n) | second;
  }

  readAll(): void {
    if (!isPcapng(this.#b)) {
      throw new CaptureError(0, `${Math.min(4, this.#b.length)} octets that are no section header`, "a pcapng file");
    }
    for (let at = 0; at < this.#b.length; ) at = this.#block(at);
  }

  /** Reads one block and returns the offset after it. */
  #block(at: number): number {
    const left = this.#b.length - at;
    if (left < 12) throw new CaptureError(at, `${left} octets`, "a block of at least 12");
    const isSection = u32(this.#b, at) === SECTION_HEADER; // reads the same in both byte orders
    if (isSection) this.#readByteOrder(at);
    const len = this.#u32(at + 4);
    if (len < 12 || len % 4 !== 0) {
      throw new CaptureError(at + 4, `block length ${len}`, "a multiple of 4, at least 12");
    }
    if (len > left) throw new CaptureError(at, `${left} octets`, `a block of ${len}`);
    const trailer = this.#u32(at + len - 4);
    if (trailer !== len) throw new CaptureError(at + len - 4, `block length ${trailer}`, `${len} as at its start`);
    this.#body(isSection ? SECTION_HEADER : this.#u32(at), at + 8, at + len - 4);
    return at + len;
  }

  #readByteOrder(at: number): void {
    this.#little = u32Le(this.#b, at + 8) === BYTE_ORDER_MAGIC;
    const found = u32(this.#b, at + 8);
    if (!this.#little && found !== BYTE_ORDER_MAGIC) {
      throw new CaptureError(at + 8, `0x${found.toString(16).padStart(8, "0")}`, "the byte-order magic 0x1a2b3c4d");
    }
  }

  #need(at: number, end: number, len: number, what: string): void {
    if (end - at < len) throw new CaptureError(at, `${end - at} octets`, `${what} of at least ${len}`);
  }

  #body(type: number, at: number, end: number): void {
    switch (type) {
      case SECTION_HEADER: {
        this.#need(at, end, 16, "a section header");
        const major = this.#u16(at + 4);
        if (major !== 1) throw new CaptureError(at + 4, `version ${major}.${this.#u16(at + 6)}`, "1.0");
        this.#open = [];
        return;
      }
      case INTERFACE_DESCRIPTION:
        this.#need(at, end, 8, "an interface description");
        this.#interface(at, end);
        return;
      case ENHANCED_PACKET:
        this.#need(at, end, 20, "an enhanced packet");
        this.#enhanced(at, end);
        return;
      case SIMPLE_PACKET:
        this.#need(at, end, 4, "a simple packet");
        this.#simple(at, end);
        return;
      default:
        return;
    }
  }

  #options(at: number, end: number): { readonly code: number; readonly at: number; readonly len: number }[] {
    const found: { code: number; at: number; len: number }[] = [];
    while (at < end) {
      if (end - at < 4) throw new CaptureError(at, `${end - at} octets`, "an option of at least 4");
      const code = this.#u16(at);
      const len = this.#u16(at + 2);
      if (code === OPT_END) break;
      if (at + 4 + len > end) throw new CaptureError(at, `${end - at - 4} octets`, `option ${code} of ${len}`);
      found.push({ code, at: at + 4, len });
      at += 4 + padded(len);
    }
    return found;
  }

  #text(at: number, len: number): string {
    return decoder.decode(this.#b.subarray(at, at + len));
  }

  #interface(at: number, end: number): void {
    let name: string | undefined;
    let description: string | undefined;
    let resolution = 6;
    let offsetSeconds = 0n;
    for (const o of this.#options(at + 8, end)) {
      if (o.code === IF_NAME) name = this.#text(o.at, o.len);
      else if (o.code === IF_DESCRIPTION) description = this.#text(o.at, o.len);
      else if (o.code === IF_TSRESOL && o.len === 1) resolution = u8(this.#b, o.at);
      else if (o.code === IF_TSOFFSET && o.len === 8) offsetSeconds = BigInt.asIntN(64, this.#u64(o.at));
    }
    this.#open.push({ id: this.interfaces.length, resolution, offsetSeconds });
    this.interfaces.push({ name, description, linkType: this.#u16(at) });
  }

  #interfaceAt(id: number, at: number): OpenInterface {
    const open = this.#open[id];
    if (open === undefined) throw new CaptureError(at, `interface ${id}`, `one of the ${this.#open.length} described`);
    return open;
  }

  #copyOf(at: number, len: number): Uint8Array {
    return this.#b.slice(at, at + len);
  }

  #enhanced(at: number, end: number): void {
    const open = this.#interfaceAt(this.#u32(at), at);
    const len = this.#u32(at + 12);
    const data = at + 20;
    if (len > end - data) throw new CaptureError(data, `${end - data} octets`, `a packet of ${len}`);
    const comments: string[] = [];
    let direction: Direction | undefined;
    for (const o of this.#options(data + padded(len), end)) {
      if (o.code === OPT_COMMENT) comments.push(this.#text(o.at, o.len));
      else if (o.code === EPB_FLAGS && o.len === 4) direction = directionOf(this.#u32(o.at));
    }
    const stamp = (BigInt(this.#u32(at + 4)) << 32n) | BigInt(this.#u32(at + 8));
    this.packets.push({
      interfaceId: open.id,
      timeNs: nanosecondsOf(stamp, open),
      bytes: this.#copyOf(data, len),
      originalLen: this.#u32(at + 16),
      comments,
      direction,
    });
  }

  /** Without a time stamp; belongs to the section's first interface. */
  #simple(at: number, end: number): void {
    const open = this.#interfaceAt(0, at);
    const originalLen = this.#u32(at);
    this.packets.push({
      interfaceId: open.id,
      timeNs: 0n,
      bytes: this.#copyOf(at + 4, Math.min(originalLen, end - at - 4)),
      originalLen,
      comments: [],
      direction: undefined,
    });
  }
}

function directionOf(flags: number): Direction | undefined {
  const bits = flags & 3;
  if (bits === 1) return "in";
  return bits === 2 ? "out" : undefined;
}

/** The resolution is a negative power of 10, or of 2 if its highest bit is set. */
function nanosecondsOf(stamp: bigint, open: OpenInterface): bigint {
  const exponent = BigInt(open.resolution & 0x7f);
  const unit = (open.resolution & 0x80) === 0 ? 10n ** exponent : 2n ** exponent;
  return (stamp * 1_000_000_000n) / unit + open.offsetSeconds * 1_000_000_000n;
}

/** Reads a whole pcapng file. Throws CaptureError if it is cut short or corrupt. */
export function readPcapng(bytes: Uint8Array): Capture {
  const reader = new PcapngReader(bytes);
  reader.readAll();
  return { format: "pcapng", interfaces: reader.interfaces, packets: reader.packets };
}
