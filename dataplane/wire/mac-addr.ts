/**
 * Ethernet addresses (EUI-48) as 48-bit numbers.
 *
 * Text is six octets of two hex digits with colons, as Linux prints them; upper case is read, lower case
 * is printed. Left out: hyphens, Cisco dots, EUI-64.
 */

import { AddrError } from "./addr-error.ts";

declare const macBrand: unique symbol;
export type Mac = number & { readonly [macBrand]: true };

export const ZERO_MAC: Mac = 0 as Mac;
export const BROADCAST_MAC: Mac = 0xffff_ffff_ffff as Mac;

const MAC_TEXT = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

export function parseMac(text: string): Mac | undefined {
  return MAC_TEXT.test(text) ? (Number.parseInt(text.replaceAll(":", ""), 16) as Mac) : undefined;
}

/** For literals: throws AddrError. */
export function mac(text: string): Mac {
  const m = parseMac(text);
  if (m === undefined) throw new AddrError("MAC address", text);
  return m;
}

/** From a number that is known to be one. */
export function macOf(n: number): Mac {
  return n as Mac;
}

/** The two integers that MACs are compared by: octets 0-1, and 2-5 as a signed one, which needs no heap number. */
export function macHi(mac: Mac): number {
  return Math.floor(mac / 0x1_0000_0000);
}

export function macLo(mac: Mac): number {
  return mac | 0;
}

export function formatMac(m: number): string {
  return m
    .toString(16)
    .padStart(12, "0")
    .replace(/(..)(?!$)/g, "$1:");
}

/** Group bit: the lowest bit of the first octet. Broadcast is a group too. */
export function isMulticastMac(m: number): boolean {
  return (Math.floor(m / 0x100_0000_0000) & 1) === 1;
}

export function isBroadcastMac(m: number): boolean {
  return m === BROADCAST_MAC;
}

/** Locally administered: the second lowest bit of the first octet. */
export function isLocalMac(m: number): boolean {
  return (Math.floor(m / 0x100_0000_0000) & 2) === 2;
}

/** A source address that the kernel accepts (is_valid_ether_addr): neither zero nor a group. */
export function isValidSourceMac(m: number): boolean {
  return m !== 0 && !isMulticastMac(m);
}

/** Where an IPv4 multicast packet goes on Ethernet (RFC 1112): 01:00:5e and the low 23 bits of the group. */
export function multicastMac4(group: number): Mac {
  return (0x0100_5e00_0000 + (group & 0x7f_ffff)) as Mac;
}

/** Where an IPv6 multicast packet goes on Ethernet (RFC 2464): 33:33 and the low 32 bits of the group. */
export function multicastMac6(low32: number): Mac {
  return (0x3333_0000_0000 + (low32 >>> 0)) as Mac;
}
