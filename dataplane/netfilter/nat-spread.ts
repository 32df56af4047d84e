/**
 * Which address of a range a connection is moved to (find_best_ips_proto of nf_nat_core.c): by a hash of its source and,
 * unless the choice is to last, its destination. The hash has no key, so that the choice is the kernel's.
 */
import { setU32 } from "../wire/bytes.ts";
import { isKey6, key6Words, word6 } from "../wire/ip-key.ts";
import { jhash } from "../wire/jhash.ts";
import { MANIP_DST } from "./nat-manip.ts";

/** An address as the kernel holds it, of either family; and what the hash needs behind it. */
const ADDRESS_LEN = 16;
const octets: Uint8Array = new Uint8Array(ADDRESS_LEN + 12);
const chosen: [number, number, number, number] = [0, 0, 0, 0];

/** An octet order turned round: the kernel hashes addresses as they stand in memory. */
function swapped(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function wordOf(address: number, i: number): number {
  return isKey6(address) ? word6(address, i) : address;
}

/** Addresses as in Tuple; `src` and `dst` are those of the connection before. */
export function spread(
  min: number,
  max: number,
  src: number,
  dst: number,
  manip: number,
  persistent: boolean,
  zone: number,
): number {
  const count = isKey6(min) ? 4 : 1;
  octets.fill(0);
  for (let i = 0; i < count; i++) setU32(octets, 4 * i, wordOf(src, i) >>> 0);
  let j = jhash(octets, ADDRESS_LEN, persistent ? 0 : swapped(wordOf(dst, count - 1)) ^ zone);
  let full = false;
  for (let i = 0; i < count; i++) {
    const from = full ? 0 : wordOf(min, i) >>> 0;
    const room = full ? 0xffffffff : (wordOf(max, i) - from + 1) >>> 0;
    const word = (from + Math.floor(((j >>> 0) * room) / 0x1_0000_0000)) | 0;
    chosen[i] = word;
    if (word !== wordOf(max, i)) full = true;
    if (!persistent) j ^= swapped(manip === MANIP_DST ? word : wordOf(dst, i));
  }
  return count === 1 ? chosen[0] : key6Words(...chosen);
}
