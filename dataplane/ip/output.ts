/**
 * Sending IPv4 (net/ipv4/ip_output.c): from a local socket (`localOut`), or after forwarding (`output`), through
 * POSTROUTING, fragmentation and the neighbour to the device.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import { formatRoute, sameFamilyHop } from "../fib/route.ts";
import { Neigh, NUD_NOARP, neighFor, neighOutput } from "../neigh/neigh.ts";
import { NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { addressFor } from "../netns/select-address.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import { formatIp } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { formatIpv4 } from "../wire/ipv4-addr.ts";
import { BROADCAST_MAC } from "../wire/mac-addr.ts";
import { fragment } from "./fragment.ts";
import { nfPass } from "./hook.ts";

/** The device that a decision sends by: a local destination is reached over loopback. */
export function outDev(ns: NetNs, dst: Dst): NetDev | null {
  return dst.type === "local" ? (ns.devs.get(1) ?? null) : dst.dev;
}

/** The address that a packet to this destination is sent from, where its socket has not chosen; 0 if there is none. */
export function sourceFor(dst: Dst): Ipv4Addr | 0 {
  const route = dst.route;
  if (route === null) return 0;
  if (route.src !== 0) return route.src;
  if (dst.type === "local") return dst.address;
  return dst.dev === null ? 0 : addressFor(dst.dev, sameFamilyHop(dst));
}

/**
 * A packet made here, with its IPv4 header at `skb.network` = `skb.data` complete but for the header checksum, and
 * `skb.dst` set (__ip_local_out). After LOCAL_OUT it is routed again if a rule changed where it goes.
 */
export function localOut(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.network;
  ipv4.fillChecksum(b, at);
  skb.protocol = ethernet.ETH_P_IP;
  if (skb.trace !== null) traceRoute(ns, skb);
  if (ns.nf !== null) {
    const before = ipv4.dstKey(b, at);
    const mark = skb.mark;
    if (!nfPass(ns, NF_INET_LOCAL_OUT, skb, null, outDev(ns, skb.dst as Dst))) return;
    if (ipv4.dstKey(b, at) !== before || skb.mark !== mark) {
      skb.dst = ns.fib.dst(ipv4.dst(b, at));
      if (skb.trace !== null) traceRoute(ns, skb);
    }
  }
  if (ns.ipvs !== null && !ns.ipvs.localOut(ns, skb)) return;
  output(ns, skb);
}

/** ip_output: POSTROUTING, then out. `skb.dst` is the decision. */
export function output(ns: NetNs, skb: Skb): void {
  const dst = skb.dst as Dst;
  const dev = outDev(ns, dst);
  if (dev === null || dst.type === "blackhole" || dst.type === "unreachable" || dst.type === "prohibit") {
    drop(ns, skb, DropReason.IP_OUTNOROUTES, skb.trace && `no route to ${formatIpv4(dst.address)}`);
    return;
  }
  if (!nfPass(ns, NF_INET_POST_ROUTING, skb, skb.dev, dev)) return;
  if (skb.end - skb.network > mtuOf(dst, dev) || skb.fragMaxSize !== 0) {
    fragmentAndSend(ns, skb, dst, dev);
    return;
  }
  finish(ns, skb, dst, dev);
}

/** The most octets of IP that may leave in one packet. */
function mtuOf(dst: Dst, dev: NetDev): number {
  return Math.min(dst.mtu, dev.mtu);
}

/** ip_finish_output2: to the neighbour. */
function finish(ns: NetNs, skb: Skb, dst: Dst, dev: NetDev): void {
  let neigh = dst.neigh;
  if (neigh === null || neigh.dead || neigh.dev !== dev) {
    neigh = dst.type === "broadcast" || isMulticast(dst.address) ? broadcastNeigh(dev) : neighFor(dev, dst.nextHop);
    dst.neigh = neigh;
  }
  neighOutput(ns, neigh, skb);
}

function fragmentAndSend(ns: NetNs, skb: Skb, dst: Dst, dev: NetDev): void {
  const mtu = mtuOf(dst, dev);
  if (ipv4.dontFragment(skb.buf, skb.network)) {
    ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.FRAG_NEEDED, mtu);
    drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `${skb.end - skb.network} octets, MTU ${mtu} of ${dev.name}`);
    return;
  }
  const size = skb.fragMaxSize === 0 ? mtu : Math.min(mtu, skb.fragMaxSize);
  for (const part of fragment(ns, skb, size)) finish(ns, part, dst, dev);
}

/** Broadcast and multicast frames need no resolution; all multicast goes to everyone here (no snooping). */
function broadcastNeigh(dev: NetDev): Neigh {
  return new Neigh(dev, 0xffffffff as Ipv4Addr, NUD_NOARP, BROADCAST_MAC);
}

function isMulticast(address: Ipv4Addr): boolean {
  return address >>> 28 === 14;
}

/** Reports the routing decision of a traced packet. */
export function traceRoute(ns: NetNs, skb: Skb): void {
  const dst = skb.dst;
  if (dst === null) return;
  const text = dst.route === null ? `no route to ${formatIp(dst.address)}` : formatRoute(dst.route);
  skb.trace?.report(ns, skb, { step: "route", text });
}
