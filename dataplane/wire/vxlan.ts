/**
 * VXLAN (RFC 7348; checks as the kernel's vxlan_rcv), inside UDP; an Ethernet frame follows.
 *
 *    0        1          4     7
 *    | I flag | reserved | VNI | reserved |
 *
 * Left out: group policy, GPE and remote checksum offload, whose bits the kernel refuses unless asked for.
 */

import { setU32, u8, u24, u32 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";

/** Octets from the start of the VXLAN header. */
export const FLAGS = 0;
export const VNI = 4;
export const HEADER_LEN = 8;

/** "The VNI is valid", in the first octet. */
export const FLAG_VNI = 0x08;
/** Assigned by IANA. */
export const PORT = 4789;
/** Linux's default from before the assignment, and flannel's. */
export const PORT_LINUX = 8472;
export const VNI_MAX = 0xff_ffff;

export function flags(b: Uint8Array, off: number): number {
  return u8(b, off + FLAGS);
}

export function vni(b: Uint8Array, off: number): number {
  return u24(b, off + VNI);
}

export function setFlags(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + FLAGS, v << 24);
}

export function setVni(b: Uint8Array, off: number, v: number): void {
  setU32(b, off + VNI, v << 8);
}

export function write(b: Uint8Array, off: number, vni: number): void {
  setU32(b, off + FLAGS, FLAG_VNI << 24);
  setU32(b, off + VNI, vni << 8);
}

/** The I flag and nothing else: every reserved bit must be zero. */
export function check(b: Uint8Array, off: number, end: number): DropReasonCode {
  if (end - off < HEADER_LEN) return DropReason.PKT_TOO_SMALL;
  const ok = u32(b, off + FLAGS) === 0x0800_0000 && u8(b, off + VNI + 3) === 0;
  return ok ? NOT_DROPPED : DropReason.VXLAN_INVALID_HDR;
}

export type Repr = { readonly vni: number };

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  return check(b, off, end) === NOT_DROPPED ? { vni: vni(b, off) } : undefined;
}

export function emit(r: Repr, b: Uint8Array, off: number): number {
  write(b, off, r.vni);
  return HEADER_LEN;
}

export function format(r: Repr): string {
  return `VXLAN, vni ${r.vni}`;
}
