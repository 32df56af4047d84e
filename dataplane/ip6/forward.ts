/** Forwarding IPv6 (ip6_forward of net/ipv6/ip6_output.c): hop limit, redirects, MTU, the FORWARD hook, out. */
import type { Dst } from "../fib/route.ts";
import { NF_INET_FORWARD } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { PACKET_HOST, type Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { isLinkLocal6, key6At } from "../wire/ip-key.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { nfPass6 } from "./hook.ts";
import { output } from "./output.ts";
import { maybeRedirect6 } from "./redirect.ts";

export function forward(ns: NetNs, skb: Skb, dst: Dst): void {
  if (skb.pktType !== PACKET_HOST) {
    drop(ns, skb, DropReason.OTHERHOST);
    return;
  }
  const { buf: b, network: at } = skb;
  if (ipv6.hopLimit(b, at) <= 1) {
    ns.handlers.icmp6Error(ns, skb, icmpv6.TIME_EXCEED, icmpv6.EXC_HOPLIMIT, 0);
    drop(ns, skb, DropReason.IP_INHDR, "hop limit exceeded");
    return;
  }
  if (dst.dev === skb.dev) maybeRedirect6(ns, skb, dst);
  // What comes from a link stays on it (RFC 4291 section 2.5.6).
  else if (isLinkLocal6(key6At(b, at + ipv6.SRC))) {
    ns.handlers.icmp6Error(ns, skb, icmpv6.DEST_UNREACH, icmpv6.NOT_NEIGHBOUR, 0);
    drop(ns, skb, DropReason.IP_INADDRERRORS, "from a link-local address");
    return;
  }
  const mtu = Math.max(dst.mtu, ipv6.MIN_MTU);
  // What conntrack put together goes on in fragments again.
  const again = skb.fragMaxSize === 0 ? skb.mayCut : skb.fragMaxSize <= mtu;
  if (skb.end - at > mtu && !again) {
    ns.handlers.icmp6Error(ns, skb, icmpv6.PKT_TOOBIG, 0, mtu);
    drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `${skb.end - at} octets, MTU ${mtu} of ${dst.dev?.name}`);
    return;
  }
  ipv6.decHopLimit(b, at);
  if (!nfPass6(ns, NF_INET_FORWARD, skb, skb.dev, dst.dev)) return;
  if (ns.ipvs !== null && !ns.ipvs.forward(ns, skb)) return;
  output(ns, skb);
}
