/**
 * Addresses and prefixes of both families as one type, for choosing addresses: a family and a bigint.
 *
 * This is the cold path of plugins and IPAM; the packet path uses `dataplane/wire` directly, which also does the
 * parsing and printing here. Left out: zones, IPv4-mapped addresses as IPv4.
 */
import { formatIpv4, parseIpv4 } from "../dataplane/wire/ipv4-addr.ts";
import { ADDR_LEN, formatIpv6, ipv6Of, parseIpv6 } from "../dataplane/wire/ipv6-addr.ts";

export type Family = 4 | 6;
export type Ip = { readonly family: Family; readonly value: bigint };
/** The address as written, host bits included. */
export type Cidr = { readonly ip: Ip; readonly len: number };

const LEN_TEXT = /^(?:0|[1-9][0-9]{0,2})$/;

export function bitsOf(family: Family): number {
  return family === 4 ? 32 : 128;
}

export function parseIp(text: string): Ip | undefined {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return { family: 4, value: BigInt(v4) };
  const v6 = parseIpv6(text);
  if (v6 === undefined) return undefined;
  let value = 0n;
  for (const octet of v6) value = (value << 8n) | BigInt(octet);
  return { family: 6, value };
}

export function formatIp(ip: Ip): string {
  if (ip.family === 4) return formatIpv4(Number(ip.value));
  const octets = new Uint8Array(ADDR_LEN);
  let rest = ip.value;
  for (let i = ADDR_LEN - 1; i >= 0; i--) {
    octets[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return formatIpv6(ipv6Of(octets));
}

/** The canonical text of an address, or undefined: two spellings of one address compare equal after it. */
export function canonicalIp(text: string): string | undefined {
  const ip = parseIp(text);
  return ip === undefined ? undefined : formatIp(ip);
}

export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  const lenText = text.slice(slash + 1);
  if (ip === undefined || !LEN_TEXT.test(lenText)) return undefined;
  const len = Number(lenText);
  return len <= bitsOf(ip.family) ? { ip, len } : undefined;
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp(cidr.ip)}/${cidr.len}`;
}

function hostMask(cidr: Cidr): bigint {
  return (1n << BigInt(bitsOf(cidr.ip.family) - cidr.len)) - 1n;
}

/** The first address: host bits cleared. */
export function firstOf(cidr: Cidr): Ip {
  return { family: cidr.ip.family, value: cidr.ip.value & ~hostMask(cidr) };
}

/** The last address: host bits set. For IPv4 that is the broadcast address. */
export function lastOf(cidr: Cidr): Ip {
  return { family: cidr.ip.family, value: cidr.ip.value | hostMask(cidr) };
}

export function networkOf(cidr: Cidr): Cidr {
  return { ip: firstOf(cidr), len: cidr.len };
}

export function contains(cidr: Cidr, ip: Ip): boolean {
  return cidr.ip.family === ip.family && (cidr.ip.value | hostMask(cidr)) === (ip.value | hostMask(cidr));
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.len <= b.len ? contains(a, b.ip) : contains(b, a.ip);
}

export function sameIp(a: Ip, b: Ip): boolean {
  return a.family === b.family && a.value === b.value;
}

export function plus(ip: Ip, n: bigint): Ip {
  return { family: ip.family, value: ip.value + n };
}
