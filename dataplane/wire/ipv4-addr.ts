/**
 * IPv4 addresses as unsigned 32-bit numbers.
 *
 * Text is four decimal octets without leading zeros and nothing else, the form that Go's netip and the
 * Kubernetes API accept. Left out on purpose: the shorter, octal and hex forms of inet_aton.
 */

import { AddrError } from "./addr-error.ts";

declare const ipv4Brand: unique symbol;
export type Ipv4Addr = number & { readonly [ipv4Brand]: true };

export const UNSPECIFIED4: Ipv4Addr = 0 as Ipv4Addr;
export const LOOPBACK4: Ipv4Addr = 0x7f00_0001 as Ipv4Addr;
export const BROADCAST4: Ipv4Addr = 0xffff_ffff as Ipv4Addr;

export function parseIpv4(text: string): Ipv4Addr | undefined {
  let addr = 0;
  let octet = -1; // -1: no digit read yet
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x2e) {
      if (octet < 0 || ++dots > 3) return undefined;
      addr = addr * 256 + octet;
      octet = -1;
    } else {
      if (c < 0x30 || c > 0x39 || octet === 0) return undefined;
      octet = (octet < 0 ? 0 : octet * 10) + (c - 0x30);
      if (octet > 255) return undefined;
    }
  }
  return dots === 3 && octet >= 0 ? ((addr * 256 + octet) as Ipv4Addr) : undefined;
}

/** For literals: throws AddrError. */
export function ipv4(text: string): Ipv4Addr {
  const a = parseIpv4(text);
  if (a === undefined) throw new AddrError("IPv4 address", text);
  return a;
}

/** From arithmetic; brings a signed 32-bit result back to unsigned. */
export function ipv4Of(n: number): Ipv4Addr {
  return (n >>> 0) as Ipv4Addr;
}

export function formatIpv4(a: number): string {
  return `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
}

/** 224.0.0.0/4 */
export function isMulticast4(a: number): boolean {
  return a >>> 28 === 0xe;
}

/** 127.0.0.0/8 */
export function isLoopback4(a: number): boolean {
  return a >>> 24 === 127;
}

/** 169.254.0.0/16 */
export function isLinkLocal4(a: number): boolean {
  return a >>> 16 === 0xa9fe;
}

/** 0.0.0.0/8, which is never a destination on the wire. */
export function isZeronet4(a: number): boolean {
  return a >>> 24 === 0;
}
