/**
 * Local delivery of IPv6 (ip6_input): the INPUT hook, then the transport protocol. Fragments that conntrack has not put
 * together are seen by the hook one by one, and are put together behind it: the fragment header is a protocol of its own.
 */
import { IPVS_NONE, IPVS_TAKEN } from "../ipvs/hooks.ts";
import { NF_INET_LOCAL_IN } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { nfPass6 } from "./hook.ts";

export function localIn(ns: NetNs, skb: Skb): void {
  const ipvs = ns.ipvs === null ? IPVS_NONE : ns.ipvs.localIn(ns, skb);
  if (ipvs === IPVS_TAKEN) return;
  if (ipvs === IPVS_NONE && !nfPass6(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)) return;
  if (ipv6.isFragment(skb.buf, skb.network, skb.end)) {
    const whole = ns.reassembler6.add(skb, true);
    if (whole !== null) deliver(ns, whole);
    return;
  }
  deliver(ns, skb);
}

function deliver(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at } = skb;
  const protocol = ipv6.transportProtocol(b, at, skb.end);
  const handler = ns.handlers.protocols6[protocol];
  if (handler) {
    handler(ns, skb);
    return;
  }
  ns.handlers.icmp6Error(ns, skb, icmpv6.PARAMPROB, icmpv6.UNKNOWN_NEXT_HEADER, ipv6.NEXT_HEADER);
  drop(ns, skb, DropReason.IP_NOPROTO, skb.trace && `nothing handles IPv6 next header ${protocol}`);
}
