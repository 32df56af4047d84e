/** Addresses with masks, as iptables takes and prints them: 10.0.0.1, 10.0.0.0/8, 10.0.0.1/255.0.0.255. */
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { lenOfMask, maskOf } from "../wire/prefix.ts";

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

export function formatAddress(addr: number, mask: number): string {
  const len = lenOfMask(mask >>> 0);
  return `${formatIpv4(addr)}/${len === undefined ? formatIpv4(mask) : len}`;
}
