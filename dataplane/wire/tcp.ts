/**
 * TCP segments (RFC 9293; window scale and timestamps RFC 7323; SACK RFC 2018; ECN flags RFC 3168).
 *
 *    0             2                  4          8          12
 *    | source port | destination port | sequence | acknowl. | data offset, 0, flags |
 *    14       16         18               20
 *    | window | checksum | urgent pointer | options …
 *
 * `check` looks at lengths only. Left out: MD5 and AO options, fast open (carried as unknown options).
 */

import { setU8, setU16, setU32, u8, u16, u32 } from "./bytes.ts";
import { fillAt, pseudo4, pseudo6, verifies } from "./checksum.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import * as ipv6 from "./ipv6.ts";

/** Octets from the start of the TCP header. */
export const SRC_PORT = 0;
export const DST_PORT = 2;
export const SEQ = 4;
export const ACK_NUM = 8;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
export const URGENT = 18;
/** Without options. */
export const HEADER_LEN = 20;
export const MAX_HEADER_LEN = 60;

/** Flags. */
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** Option kinds. */
export const OPT_EOL = 0;
export const OPT_NOP = 1;
export const OPT_MSS = 2;
export const OPT_WINDOW_SCALE = 3;
export const OPT_SACK_PERMITTED = 4;
export const OPT_SACK = 5;
export const OPT_TIMESTAMPS = 8;

const PROTO_TCP = 6;

export function srcPort(b: Uint8Array, off: number): number {
  return u16(b, off + SRC_PORT);
}

export function dstPort(b: Uint8Array, off: number): number {
  return u16(b, off + DST_PORT);
}

export function seq(b: Uint8Array, off: number): number {
  return u32(b, off + SEQ);
}

export function ack(b: Uint8Array, off: number): number {
  return u32(b, off + ACK_NUM);
}

/** Header with options, in octets: 20 to 60. */
export function dataOffset(b: Uint8Array, off: number): number {
  return (u8(b, off + DATA_OFFSET) >>> 4) << 2;
}

export function flags(b: Uint8Array, off: number): number {
  return u8(b, off + FLAGS);
}

/** As in the segment, not scaled. */
export function window(b: Uint8Array, off: number): number {
  return u16(b, off + WINDOW);
}

export function checksum(b: Uint8Array, off: number): number {
  return u16(b, off + CHECKSUM);
}

export function urgent(b: Uint8Array, off: number): number {
  return u16(b, off + URGENT);
}

export function setSrcPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + SRC_PORT, v);
}

export function setDstPort(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + DST_PORT, v);
}

export function setSeq(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + SEQ, v);
}

export function setAck(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + ACK_NUM, v);
}

/** In octets, a multiple of 4. */
export function setDataOffset(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + DATA_OFFSET, (v >>> 2) << 4);
}

export function setFlags(b: Uint8Array, off: number, v: number): void {
  setU8(b, off + FLAGS, v);
}

export function setWindow(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + WINDOW, v);
}

export function setChecksum(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + CHECKSUM, v);
}

export function setUrgent(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + URGENT, v);
}

/** The fixed part with checksum 0; `dataOffset` in octets. Options are the caller's. */
export function write(
  b: Uint8Array,
  off: number,
  srcPort: number,
  dstPort: number,
  seq: number,
  ack: number,
  dataOffset: number,
  flags: number,
  window: number,
): void {
  setU16(b, off + SRC_PORT, srcPort);
  setU16(b, off + DST_PORT, dstPort);
  setU32(b, off + SEQ, seq);
  setU32(b, off + ACK_NUM, ack);
  setU8(b, off + DATA_OFFSET, (dataOffset >>> 2) << 4);
  setU8(b, off + FLAGS, flags);
  setU16(b, off + WINDOW, window);
  setU16(b, off + CHECKSUM, 0);
  setU16(b, off + URGENT, 0);
}

/** Offset of an option's kind octet, or -1. The walk stops at the first option whose length is impossible. */
export function findOption(b: Uint8Array, off: number, kind: number): number {
  const end = off + dataOffset(b, off);
  for (let at = off + HEADER_LEN; at < end; ) {
    const k = u8(b, at);
    if (k === OPT_EOL) return -1;
    if (k === OPT_NOP) {
      at++;
      continue;
    }
    const len = at + 1 < end ? u8(b, at + 1) : 0;
    if (len < 2 || at + len > end) return -1;
    if (k === kind) return at;
    at += len;
  }
  return -1;
}

/** Offset of an option that also has the length it must have, or -1. */
function findSized(b: Uint8Array, off: number, kind: number, len: number): number {
  const at = findOption(b, off, kind);
  return at >= 0 && u8(b, at + 1) === len ? at : -1;
}

/** -1 without the option. */
export function mss(b: Uint8Array, off: number): number {
  const at = findSized(b, off, OPT_MSS, 4);
  return at < 0 ? -1 : u16(b, at + 2);
}

/** The shift count; -1 without the option. */
export function windowScale(b: Uint8Array, off: number): number {
  const at = findSized(b, off, OPT_WINDOW_SCALE, 3);
  return at < 0 ? -1 : u8(b, at + 2);
}

export function sackPermitted(b: Uint8Array, off: number): boolean {
  return findSized(b, off, OPT_SACK_PERMITTED, 2) >= 0;
}

/** TSval; -1 without the option. */
export function timestampValue(b: Uint8Array, off: number): number {
  const at = findSized(b, off, OPT_TIMESTAMPS, 10);
  return at < 0 ? -1 : u32(b, at + 2);
}

/** TSecr; -1 without the option. */
export function timestampEcho(b: Uint8Array, off: number): number {
  const at = findSized(b, off, OPT_TIMESTAMPS, 10);
  return at < 0 ? -1 : u32(b, at + 6);
}

/** Returns the value before, or -1 if there is no option to change. Leaves the checksum as it is. */
export function setMss(b: Uint8Array, off: number, v: number): number {
  const at = findSized(b, off, OPT_MSS, 4);
  if (at < 0) return -1;
  const old = u16(b, at + 2);
  setU16(b, at + 2, v);
  return old;
}

/** `len` is header and payload. */
export function fillChecksum4(b: Uint8Array, off: number, len: number, src: number, dst: number): void {
  fillAt(b, off + CHECKSUM, off, len, pseudo4(src, dst, PROTO_TCP, len));
}

/** Addresses are read from the IPv6 header at `ipOff`. */
export function fillChecksum6(b: Uint8Array, off: number, len: number, ipOff: number): void {
  fillAt(b, off + CHECKSUM, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_TCP, len));
}

export function verify4(b: Uint8Array, off: number, len: number, src: number, dst: number): boolean {
  return verifies(b, off, len, pseudo4(src, dst, PROTO_TCP, len));
}

export function verify6(b: Uint8Array, off: number, len: number, ipOff: number): boolean {
  return verifies(b, off, len, pseudo6(b, ipOff + ipv6.SRC, ipOff + ipv6.DST, PROTO_TCP, len));
}

export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < HEADER_LEN) return DropReason.PKT_TOO_SMALL;
  const doff = dataOffset(b, off);
  return doff < HEADER_LEN || doff > end - off ? DropReason.PKT_TOO_SMALL : NOT_DROPPED;
}

export type TcpOption =
  | { readonly kind: "nop" }
  | { readonly kind: "mss"; readonly mss: number }
  | { readonly kind: "windowScale"; readonly shift: number }
  | { readonly kind: "sackPermitted" }
  | { readonly kind: "sack"; readonly blocks: readonly (readonly [left: number, right: number])[] }
  | { readonly kind: "timestamps"; readonly value: number; readonly echo: number }
  | { readonly kind: "unknown"; readonly option: number; readonly octets: readonly number[] };

export type Repr = {
  readonly srcPort: number;
  readonly dstPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  readonly window: number;
  readonly urgent: number;
  /** In the order of the segment, padding excluded. */
  readonly options: readonly TcpOption[];
};

function parseOption(b: Uint8Array, at: number): TcpOption {
  const kind = u8(b, at);
  const len = u8(b, at + 1);
  if (kind === OPT_MSS && len === 4) return { kind: "mss", mss: u16(b, at + 2) };
  if (kind === OPT_WINDOW_SCALE && len === 3) return { kind: "windowScale", shift: u8(b, at + 2) };
  if (kind === OPT_SACK_PERMITTED && len === 2) return { kind: "sackPermitted" };
  if (kind === OPT_TIMESTAMPS && len === 10) {
    return { kind: "timestamps", value: u32(b, at + 2), echo: u32(b, at + 6) };
  }
  if (kind === OPT_SACK && len > 2 && len % 8 === 2) {
    const blocks: [number, number][] = [];
    for (let i = 2; i < len; i += 8) blocks.push([u32(b, at + i), u32(b, at + i + 4)]);
    return { kind: "sack", blocks };
  }
  const octets: number[] = [];
  for (let i = 2; i < len; i++) octets.push(u8(b, at + i));
  return { kind: "unknown", option: kind, octets };
}

function parseOptions(b: Uint8Array, off: number): TcpOption[] {
  const options: TcpOption[] = [];
  const end = off + dataOffset(b, off);
  for (let at = off + HEADER_LEN; at < end && u8(b, at) !== OPT_EOL; ) {
    if (u8(b, at) === OPT_NOP) {
      options.push({ kind: "nop" });
      at++;
      continue;
    }
    const len = at + 1 < end ? u8(b, at + 1) : 0;
    if (len < 2 || at + len > end) break;
    options.push(parseOption(b, at));
    at += len;
  }
  return options;
}

/** Returns the offset after the option. */
function emitOption(o: TcpOption, b: Uint8Array, at: number): number {
  switch (o.kind) {
    case "nop":
      setU8(b, at, OPT_NOP);
      return at + 1;
    case "mss":
      setU16(b, at, (OPT_MSS << 8) | 4);
      setU16(b, at + 2, o.mss);
      return at + 4;
    case "windowScale":
      setU16(b, at, (OPT_WINDOW_SCALE << 8) | 3);
      setU8(b, at + 2, o.shift);
      return at + 3;
    case "sackPermitted":
      setU16(b, at, (OPT_SACK_PERMITTED << 8) | 2);
      return at + 2;
    case "timestamps":
      setU16(b, at, (OPT_TIMESTAMPS << 8) | 10);
      setU32(b, at + 2, o.value);
      setU32(b, at + 6, o.echo);
      return at + 10;
    case "sack": {
      const len = 2 + 8 * o.blocks.length;
      setU16(b, at, (OPT_SACK << 8) | len);
      for (const [i, [left, right]] of o.blocks.entries()) {
        setU32(b, at + 2 + 8 * i, left);
        setU32(b, at + 6 + 8 * i, right);
      }
      return at + len;
    }
    case "unknown": {
      setU16(b, at, (o.option << 8) | (2 + o.octets.length));
      for (const [i, octet] of o.octets.entries()) setU8(b, at + 2 + i, octet);
      return at + 2 + o.octets.length;
    }
  }
}

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return {
    srcPort: srcPort(b, off),
    dstPort: dstPort(b, off),
    seq: seq(b, off),
    ack: ack(b, off),
    flags: flags(b, off),
    window: window(b, off),
    urgent: urgent(b, off),
    options: parseOptions(b, off),
  };
}

/** Returns the header's length; options are padded to it. Leaves the checksum 0 for fillChecksum4 or 6. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  let at = off + HEADER_LEN;
  for (const o of r.options) at = emitOption(o, b, at);
  while (((at - off) & 3) !== 0) setU8(b, at++, OPT_EOL);
  write(b, off, r.srcPort, r.dstPort, r.seq, r.ack, at - off, r.flags, r.window);
  setUrgent(b, off, r.urgent);
  return at - off;
}

/** tcpdump's letters: S is SYN, a dot is ACK, and "none" for no flag at all. */
export function formatFlags(f: number): string {
  const letters =
    ((f & FIN) !== 0 ? "F" : "") +
    ((f & SYN) !== 0 ? "S" : "") +
    ((f & RST) !== 0 ? "R" : "") +
    ((f & PSH) !== 0 ? "P" : "") +
    ((f & ACK) !== 0 ? "." : "") +
    ((f & URG) !== 0 ? "U" : "") +
    ((f & ECE) !== 0 ? "E" : "") +
    ((f & CWR) !== 0 ? "W" : "");
  return `[${letters === "" ? "none" : letters}]`;
}

function formatOption(o: TcpOption): string {
  switch (o.kind) {
    case "nop":
      return "nop";
    case "mss":
      return `mss ${o.mss}`;
    case "windowScale":
      return `wscale ${o.shift}`;
    case "sackPermitted":
      return "sackOK";
    case "timestamps":
      return `TS val ${o.value} ecr ${o.echo}`;
    case "sack":
      return `sack ${o.blocks.map(([left, right]) => `{${left}:${right}}`).join("")}`;
    case "unknown":
      return `opt-${o.option}`;
  }
}

export function format(r: Repr): string {
  const ackText = (r.flags & ACK) !== 0 ? `, ack ${r.ack}` : "";
  const options = r.options.length === 0 ? "" : `, options [${r.options.map(formatOption).join(",")}]`;
  return `TCP ${r.srcPort} > ${r.dstPort}, Flags ${formatFlags(r.flags)}, seq ${r.seq}${ackText}, win ${r.window}${options}`;
}
