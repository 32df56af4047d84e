/**
 * Any IP address as one number, so that what the stack keeps by address (routes, neighbours, sockets, connections) need
 * not know the family.
 *
 * IPv4 is the address itself. An IPv6 address gets the next free number of 0.0.0.0/8 when it is first seen, where no host
 * has an address (RFC 1122 section 3.2.1.3), and keeps it: the sixteen octets are stored once, and a key compares as fast
 * as an IPv4 address. There is room for 16,777,215 of them; they are never given up.
 */
import { AddrError } from "./addr-error.ts";
import { setU32, u32 } from "./bytes.ts";
import { formatIpv4, type Ipv4Addr, parseIpv4 } from "./ipv4-addr.ts";
import { ADDR_LEN, formatIpv6, type Ipv6Addr, ipv6Of, parseIpv6 } from "./ipv6-addr.ts";
import { parsePrefix4, parsePrefix6 } from "./prefix.ts";

/** An IPv4 address, or the key of an IPv6 one. */
export type IpKey = Ipv4Addr;

const LAST = 0xff_ffff;
const WORDS = 4;
const MIN_SLOTS = 1024;

/** By key: four words each; key 0 is IPv4's. */
let words = new Int32Array(MIN_SLOTS * WORDS);
const octets: (Ipv6Addr | null)[] = [null];
/** Keys by hash, 0 for free; at most half full. */
let slots = new Int32Array(MIN_SLOTS);

function hash(a: number, b: number, c: number, d: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

/** The key of four words, or 0 where they were never seen. */
function find(a: number, b: number, c: number, d: number): number {
  const mask = slots.length - 1;
  for (let i = hash(a, b, c, d) & mask; ; i = (i + 1) & mask) {
    const key = slots[i] as number;
    if (key === 0) return 0;
    const at = key * WORDS;
    if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) return key;
  }
}

function intern(a: number, b: number, c: number, d: number): number {
  const known = find(a, b, c, d);
  if (known !== 0) return known;
  const key = octets.length;
  if (key > LAST) throw new RangeError(`more than ${LAST} IPv6 addresses`);
  if ((key + 1) * WORDS > words.length) {
    const more = new Int32Array(words.length * 2);
    more.set(words);
    words = more;
  }
  words.set([a, b, c, d], key * WORDS);
  const bytes = new Uint8Array(ADDR_LEN);
  for (const [i, w] of [a, b, c, d].entries()) setU32(bytes, i * 4, w >>> 0);
  octets.push(ipv6Of(bytes));
  if (key * 2 >= slots.length) grow();
  else place(slots, key);
  return key;
}

function place(into: Int32Array, key: number): void {
  const mask = into.length - 1;
  const at = key * WORDS;
  const [a, b, c, d] = [words[at], words[at + 1], words[at + 2], words[at + 3]] as [number, number, number, number];
  let i = hash(a, b, c, d) & mask;
  while (into[i] !== 0) i = (i + 1) & mask;
  into[i] = key;
}

function grow(): void {
  const more = new Int32Array(slots.length * 2);
  for (let key = 1; key < octets.length; key++) place(more, key);
  slots = more;
}

/** The key of the sixteen octets at an offset. */
export function key6At(b: Uint8Array, off: number): IpKey {
  return intern(u32(b, off) | 0, u32(b, off + 4) | 0, u32(b, off + 8) | 0, u32(b, off + 12) | 0) as IpKey;
}

/** The key of four words, as signed integers. */
export function key6Words(a: number, b: number, c: number, d: number): IpKey {
  return intern(a, b, c, d) as IpKey;
}

/** A word of an IPv6 address, 0 to 3, as a signed integer. */
export function word6(key: number, i: number): number {
  return words[key * WORDS + i] as number;
}

export function key6(address: Ipv6Addr): IpKey {
  return key6At(address, 0);
}

/** Whether a key is that of an IPv6 address. */
export function isKey6(key: number): boolean {
  return key !== 0 && key >>> 24 === 0;
}

/** The octets behind a key of an IPv6 address. */
export function octets6(key: number): Ipv6Addr {
  return octets[key] as Ipv6Addr;
}

/** The key of an IPv6 address whose bits behind `len` are zeros; 0 where that network was never named. */
export function network6Key(key: number, len: number): number {
  const at = key * WORDS;
  return find(
    (words[at] as number) & wordMask(len),
    (words[at + 1] as number) & wordMask(len - 32),
    (words[at + 2] as number) & wordMask(len - 64),
    (words[at + 3] as number) & wordMask(len - 96),
  );
}

/** The same network, which has a key from now on. */
export function network6Of(key: number, len: number): IpKey {
  const at = key * WORDS;
  const word = (i: number): number => (words[at + i] as number) & wordMask(len - 32 * i);
  return intern(word(0), word(1), word(2), word(3)) as IpKey;
}

/** The key of the address that has its first `len` bits of a network, the others of another address. */
export function rebase6(network: number, len: number, key: number): IpKey {
  const [net, host] = [network * WORDS, key * WORDS];
  const word = (i: number): number => {
    const mask = wordMask(len - 32 * i);
    return ((words[net + i] as number) & mask) | ((words[host + i] as number) & ~mask);
  };
  return intern(word(0), word(1), word(2), word(3)) as IpKey;
}

/** The mask of a word of which the first `bits` bits belong to the prefix. */
function wordMask(bits: number): number {
  return bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits);
}

/** How many bits two IPv6 addresses have in common from the left. */
export function commonBits6(a: number, b: number): number {
  for (let i = 0; i < WORDS; i++) {
    const differ = (words[a * WORDS + i] as number) ^ (words[b * WORDS + i] as number);
    if (differ !== 0) return i * 32 + Math.clz32(differ);
  }
  return WORDS * 32;
}

/** The order of two addresses of one family. */
export function compareIp(a: number, b: number): number {
  if (!isKey6(a) || !isKey6(b)) return (a >>> 0) - (b >>> 0);
  for (let i = 0; i < WORDS; i++) {
    const d = (word6(a, i) >>> 0) - (word6(b, i) >>> 0);
    if (d !== 0) return d;
  }
  return 0;
}

/** fe80::/10. */
export function isLinkLocal6(key: number): boolean {
  return (words[key * WORDS] as number) >>> 22 === 0x3fa;
}

/** "::". */
export function isUnspecifiedKey6(key: number): boolean {
  for (let i = 0; i < WORDS; i++) if (word6(key, i) !== 0) return false;
  return true;
}

/** ff00::/8. */
export function isMulticastKey6(key: number): boolean {
  return (words[key * WORDS] as number) >>> 24 === 0xff;
}

export function formatIp(key: number): string {
  return isKey6(key) ? formatIpv6(octets6(key)) : formatIpv4((key >>> 0) as Ipv4Addr);
}

/** "10.0.0.1:80" or "[fd00::1]:80". */
export function formatIpPort(key: number, port: number): string {
  return isKey6(key) ? `[${formatIp(key)}]:${port}` : `${formatIp(key)}:${port}`;
}

/** Undefined for what is no address. */
export function parseIp(text: string): IpKey | undefined {
  if (!text.includes(":")) return parseIpv4(text);
  const v6 = parseIpv6(text);
  return v6 === undefined ? undefined : key6(v6);
}

/** For literals: throws AddrError. */
export function ipKey(text: string): IpKey {
  const key = parseIp(text);
  if (key === undefined) throw new AddrError("IP address", text);
  return key;
}

/** "10.0.0.0/8" or "fd00::/64". Undefined for what is no prefix. */
export function parsePrefix(text: string): { readonly addr: IpKey; readonly len: number } | undefined {
  if (!text.includes(":")) return parsePrefix4(text);
  const p = parsePrefix6(text);
  return p === undefined ? undefined : { addr: key6(p.addr), len: p.len };
}

/** Whether an address is in a prefix; never where the families differ. */
export function inPrefix(prefix: { readonly addr: IpKey; readonly len: number }, key: IpKey): boolean {
  if (isKey6(key) !== isKey6(prefix.addr)) return false;
  if (isKey6(key)) return commonBits6(prefix.addr, key) >= prefix.len;
  return prefix.len === 0 || (prefix.addr ^ key) >>> (32 - prefix.len) === 0;
}

/** Bits of a whole address of this family. */
export function widthOf(key: number): 32 | 128 {
  return isKey6(key) ? 128 : 32;
}
