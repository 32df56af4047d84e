/** Addresses and prefixes between text and the octets of netlink attributes. */
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { formatIpv4, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { formatIpv6At, parseIpv6 } from "../../dataplane/wire/ipv6-addr.ts";
import { parseMac } from "../../dataplane/wire/mac-addr.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;
export type Family = typeof AF_INET | typeof AF_INET6;

export type Prefix = { readonly family: Family; readonly octets: Buffer; readonly len: number };

/** Throws EINVAL. */
export function parseAddress(text: string, what: string): Prefix {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) {
    const octets = Buffer.alloc(4);
    octets.writeUInt32BE(v4);
    return { family: AF_INET, octets, len: 32 };
  }
  const v6 = parseIpv6(text);
  if (v6 !== undefined) return { family: AF_INET6, octets: Buffer.from(v6), len: 128 };
  throw new NetlinkError("EINVAL", `${what}: ${text} is no address`);
}

/** An address with or without its length. Throws EINVAL. */
export function parsePrefix(text: string, what: string): Prefix {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash), what);
  if (slash < 0) return address;
  const length = text.slice(slash + 1);
  const len = Number(length);
  if (!/^\d{1,3}$/.test(length) || len > address.len) throw new NetlinkError("EINVAL", `${what}: ${text} is no prefix`);
  return { ...address, len };
}

export function formatAddress(octets: Uint8Array): string {
  if (octets.length === 4) return formatIpv4(Buffer.from(octets).readUInt32BE());
  return octets.length === 16 ? formatIpv6At(octets, 0) : Buffer.from(octets).toString("hex");
}

/** Throws EINVAL. */
export function macOctets(text: string, what: string): Buffer {
  if (parseMac(text) === undefined) throw new NetlinkError("EINVAL", `${what}: ${text} is no MAC address`);
  return Buffer.from(text.replaceAll(/[:-]/g, ""), "hex");
}

export function formatMacOctets(octets: Uint8Array): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join(":");
}

export function isZero(octets: Uint8Array): boolean {
  return octets.every((octet) => octet === 0);
}
