/**
 * Setting a field of a header (net/netfilter/nft_payload.c, nft_payload_set_eval): the checksum follows by what changed. One
 * of a transport header that is partial stays, because ports are not in it yet.
 *
 * Left out: fields that other headers' checksums hold (addresses), fields of more than 32 bits, and what Linux does with a sum
 * of the whole packet that conntrack left: changing IPv6's header makes it wrong, and long UDP for the node itself is dropped.
 */
import type { NfPacket } from "../netfilter/packet.ts";
import { CHECKSUM_PARTIAL } from "../skb/skb.ts";
import { setU16, u16 } from "../wire/bytes.ts";
import { update16 } from "../wire/checksum.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { BASE_NH, type Key } from "./keys.ts";

/** Offsets in octets from the header's start; the field lies in one word of 16 bits, or in two. */
export type PayloadSpec = {
  readonly network: boolean;
  readonly offset: number;
  readonly words: number;
  /** Of the field in its words, and how far it stands from their right end. */
  readonly mask: number;
  readonly shift: number;
  /** Where the checksum is; -1 for none. */
  readonly checksum: number;
};

/** Fields that can be set, and where the checksum is that holds them. */
const SETTABLE: Readonly<Record<string, number>> = {
  "ip dscp": ipv4.HEADER_CHECKSUM,
  "ip ecn": ipv4.HEADER_CHECKSUM,
  "ip id": ipv4.HEADER_CHECKSUM,
  "ip ttl": ipv4.HEADER_CHECKSUM,
  "ip6 dscp": -1,
  "ip6 ecn": -1,
  "ip6 flowlabel": -1,
  "ip6 hoplimit": -1,
  "tcp sport": tcp.CHECKSUM,
  "tcp dport": tcp.CHECKSUM,
  "udp sport": udp.CHECKSUM,
  "udp dport": udp.CHECKSUM,
};

/** Null for a field that cannot be set here. */
export function payloadSpec(key: Key): PayloadSpec | null {
  const checksum = SETTABLE[key.text];
  if (checksum === undefined || key.load.kind !== "payload") return null;
  const { base, offset, bits } = key.load;
  const from = offset & ~15;
  const words = Math.ceil((offset + bits - from) / 16);
  const shift = from + words * 16 - offset - bits;
  const mask = ((bits === 32 ? -1 : (1 << bits) - 1) << shift) | 0;
  return { network: base === BASE_NH, offset: from >> 3, words, mask, shift, checksum };
}

/** False where the rule ends here. */
export function setPayload(s: PayloadSpec, value: number, p: NfPacket): boolean {
  if (!s.network && (p.proto < 0 || p.fragment !== 0)) return false;
  const start = s.network ? p.network : p.transport;
  if (start + s.offset + 2 * s.words > p.end) return false;
  const check = start + s.checksum;
  const summed = s.checksum >= 0 && (s.network || p.skb.csum !== CHECKSUM_PARTIAL);
  if (summed && check + 2 > p.end) return false;
  const bits = value << s.shift;
  for (let i = 0; i < s.words; i++) {
    const at = start + s.offset + 2 * i;
    const right = 16 * (s.words - 1 - i);
    const old = u16(p.b, at);
    const mask = (s.mask >>> right) & 0xffff;
    const now = (old & ~mask) | ((bits >>> right) & mask);
    setU16(p.b, at, now);
    if (summed) setU16(p.b, check, update16(u16(p.b, check), old, now) || 0xffff);
  }
  return true;
}
