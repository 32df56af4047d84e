/**
 * Addresses and prefixes as text, read strictly (RFC 4291, RFC 5952, RFC 4632), for the control plane, where they come
 * from YAML and go back to text: one number type for both families over the parsers of dataplane/wire.
 */
import { formatIpv4, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { formatIpv6, ipv6Of, parseIpv6 } from "../../dataplane/wire/ipv6-addr.ts";

export type Family = 4 | 6;
export type Ip = { readonly family: Family; readonly value: bigint };
export type Cidr = { readonly family: Family; readonly base: bigint; readonly bits: number };

export const WIDTH: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

/** IPv4 with leading zeros is decimal, as Kubernetes reads what older versions let in (ParseIPSloppy). */
export function parseIp(text: string): Ip | null {
  if (!text.includes(":")) {
    const v4 = parseIpv4(withoutZeros(text));
    return v4 === undefined ? null : { family: 4, value: BigInt(v4) };
  }
  const v6 = parseIpv6(text);
  return v6 === undefined ? null : { family: 6, value: v6.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n) };
}

function withoutZeros(text: string): string {
  return LEADING_ZERO.test(text) ? text.replaceAll(/(?<![0-9])0+(?=[0-9])/g, "") : text;
}

const LEADING_ZERO = /(?:^|\.)0[0-9]/;

/** An address as it is written by everybody else: without leading zeros, IPv6 by RFC 5952. What is none stays as it is. */
export function canonicalIp(text: string): string {
  if (!text.includes(":") && !LEADING_ZERO.test(text)) return text;
  const ip = parseIp(text);
  return ip === null ? text : formatIp(ip);
}

export function isIp(text: string): boolean {
  return parseIp(text) !== null;
}

export function familyOf(text: string): Family {
  return text.includes(":") ? 6 : 4;
}

export function formatIp(ip: Ip): string {
  if (ip.family === 4) return formatIpv4(Number(ip.value));
  const octets = new Uint8Array(16);
  for (let i = 15, rest = ip.value; i >= 0; i--, rest >>= 8n) octets[i] = Number(rest & 0xffn);
  return formatIpv6(ipv6Of(octets));
}

/** "10.0.0.0/8"; bits of the host part are masked off. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf("/");
  const ip = slash < 0 ? null : parseIp(text.slice(0, slash));
  const length = text.slice(slash + 1);
  if (ip === null || !/^(0|[1-9]\d{0,2})$/.test(length)) return null;
  const bits = Number(length);
  if (bits > WIDTH[ip.family]) return null;
  const host = BigInt(WIDTH[ip.family] - bits);
  return { family: ip.family, base: (ip.value >> host) << host, bits };
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIp({ family: cidr.family, value: cidr.base })}/${cidr.bits}`;
}

/** How many addresses a prefix holds. */
export function sizeOf(cidr: Cidr): bigint {
  return 1n << BigInt(WIDTH[cidr.family] - cidr.bits);
}

export function contains(cidr: Cidr, ip: Ip): boolean {
  if (cidr.family !== ip.family) return false;
  const host = BigInt(WIDTH[cidr.family] - cidr.bits);
  return ip.value >> host === cidr.base >> host;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false;
  const [wide, narrow] = a.bits <= b.bits ? [a, b] : [b, a];
  return contains(wide, { family: narrow.family, value: narrow.base });
}

/** The address at an offset from the start of a prefix. */
export function nth(cidr: Cidr, offset: bigint | number): string {
  return formatIp({ family: cidr.family, value: cidr.base + BigInt(offset) });
}

/** `ip:port`, with the brackets that IPv6 needs. */
export function hostPort(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}
