/**
 * IPv6 addresses as sixteen octets (RFC 4291 text in, RFC 5952 text out).
 *
 * Addresses are immutable by convention: nobody writes into one that was handed out. As a map key use
 * `ipv6Key`. Left out: zones (`%eth0`), which belong to the interface and not to the address.
 */

import { AddrError } from "./addr-error.ts";
import { copy, equal, setU16, setU32, u8, u16 } from "./bytes.ts";
import { formatIpv4, parseIpv4 } from "./ipv4-addr.ts";

declare const ipv6Brand: unique symbol;
export type Ipv6Addr = Uint8Array & { readonly [ipv6Brand]: true };

export const ADDR_LEN = 16;

const HEX_GROUP = /^[0-9a-f]{1,4}$/i;

/** Reads groups between colons; a dotted quad may stand last and counts as two. Undefined when malformed. */
function groupsOf(text: string, quadAllowed: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (quadAllowed && i === parts.length - 1 && part.includes(".")) {
      const quad = parseIpv4(part);
      if (quad === undefined) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
    } else if (HEX_GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

export function parseIpv6(text: string): Ipv6Addr | undefined {
  const gap = text.indexOf("::");
  const head = groupsOf(gap < 0 ? text : text.slice(0, gap), gap < 0);
  const tail = gap < 0 ? [] : groupsOf(text.slice(gap + 2), true);
  if (head === undefined || tail === undefined) return undefined;
  const count = head.length + tail.length;
  // "::" stands for at least one group of zeros
  if (gap < 0 ? count !== 8 : count > 7) return undefined;
  const a = new Uint8Array(ADDR_LEN);
  for (const [i, g] of head.entries()) setU16(a, 2 * i, g);
  for (const [i, g] of tail.entries()) setU16(a, ADDR_LEN - 2 * (tail.length - i), g);
  return a as Ipv6Addr;
}

/** For literals: throws AddrError. */
export function ipv6(text: string): Ipv6Addr {
  const a = parseIpv6(text);
  if (a === undefined) throw new AddrError("IPv6 address", text);
  return a;
}

export const UNSPECIFIED6: Ipv6Addr = ipv6("::");
export const LOOPBACK6: Ipv6Addr = ipv6("::1");
export const ALL_NODES6: Ipv6Addr = ipv6("ff02::1");
export const ALL_ROUTERS6: Ipv6Addr = ipv6("ff02::2");

/** A copy of the sixteen octets at an offset. */
export function ipv6At(b: Uint8Array, off: number): Ipv6Addr {
  const a = new Uint8Array(ADDR_LEN);
  copy(a, 0, b, off, ADDR_LEN);
  return a as Ipv6Addr;
}

/** From sixteen octets that are already apart; they must not be written again. */
export function ipv6Of(octets: Uint8Array): Ipv6Addr {
  if (octets.length !== ADDR_LEN) throw new AddrError("IPv6 address", `${octets.length} octets`);
  return octets as Ipv6Addr;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as "::". */
export function formatIpv6At(b: Uint8Array, off: number): string {
  let best = -1;
  let bestLen = 1;
  for (let i = 0; i < 8; ) {
    let j = i;
    while (j < 8 && u16(b, off + 2 * j) === 0) j++;
    if (j - i > bestLen) {
      best = i;
      bestLen = j - i;
    }
    i = j === i ? i + 1 : j;
  }
  // section 5: an IPv4-mapped address shows its dotted quad
  if (best === 0 && bestLen === 5 && u16(b, off + 10) === 0xffff) {
    return `::ffff:${formatIpv4(u16(b, off + 12) * 0x1_0000 + u16(b, off + 14))}`;
  }
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === best) {
      text += "::";
      i += bestLen - 1;
    } else {
      if (text !== "" && !text.endsWith(":")) text += ":";
      text += u16(b, off + 2 * i).toString(16);
    }
  }
  return text;
}

export function formatIpv6(a: Ipv6Addr): string {
  return formatIpv6At(a, 0);
}

export function equalIpv6(a: Ipv6Addr, b: Ipv6Addr): boolean {
  return equal(a, 0, b, 0, ADDR_LEN);
}

/** Eight UTF-16 code units: short, unique, orders like the address. Not for people. */
export function ipv6KeyAt(b: Uint8Array, off: number): string {
  return String.fromCharCode(
    u16(b, off),
    u16(b, off + 2),
    u16(b, off + 4),
    u16(b, off + 6),
    u16(b, off + 8),
    u16(b, off + 10),
    u16(b, off + 12),
    u16(b, off + 14),
  );
}

export function ipv6Key(a: Ipv6Addr): string {
  return ipv6KeyAt(a, 0);
}

/** ff00::/8 */
export function isMulticast6(a: Uint8Array, off: number = 0): boolean {
  return u8(a, off) === 0xff;
}

/** fe80::/10 */
export function isLinkLocal6(a: Uint8Array, off: number = 0): boolean {
  return (u16(a, off) & 0xffc0) === 0xfe80;
}

export function isUnspecified6(a: Uint8Array, off: number = 0): boolean {
  return equal(a, off, UNSPECIFIED6, 0, ADDR_LEN);
}

export function isLoopback6(a: Uint8Array, off: number = 0): boolean {
  return equal(a, off, LOOPBACK6, 0, ADDR_LEN);
}

/** ff02::1:ffXX:XXXX, where neighbor solicitations for an address go (RFC 4291, 2.7.1). */
export function solicitedNode(a: Ipv6Addr): Ipv6Addr {
  const s = new Uint8Array(ADDR_LEN);
  setU16(s, 0, 0xff02);
  setU32(s, 10, 0x0001_ff00);
  copy(s, 13, a, 13, 3);
  return s as Ipv6Addr;
}
