/**
 * Sending IPv6 (net/ipv6/ip6_output.c): from a local socket (`localOut`), or after forwarding (`output`), through
 * POSTROUTING, fragmentation where this host is the source, and the neighbour to the device.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import { outDev, traceRoute } from "../ip/output.ts";
import { multicastMac } from "../neigh/ndisc-send.ts";
import { Neigh, NUD_NOARP, neighFor, neighOutput } from "../neigh/neigh.ts";
import { NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { addressFor6 } from "../netns/select-address.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { formatIp, type IpKey, isMulticastKey6, key6At, octets6 } from "../wire/ip-key.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { fragment6 } from "./fragment.ts";
import { nfPass6 } from "./hook.ts";

/** The address that a packet to this destination is sent from, where its socket has not chosen; 0 if there is none. */
export function sourceFor6(dst: Dst): IpKey | 0 {
  const { route } = dst;
  if (route === null) return 0;
  if (route.src !== 0 && route.proto !== "kernel") return route.src;
  if (dst.type === "local") return dst.address;
  return dst.dev === null ? 0 : addressFor6(dst.dev, dst.address);
}

/** A packet made here, its header complete, with `skb.dst` set. After LOCAL_OUT it is routed again if its address changed. */
export function localOut6(ns: NetNs, skb: Skb): void {
  skb.protocol = ethernet.ETH_P_IPV6;
  if (skb.trace !== null) traceRoute(ns, skb);
  if (ns.nf6 !== null) {
    const before = key6At(skb.buf, skb.network + ipv6.DST);
    const mark = skb.mark;
    if (!nfPass6(ns, NF_INET_LOCAL_OUT, skb, null, outDev(ns, skb.dst as Dst))) return;
    const after = key6At(skb.buf, skb.network + ipv6.DST);
    if (after !== before || skb.mark !== mark) {
      skb.dst = ns.fib.dst(after);
      if (skb.trace !== null) traceRoute(ns, skb);
    }
  }
  if (ns.ipvs !== null && !ns.ipvs.localOut(ns, skb)) return;
  output(ns, skb);
}

/** ip6_output: POSTROUTING, then out. `skb.dst` is the decision. */
export function output(ns: NetNs, skb: Skb): void {
  const dst = skb.dst as Dst;
  const dev = outDev(ns, dst);
  if (dev === null || dst.type === "blackhole" || dst.type === "unreachable" || dst.type === "prohibit") {
    drop(ns, skb, DropReason.IP_OUTNOROUTES, skb.trace && `no route to ${formatIp(dst.address)}`);
    return;
  }
  if (!nfPass6(ns, NF_INET_POST_ROUTING, skb, skb.dev, dev)) return;
  const mtu = Math.max(Math.min(dst.mtu, dev.mtu), ipv6.MIN_MTU);
  const len = skb.end - skb.network;
  if (len > mtu || (skb.fragMaxSize !== 0 && len > skb.fragMaxSize)) {
    fragmentAndSend(ns, skb, dst, dev, mtu);
    return;
  }
  finish(ns, skb, dst, dev);
}

/** ip6_finish_output2: to the neighbour. */
function finish(ns: NetNs, skb: Skb, dst: Dst, dev: NetDev): void {
  let neigh = dst.neigh;
  if (neigh === null || neigh.dead || neigh.dev !== dev) {
    neigh = isMulticastKey6(dst.address) ? multicastNeigh(dev, dst.address) : neighFor(dev, dst.nextHop);
    dst.neigh = neigh;
  }
  neighOutput(ns, neigh, skb);
}

function fragmentAndSend(ns: NetNs, skb: Skb, dst: Dst, dev: NetDev, mtu: number): void {
  const most = skb.fragMaxSize;
  if (most > mtu || (most === 0 && !skb.mayCut)) {
    ns.handlers.icmp6Error(ns, skb, icmpv6.PKT_TOOBIG, 0, mtu);
    drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `${skb.end - skb.network} octets, MTU ${mtu} of ${dev.name}`);
    return;
  }
  for (const part of fragment6(ns, skb, most === 0 ? mtu : most)) finish(ns, part, dst, dev);
}

function multicastNeigh(dev: NetDev, group: IpKey): Neigh {
  return new Neigh(dev, group, NUD_NOARP, multicastMac(octets6(group)));
}
