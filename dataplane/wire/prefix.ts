/**
 * CIDR prefixes of both families.
 *
 * A `Prefix4` keeps the address as it was written, host bits included, because CNI and `ip addr` speak of
 * 10.1.0.5/24; `network4` clears them and `parseNetwork4` refuses them. Lengths have no leading zeros.
 */

import { AddrError } from "./addr-error.ts";
import { copy, setU8, u8 } from "./bytes.ts";
import { formatIpv4, type Ipv4Addr, parseIpv4 } from "./ipv4-addr.ts";
import { ADDR_LEN, formatIpv6, type Ipv6Addr, parseIpv6 } from "./ipv6-addr.ts";

export type Prefix4 = { readonly addr: Ipv4Addr; readonly len: number };
export type Prefix6 = { readonly addr: Ipv6Addr; readonly len: number };

const LEN_TEXT = /^(?:0|[1-9][0-9]{0,2})$/;

function parseLen(text: string, max: number): number | undefined {
  if (!LEN_TEXT.test(text)) return undefined;
  const n = Number(text);
  return n <= max ? n : undefined;
}

/** The netmask of a prefix length, unsigned. */
export function maskOf(len: number): number {
  return len === 0 ? 0 : (0xffff_ffff << (32 - len)) >>> 0;
}

/** The prefix length of a netmask, or undefined if its ones are not contiguous. */
export function lenOfMask(mask: number): number | undefined {
  const len = Math.clz32(~mask);
  return maskOf(len) === mask >>> 0 ? len : undefined;
}

export function parsePrefix4(text: string): Prefix4 | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const addr = parseIpv4(text.slice(0, slash));
  const len = parseLen(text.slice(slash + 1), 32);
  return addr === undefined || len === undefined ? undefined : { addr, len };
}

/** Like parsePrefix4, and the host bits must be zero. */
export function parseNetwork4(text: string): Prefix4 | undefined {
  const p = parsePrefix4(text);
  return p !== undefined && network4(p) === p.addr ? p : undefined;
}

/** For literals: throws AddrError. */
export function prefix4(text: string): Prefix4 {
  const p = parsePrefix4(text);
  if (p === undefined) throw new AddrError("IPv4 prefix", text);
  return p;
}

export function formatPrefix4(p: Prefix4): string {
  return `${formatIpv4(p.addr)}/${p.len}`;
}

/** The first address: host bits cleared. */
export function network4(p: Prefix4): Ipv4Addr {
  return ((p.addr & maskOf(p.len)) >>> 0) as Ipv4Addr;
}

/** The last address: host bits set. */
export function broadcast4(p: Prefix4): Ipv4Addr {
  return ((p.addr | ~maskOf(p.len)) >>> 0) as Ipv4Addr;
}

/** How many addresses, network and broadcast included. */
export function size4(p: Prefix4): number {
  return 2 ** (32 - p.len);
}

export function contains4(p: Prefix4, a: number): boolean {
  return ((p.addr ^ a) & maskOf(p.len)) === 0;
}

/** One prefix holds the other, whichever is the wider. */
export function overlaps4(p: Prefix4, q: Prefix4): boolean {
  return ((p.addr ^ q.addr) & maskOf(Math.min(p.len, q.len))) === 0;
}

export function equalPrefix4(p: Prefix4, q: Prefix4): boolean {
  return p.len === q.len && p.addr === q.addr;
}

export function parsePrefix6(text: string): Prefix6 | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const addr = parseIpv6(text.slice(0, slash));
  const len = parseLen(text.slice(slash + 1), 128);
  return addr === undefined || len === undefined ? undefined : { addr, len };
}

/** Like parsePrefix6, and the host bits must be zero. */
export function parseNetwork6(text: string): Prefix6 | undefined {
  const p = parsePrefix6(text);
  return p !== undefined && samePrefix(p.addr, 0, network6(p), 128) ? p : undefined;
}

/** For literals: throws AddrError. */
export function prefix6(text: string): Prefix6 {
  const p = parsePrefix6(text);
  if (p === undefined) throw new AddrError("IPv6 prefix", text);
  return p;
}

export function formatPrefix6(p: Prefix6): string {
  return `${formatIpv6(p.addr)}/${p.len}`;
}

/** Do the first `len` bits agree? */
function samePrefix(b: Uint8Array, off: number, addr: Ipv6Addr, len: number): boolean {
  const whole = len >>> 3;
  for (let i = 0; i < whole; i++) if (u8(b, off + i) !== u8(addr, i)) return false;
  const rest = len & 7;
  return rest === 0 || (u8(b, off + whole) ^ u8(addr, whole)) >>> (8 - rest) === 0;
}

function withHostBits(p: Prefix6, ones: boolean): Ipv6Addr {
  const a = new Uint8Array(ADDR_LEN);
  copy(a, 0, p.addr, 0, ADDR_LEN);
  for (let i = p.len >>> 3; i < ADDR_LEN; i++) {
    const host = i === p.len >>> 3 ? 0xff >>> (p.len & 7) : 0xff;
    setU8(a, i, ones ? u8(a, i) | host : u8(a, i) & ~host);
  }
  return a as Ipv6Addr;
}

/** The first address: host bits cleared. */
export function network6(p: Prefix6): Ipv6Addr {
  return withHostBits(p, false);
}

/** The last address: host bits set. (IPv6 has no broadcast.) */
export function last6(p: Prefix6): Ipv6Addr {
  return withHostBits(p, true);
}

export function contains6(p: Prefix6, a: Ipv6Addr): boolean {
  return samePrefix(a, 0, p.addr, p.len);
}

/** Like contains6, for the sixteen octets at an offset of a packet. */
export function contains6At(p: Prefix6, b: Uint8Array, off: number): boolean {
  return samePrefix(b, off, p.addr, p.len);
}

export function overlaps6(p: Prefix6, q: Prefix6): boolean {
  return samePrefix(p.addr, 0, q.addr, Math.min(p.len, q.len));
}

export function equalPrefix6(p: Prefix6, q: Prefix6): boolean {
  return p.len === q.len && samePrefix(p.addr, 0, q.addr, 128);
}
