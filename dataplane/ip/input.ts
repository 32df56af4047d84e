/**
 * Receiving IPv4 (net/ipv4/ip_input.c and the input side of route.c): check the header, PREROUTING, route, then local
 * delivery, forwarding, or an end.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import { NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { PACKET_OTHERHOST, type Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4, type Ipv4Addr } from "../wire/ipv4-addr.ts";
import { forward } from "./forward.ts";
import { nfPass } from "./hook.ts";
import { localIn } from "./local-in.ts";
import { traceRoute } from "./output.ts";

/** ip_rcv: `skb.data` is at the IPv4 header. */
export function ipReceive(ns: NetNs, skb: Skb): void {
  if (skb.pktType === PACKET_OTHERHOST) {
    drop(ns, skb, DropReason.OTHERHOST);
    return;
  }
  const at = skb.data;
  skb.network = at;
  if (skb.sabotage) {
    // The bridge has checked the header and run PREROUTING.
    skb.sabotage = false;
    skb.fragMaxSize = 0;
    ipRoute(ns, skb);
    return;
  }
  const bad = checkHeader(skb);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  if (ns.nf !== null) {
    if (ns.nf.tracking && ipv4.isFragment(skb.buf, at)) {
      const whole = ns.reassembler.add(skb);
      if (whole === null) return;
      prerouting(ns, whole);
      return;
    }
    if (!nfPass(ns, NF_INET_PRE_ROUTING, skb, skb.dev, null)) return;
  }
  ipRoute(ns, skb);
}

/** Checks the header, trims what Ethernet padded, and finds the transport header. Answers a drop reason or 0. */
export function checkHeader(skb: Skb): number {
  const b = skb.buf;
  const at = skb.network;
  const bad = ipv4.check(b, at, skb.end);
  if (bad !== 0) return bad;
  skb.end = at + ipv4.totalLen(b, at);
  skb.transport = at + ipv4.headerLen(b, at);
  return 0;
}

function prerouting(ns: NetNs, skb: Skb): void {
  if (nfPass(ns, NF_INET_PRE_ROUTING, skb, skb.dev, null)) ipRoute(ns, skb);
}

/** ip_rcv_finish: decides where the packet goes. */
export function ipRoute(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.network;
  const dev = skb.dev as NetDev;
  const address = ipv4.dstKey(b, at) as Ipv4Addr;
  const source = ipv4.srcKey(b, at) as Ipv4Addr;
  const dst = ns.fib.dst(address);
  const looped = dev.driver.kind === "loopback";
  if (!looped) {
    const martian = checkSource(ns, dev, source, address);
    if (martian !== 0) {
      drop(ns, skb, martian, skb.trace && `${formatIpv4(source)} → ${formatIpv4(address)} is not valid on ${dev.name}`);
      return;
    }
  }
  skb.dst = dst;
  if (skb.trace !== null) traceRoute(ns, skb);
  if (address === -1) {
    localIn(ns, skb);
    return;
  }
  switch (dst.type) {
    case "unicast":
      if (ns.sysctls.ipForward) forward(ns, skb, dst);
      else drop(ns, skb, DropReason.IP_INNOROUTES, "not for this host, and net.ipv4.ip_forward is 0");
      return;
    case "local":
    case "broadcast":
      localIn(ns, skb);
      return;
    default:
      noRoute(ns, skb, dst);
  }
}

/**
 * fib_validate_source and the martian tests of ip_route_input_slow, for addresses as signed integers. Answers a drop reason
 * or 0.
 */
function checkSource(ns: NetNs, dev: NetDev, source: Ipv4Addr, address: Ipv4Addr): number {
  const top = source >>> 24;
  if (source >>> 28 === 14 || source === -1) return DropReason.IP_INVALID_SOURCE;
  if (address === -1 || (source === 0 && address === 0)) return 0;
  if (top === 0) return DropReason.IP_INVALID_SOURCE;
  if (address >>> 24 === 0 || address >>> 28 === 14) return DropReason.IP_INVALID_DEST;
  if (top === 127 || address >>> 24 === 127) {
    if (!ns.sysctls.routeLocalnetAll && ns.sysctls.maxConf("route_localnet", dev.name) === 0)
      return DropReason.IP_LOCALNET;
  }
  if (ns.fib.isLocal(source)) return DropReason.IP_LOCAL_SOURCE;
  const mode = ns.sysctls.rpFilterUsed ? ns.sysctls.maxConf("rp_filter", dev.name) : 0;
  if (mode !== 0) {
    const back = ns.fib.dst(source);
    if (back.type !== "unicast" || (mode === 1 && back.dev !== dev)) return DropReason.IP_RPFILTER;
  }
  return 0;
}

/** ip_error: say why, where this host is a router, and drop. */
function noRoute(ns: NetNs, skb: Skb, dst: Dst): void {
  const source = ipv4.src(skb.buf, skb.network);
  if (ns.sysctls.ipForward && dst.type !== "blackhole" && ns.peers.allowRouteError(source, ns.world.loop.time)) {
    const code =
      dst.type === "prohibit"
        ? icmpv4.PKT_FILTERED
        : dst.type === "unreachable"
          ? icmpv4.HOST_UNREACH
          : icmpv4.NET_UNREACH;
    ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, code, 0);
  }
  drop(ns, skb, DropReason.IP_INNOROUTES, skb.trace && `no route to ${formatIpv4(dst.address)} (${dst.type})`);
}
