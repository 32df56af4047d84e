/** Forwarding IPv4 (net/ipv4/ip_forward.c): TTL, MTU, the FORWARD hook, out. */
import type { Dst } from "../fib/route.ts";
import { NF_INET_FORWARD } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { PACKET_HOST, type Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { nfPass } from "./hook.ts";
import { output } from "./output.ts";
import { maybeRedirect } from "./redirect.ts";

export function forward(ns: NetNs, skb: Skb, dst: Dst): void {
  if (skb.pktType !== PACKET_HOST) {
    drop(ns, skb, DropReason.OTHERHOST);
    return;
  }
  const b = skb.buf;
  const at = skb.network;
  if (ipv4.ttl(b, at) <= 1) {
    ns.handlers.icmpError(ns, skb, icmpv4.TIME_EXCEEDED, icmpv4.EXC_TTL, 0);
    drop(ns, skb, DropReason.IP_INHDR, "time to live exceeded");
    return;
  }
  if (skb.end - at > dst.mtu && ipv4.dontFragment(b, at)) {
    ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.FRAG_NEEDED, dst.mtu);
    drop(
      ns,
      skb,
      DropReason.PKT_TOO_BIG,
      skb.trace && `${skb.end - at} octets with DF, MTU ${dst.mtu} of ${dst.dev?.name}`,
    );
    return;
  }
  ipv4.decTtl(b, at);
  if (dst.dev === skb.dev) maybeRedirect(ns, skb, dst);
  if (!nfPass(ns, NF_INET_FORWARD, skb, skb.dev, dst.dev)) return;
  if (ns.ipvs !== null && !ns.ipvs.forward(ns, skb)) return;
  output(ns, skb);
}
