/**
 * `tcp option maxseg size set` (net/netfilter/nft_exthdr.c, nft_exthdr_tcp_set_eval): the maximum segment size that a packet
 * announces, lowered and never raised. A packet without the option stays as it is, unlike with TCPMSS of iptables. As the
 * kernel does, it takes the two octets for a word of the checksum wherever they stand.
 */
import type { NfPacket } from "../netfilter/packet.ts";
import { CHECKSUM_PARTIAL } from "../skb/skb.ts";
import { setU16, u8, u16 } from "../wire/bytes.ts";
import { update16 } from "../wire/checksum.ts";
import { headerLenOf } from "../wire/ip-header.ts";
import { ipv4Of } from "../wire/ipv4-addr.ts";
import * as tcp from "../wire/tcp.ts";

/** Octets; null is what the path takes (`rt mtu`). */
export type MssSpec = { readonly size: number | null };

/** TCP_MSS_DEFAULT, where the path tells nothing that can be. */
const DEFAULT_MSS = 536;
const OPTION_LEN = 4;

/** Octets of a segment that fit both ways (nft_rt.c, get_tcpmss); -1 where no route is known yet. */
function pathMss(p: NfPacket): number {
  const { dst } = p.skb;
  if (dst === null) return -1;
  const back = p.ns.fib.dst(ipv4Of(p.src));
  const mtu = back.dev === null ? dst.mtu : Math.min(dst.mtu, back.mtu);
  const headers = headerLenOf(ipv4Of(p.dst)) + tcp.HEADER_LEN;
  return mtu <= headers || mtu > 0xffff ? DEFAULT_MSS : mtu - headers;
}

/** False where the rule ends here. */
export function lowerMss(spec: MssSpec, p: NfPacket): boolean {
  const { b, transport: th, end } = p;
  const size = spec.size ?? pathMss(p);
  if (size < 0 || p.fragment !== 0 || end - th < tcp.HEADER_LEN) return false;
  const head = tcp.dataOffset(b, th);
  if (head < tcp.HEADER_LEN || th + head > end) return false;
  for (let i = tcp.HEADER_LEN; i < head - 1; i += lengthAt(b, th + i)) {
    if (u8(b, th + i) !== tcp.OPT_MSS) continue;
    const length = lengthAt(b, th + i);
    if (i + length > head || length < OPTION_LEN) return false;
    const at = th + i + 2;
    const old = u16(b, at);
    if (old <= size) return true;
    setU16(b, at, size);
    if (p.skb.csum !== CHECKSUM_PARTIAL) tcp.setChecksum(b, th, update16(tcp.checksum(b, th), old, size));
    return true;
  }
  return true;
}

/** The end of the options does not end the search: the kernel goes on behind it. */
function lengthAt(b: Uint8Array, at: number): number {
  const length = u8(b, at + 1);
  return u8(b, at) <= tcp.OPT_NOP || length === 0 ? 1 : length;
}
