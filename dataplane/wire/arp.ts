/**
 * ARP for IPv4 over Ethernet (RFC 826; the kernel's net/ipv4/arp.c).
 *
 *    0      2      4   5   6    8            14       18           24       28
 *    | hrd  | pro  |hln|pln| op | sha        | spa    | tha        | tpa    |
 *
 * Left out: other hardware and protocol types, RARP.
 */

import { setU16, setU32, setU48, u16, u32, u48 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import { formatIpv4, type Ipv4Addr } from "./ipv4-addr.ts";
import { formatMac, type Mac } from "./mac-addr.ts";

/** Octets from the start of the ARP packet. */
export const HARDWARE_TYPE = 0;
export const PROTOCOL_TYPE = 2;
export const ADDRESS_LENS = 4;
export const OP = 6;
export const SHA = 8;
export const SPA = 14;
export const THA = 18;
export const TPA = 24;
export const LEN = 28;

export const OP_REQUEST = 1;
export const OP_REPLY = 2;

const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;
const LENS_6_AND_4 = 0x0604;

export function op(b: Uint8Array, off: number): number {
  return u16(b, off + OP);
}

/** Sender hardware address. */
export function sha(b: Uint8Array, off: number): Mac {
  return u48(b, off + SHA) as Mac;
}

/** Sender protocol address. */
export function spa(b: Uint8Array, off: number): Ipv4Addr {
  return u32(b, off + SPA) as Ipv4Addr;
}

/** Target hardware address; zero in a request. */
export function tha(b: Uint8Array, off: number): Mac {
  return u48(b, off + THA) as Mac;
}

/** Target protocol address. */
export function tpa(b: Uint8Array, off: number): Ipv4Addr {
  return u32(b, off + TPA) as Ipv4Addr;
}

export function setOp(b: Uint8Array, off: number, v: number): void {
  setU16(b, off + OP, v);
}

export function setSha(b: Uint8Array, off: number, v: Mac): void {
  setU48(b, off + SHA, v);
}

export function setSpa(b: Uint8Array, off: number, v: Ipv4Addr): void {
  setU32(b, off + SPA, v);
}

export function setTha(b: Uint8Array, off: number, v: Mac): void {
  setU48(b, off + THA, v);
}

export function setTpa(b: Uint8Array, off: number, v: Ipv4Addr): void {
  setU32(b, off + TPA, v);
}

export function write(b: Uint8Array, off: number, op: number, sha: Mac, spa: Ipv4Addr, tha: Mac, tpa: Ipv4Addr): void {
  setU16(b, off + HARDWARE_TYPE, HARDWARE_ETHERNET);
  setU16(b, off + PROTOCOL_TYPE, PROTOCOL_IPV4);
  setU16(b, off + ADDRESS_LENS, LENS_6_AND_4);
  setU16(b, off + OP, op);
  setU48(b, off + SHA, sha);
  setU32(b, off + SPA, spa);
  setU48(b, off + THA, tha);
  setU32(b, off + TPA, tpa);
}

export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < LEN) return DropReason.PKT_TOO_SMALL;
  const supported =
    u16(b, off + HARDWARE_TYPE) === HARDWARE_ETHERNET &&
    u16(b, off + PROTOCOL_TYPE) === PROTOCOL_IPV4 &&
    u16(b, off + ADDRESS_LENS) === LENS_6_AND_4;
  return supported ? NOT_DROPPED : DropReason.UNHANDLED_PROTO;
}

export type Repr = {
  readonly op: number;
  readonly sha: Mac;
  readonly spa: Ipv4Addr;
  readonly tha: Mac;
  readonly tpa: Ipv4Addr;
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end) !== NOT_DROPPED) return undefined;
  return { op: op(b, off), sha: sha(b, off), spa: spa(b, off), tha: tha(b, off), tpa: tpa(b, off) };
}

export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.op, r.sha, r.spa, r.tha, r.tpa);
  return LEN;
}

export function format(r: Repr): string {
  if (r.op === OP_REQUEST) {
    const announces = r.spa === r.tpa ? "announcement " : "who-has ";
    return r.spa === r.tpa
      ? `ARP ${announces}${formatIpv4(r.tpa)} is at ${formatMac(r.sha)}`
      : `ARP ${announces}${formatIpv4(r.tpa)} tell ${formatIpv4(r.spa)}`;
  }
  if (r.op === OP_REPLY) return `ARP reply ${formatIpv4(r.spa)} is at ${formatMac(r.sha)}`;
  return `ARP op ${r.op}`;
}
