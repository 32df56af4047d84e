/**
 * Receiving IPv6 (net/ipv6/ip6_input.c and the input side of route.c): check the header, PREROUTING, route, then local
 * delivery, forwarding, or an end. Left out: jumbograms, options that want something done, source routing.
 */
import type { NetDev } from "../dev/netdev.ts";
import { traceRoute } from "../ip/output.ts";
import { solicitedNode } from "../neigh/ndisc-send.ts";
import { NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { PACKET_OTHERHOST, type Skb } from "../skb/skb.ts";
import { equal, u8, u32 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { formatIp, key6At } from "../wire/ip-key.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { ADDR_LEN } from "../wire/ipv6-addr.ts";
import { forward } from "./forward.ts";
import { nfPass6 } from "./hook.ts";
import { localIn } from "./local-in.ts";

/** ipv6_rcv: `skb.data` is at the IPv6 header. */
export function ip6Receive(ns: NetNs, skb: Skb): void {
  if (skb.pktType === PACKET_OTHERHOST) {
    drop(ns, skb, DropReason.OTHERHOST);
    return;
  }
  const dev = skb.dev as NetDev;
  if (ns.sysctls.ipv6Disabled(dev.name)) {
    drop(ns, skb, DropReason.IPV6DISABLED);
    return;
  }
  skb.network = skb.data;
  if (skb.sabotage) {
    // The bridge has checked the header and run PREROUTING.
    skb.sabotage = false;
    // What the bridge put together is cut anew where it does not fit: how it came is forgotten.
    if (skb.fragMaxSize !== 0) {
      skb.fragMaxSize = 0;
      skb.mayCut = true;
    }
    route(ns, skb, dev);
    return;
  }
  const bad = checkHeader(skb, dev);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  if ((ns.nf6?.tracking === true || ns.ipvs !== null) && ipv6.fragmentHeader(skb.buf, skb.network, skb.end) >= 0) {
    const whole = ns.reassembler6.add(skb, false);
    if (whole !== null) prerouting(ns, whole, dev);
    return;
  }
  prerouting(ns, skb, dev);
}

function prerouting(ns: NetNs, skb: Skb, dev: NetDev): void {
  if (nfPass6(ns, NF_INET_PRE_ROUTING, skb, dev, null)) route(ns, skb, dev);
}

/** Checks the header, trims what Ethernet padded, and finds the transport header. Answers a drop reason or 0. */
export function checkHeader(skb: Skb, dev: NetDev): number {
  const { buf: b, network: at } = skb;
  const bad = ipv6.check(b, at, skb.end);
  if (bad !== 0) return bad;
  const end = at + ipv6.HEADER_LEN + ipv6.payloadLen(b, at);
  if (end > skb.end) return DropReason.PKT_TOO_SMALL;
  skb.end = end;
  if (dev.driver.kind !== "loopback" && (isLoopback(b, at + ipv6.SRC) || isLoopback(b, at + ipv6.DST)))
    return DropReason.IP_LOCALNET;
  skb.transport = ipv6.transportOffset(b, at, end);
  return skb.transport < 0 ? DropReason.IP_INHDR : 0;
}

/** ::1. */
function isLoopback(b: Uint8Array, off: number): boolean {
  return u32(b, off) === 0 && u32(b, off + 4) === 0 && u32(b, off + 8) === 0 && u32(b, off + 12) === 1;
}

/** ip6_rcv_finish: decides where the packet goes. */
function route(ns: NetNs, skb: Skb, dev: NetDev): void {
  const b = skb.buf;
  const to = skb.network + ipv6.DST;
  if (u8(b, to) === 0xff) {
    if (joined(dev, b, to)) localIn(ns, skb);
    else drop(ns, skb, DropReason.NOT_SPECIFIED, skb.trace && `no member of ${formatIp(key6At(b, to))}`);
    return;
  }
  const dst = ns.fib.dst(key6At(b, to));
  skb.dst = dst;
  if (skb.trace !== null) traceRoute(ns, skb);
  switch (dst.type) {
    case "unicast":
      if (ns.sysctls.ip6Forward) forward(ns, skb, dst);
      else drop(ns, skb, DropReason.IP_INADDRERRORS, "not for this host, and forwarding of IPv6 is 0");
      return;
    case "local":
      localIn(ns, skb);
      return;
    default: {
      const code = dst.type === "prohibit" ? icmpv6.ADM_PROHIBITED : icmpv6.NOROUTE;
      if (dst.type !== "blackhole" && ns.sysctls.ip6Forward)
        ns.handlers.icmp6Error(ns, skb, icmpv6.DEST_UNREACH, code, 0);
      drop(ns, skb, DropReason.IP_INNOROUTES, skb.trace && `no route to ${formatIp(dst.address)} (${dst.type})`);
    }
  }
}

/** Whether the device takes part in a group: all nodes, and the solicited-node group of each address. */
function joined(dev: NetDev, b: Uint8Array, off: number): boolean {
  if (u32(b, off) === 0xff020000 && u32(b, off + 4) === 0 && u32(b, off + 8) === 0 && u32(b, off + 12) === 1)
    return true;
  return dev.addrs6.some((a) => equal(solicitedNode(a.address), 0, b, off, ADDR_LEN));
}
