/** Addresses with masks, as iptables takes and prints them: 10.0.0.1, 10.0.0.0/8, 10.0.0.1/255.0.0.255, fd00::/64. */
import { commonBits6, formatIp, isKey6, key6, octets6, parsePrefix } from "../wire/ip-key.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { lenOfMask, maskOf, network6 } from "../wire/prefix.ts";

/** Signed 32-bit integers; the address has no bits outside the mask. */
export type AddressMask = { readonly addr: number; readonly mask: number };

/** Undefined for what is no address. Names are not resolved. */
export function parseAddress(text: string): AddressMask | undefined {
  const slash = text.indexOf("/");
  const addr = parseIpv4(slash < 0 ? text : text.slice(0, slash));
  if (addr === undefined) return undefined;
  if (slash < 0) return { addr: addr | 0, mask: -1 };
  const rest = text.slice(slash + 1);
  const mask = /^[0-9]{1,2}$/.test(rest) ? (Number(rest) > 32 ? undefined : maskOf(Number(rest))) : parseIpv4(rest);
  return mask === undefined ? undefined : { addr: addr & mask, mask: mask | 0 };
}

/** A network of IPv6: the key of its address, and how many bits of it count. */
export type Network6 = { readonly key: number; readonly len: number };

/** Undefined for what is no address. */
export function parseNetwork6(text: string): Network6 | undefined {
  const p = parsePrefix(text.includes("/") ? text : `${text}/128`);
  if (p === undefined || !isKey6(p.addr)) return undefined;
  return { key: key6(network6({ addr: octets6(p.addr), len: p.len })), len: p.len };
}

export function holds6(network: Network6, key: number): boolean {
  return isKey6(key) && commonBits6(network.key, key) >= network.len;
}

export function formatNetwork6({ key, len }: Network6): string {
  return `${formatIp(key)}/${len}`;
}

export function formatAddress(addr: number, mask: number): string {
  if (isKey6(addr)) return `${formatIp(addr)}/128`;
  const len = lenOfMask(mask >>> 0);
  return `${formatIpv4(addr)}/${len === undefined ? formatIpv4(mask) : len}`;
}
