/** Sending neighbour solicitations and advertisements (RFC 4861 sections 7.2.2 and 7.2.4; net/ipv6/ndisc.c). */

import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import { addressFor6, linkLocalOf } from "../netns/select-address.ts";
import type { Skb } from "../skb/skb.ts";
import { setU16, u32 } from "../wire/bytes.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { type IpKey, key6, key6At, octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { type Ipv6Addr, ipv6Of } from "../wire/ipv6-addr.ts";
import { type Mac, macOf } from "../wire/mac-addr.ts";
import * as ndisc from "../wire/ndisc.ts";

const MULTICAST_HI = 0x3333;
const SOLICITED = ipv6Of(Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0));

/** ff02::1:ffXX:XXXX with the last 24 bits of an address (RFC 4291 section 2.7.1). */
export function solicitedNode(address: IpKey): Ipv6Addr {
  const out = SOLICITED.slice();
  out.set(octets6(address).subarray(13), 13);
  return ipv6Of(out);
}

/** 33:33 and the last 32 bits of a multicast address (RFC 2464 section 7). */
export function multicastMac(address: Ipv6Addr): Mac {
  return macOf(MULTICAST_HI * 0x1_0000_0000 + u32(address, 12));
}

/** Asks for `target`: all who could have it, or the MAC that was right before. `cause` is a packet that waits. */
export function solicit(ns: NetNs, dev: NetDev, target: IpKey, unicast: Mac | null, cause: Skb | null): void {
  let source: IpKey | 0 = 0;
  // a packet of IPv4 may wait, too
  if (cause !== null && cause.protocol === ethernet.ETH_P_IPV6) {
    const src = key6At(cause.buf, cause.network + ipv6.SRC);
    if (ns.fib.isLocal(src)) source = src;
  }
  // Linux asks for others from the link-local address, and not at all without one; here any address will do then
  if (source === 0) source = linkLocalOf(dev) || addressFor6(dev, target);
  if (source === 0) return;
  const to = unicast === null ? solicitedNode(target) : octets6(target);
  const mac = unicast ?? multicastMac(to);
  sendDiscovery(dev, ndisc.NEIGHBOUR_SOLICITATION, 0, source, to, mac, target, ndisc.OPT_SOURCE_LLA);
}

/** Answers whoever asked, or tells all nodes (`to` ff02::1). */
export function advertise(dev: NetDev, target: IpKey, to: IpKey, mac: Mac, solicited: boolean): void {
  const router = dev.ns.sysctls.ip6Forward ? ndisc.FLAG_ROUTER : 0;
  const flags = (router | (solicited ? ndisc.FLAG_SOLICITED : 0) | ndisc.FLAG_OVERRIDE) >>> 0;
  const type = ndisc.NEIGHBOUR_ADVERTISEMENT;
  sendDiscovery(dev, type, flags, target, octets6(to), mac, target, ndisc.OPT_TARGET_LLA);
}

function sendDiscovery(
  dev: NetDev,
  type: number,
  flags: number,
  source: IpKey,
  to: Ipv6Addr,
  mac: Mac,
  target: IpKey,
  option: number,
): void {
  const { ns } = dev;
  const len = ndisc.HEADER_LEN + ndisc.LLA_OPTION_LEN;
  const skb = ns.world.pool.alloc(ipv6.HEADER_LEN + len);
  const b = skb.buf;
  skb.network = skb.data;
  skb.transport = skb.data + ipv6.HEADER_LEN;
  skb.end = skb.transport + len;
  skb.protocol = ethernet.ETH_P_IPV6;
  ipv6.write(b, skb.network, len, PROTO_ICMPV6, ndisc.HOP_LIMIT, octets6(source), to, 0, 0);
  ndisc.write(b, skb.transport, type, flags, octets6(target), option, dev.mac);
  icmpv6.fillChecksum(b, skb.transport, len, skb.network);
  skb.data -= ethernet.HEADER_LEN;
  skb.mac = skb.data;
  ethernet.setDst(b, skb.data, mac);
  ethernet.setSrc(b, skb.data, dev.mac);
  setU16(b, skb.data + 12, ethernet.ETH_P_IPV6);
  dev.transmit(skb);
}

/** ff02::1. */
export const ALL_NODES: IpKey = key6(ipv6Of(Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)));
