/** Addresses with masks, as iptables takes and prints them: 10.0.0.1, 10.0.0.0/8, 10.0.0.1/255.0.0.255, fd00::/64. */
import { commonBits6, formatIp, type IpKey, isKey6, key6, key6Words, octets6, parseIp, word6 } from "../wire/ip-key.ts";
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

/** A network of IPv6: the key of its address, and how many bits of it count; -1 where a mask says which, word by word. */
export type Network6 = { readonly key: number; readonly len: number; readonly mask: readonly number[] | null };

const WHOLE = 128;

/** Undefined for what is no address. */
export function parseNetwork6(text: string): Network6 | undefined {
  const slash = text.indexOf("/");
  const addr = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (addr === undefined || !isKey6(addr)) return undefined;
  const rest = slash < 0 ? String(WHOLE) : text.slice(slash + 1);
  if (!rest.includes(":")) {
    if (!/^[0-9]{1,3}$/.test(rest) || Number(rest) > WHOLE) return undefined;
    return networkOf(addr, Number(rest));
  }
  const mask = parseIp(rest);
  if (mask === undefined) return undefined;
  const words = [0, 1, 2, 3].map((i) => word6(mask, i));
  const bits = words.map((w) => (w >>> 0).toString(2).padStart(32, "0")).join("");
  const holes = bits.indexOf("01");
  if (holes < 0) return networkOf(addr, bits.lastIndexOf("1") + 1);
  const masked = words.map((w, i) => w & word6(addr, i)) as [number, number, number, number];
  return { key: key6Words(...masked), len: -1, mask: words };
}

function networkOf(addr: IpKey, len: number): Network6 {
  return { key: key6(network6({ addr: octets6(addr), len })), len, mask: null };
}

export function holds6(network: Network6, key: number): boolean {
  if (!isKey6(key)) return false;
  const { mask } = network;
  if (mask === null) return commonBits6(network.key, key) >= network.len;
  for (let i = 0; i < mask.length; i++)
    if (((word6(network.key, i) ^ word6(key, i)) & (mask[i] as number)) !== 0) return false;
  return true;
}

export function formatNetwork6({ key, len, mask }: Network6): string {
  return `${formatIp(key)}/${mask === null ? len : formatIp(key6Words(...(mask as [number, number, number, number])))}`;
}

/** An IPv4 address with its mask, unless that is whole. */
export function formatMasked(addr: number, mask: number): string {
  const len = lenOfMask(mask >>> 0);
  return `${formatIpv4(addr)}${len === 32 ? "" : len === undefined ? `/${formatIpv4(mask)}` : `/${len}`}`;
}

export function formatAddress(addr: number, mask: number): string {
  if (isKey6(addr)) return `${formatIp(addr)}/128`;
  const len = lenOfMask(mask >>> 0);
  return `${formatIpv4(addr)}/${len === undefined ? formatIpv4(mask) : len}`;
}
