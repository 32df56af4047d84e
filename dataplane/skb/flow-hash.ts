/**
 * The hash of a packet's flow (skb_get_hash): tunnels take their source port from it, so that a flow keeps its path. It is
 * the same for all packets of one direction of a flow; Linux keys it at random at boot, here the key comes from the seed.
 */
import { i32 } from "../wire/bytes.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import type { Skb } from "./skb.ts";

/**
 * Of the packet whose Ethernet header is at `skb.data`; kept in `skb.hash`. A signed 32-bit integer, so that it needs no
 * heap number, and never 0.
 */
export function flowHash(skb: Skb, key: number): number {
  if (skb.hash !== 0) return skb.hash;
  const b = skb.buf;
  const at = skb.data + ethernet.HEADER_LEN;
  let h = key;
  if (ethernet.etherType(b, skb.data) === ethernet.ETH_P_IP && skb.end - at >= ipv4.HEADER_LEN) {
    const protocol = ipv4.protocol(b, at);
    h = mix(mix(mix(h, ipv4.srcKey(b, at)), ipv4.dstKey(b, at)), protocol);
    const th = at + ipv4.headerLen(b, at);
    if (ported(protocol) && !ipv4.isFragment(b, at) && skb.end - th >= 4) h = mix(h, i32(b, th));
  } else if (ethernet.etherType(b, skb.data) === ethernet.ETH_P_IPV6 && skb.end - at >= ipv6.HEADER_LEN) {
    const protocol = ipv6.transportProtocol(b, at, skb.end);
    h = mix(mix(h, ipv6.flowLabel(b, at)), protocol);
    for (let i = ipv6.SRC; i < ipv6.HEADER_LEN; i += 4) h = mix(h, i32(b, at + i));
    const th = ipv6.transportOffset(b, at, skb.end);
    const whole = th >= 0 && skb.end - th >= 4 && ipv6.fragmentHeader(b, at, skb.end) < 0;
    if (ported(protocol) && whole) h = mix(h, i32(b, th));
  } else {
    h = mix(mix(h, i32(b, skb.data)), i32(b, skb.data + 8));
  }
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  skb.hash = h | 0 || 1;
  return skb.hash;
}

function ported(protocol: number): boolean {
  return protocol === ipv4.PROTO_TCP || protocol === ipv4.PROTO_UDP || protocol === ipv4.PROTO_SCTP;
}

function mix(h: number, word: number): number {
  const k = Math.imul(word, 0xcc9e2d51);
  const r = h ^ Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  return (Math.imul((r << 13) | (r >>> 19), 5) + 0xe6546b64) | 0;
}

/** A port of the range for a flow, as udp_flow_src_port spreads it. */
export function flowPort(hash: number, min: number, max: number): number {
  const h = (hash ^ (hash << 16)) >>> 0;
  return min + (((h * (max - min)) / 0x1_0000_0000) | 0);
}
