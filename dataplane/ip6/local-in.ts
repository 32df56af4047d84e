/** Local delivery of IPv6 (ip6_input): the INPUT hook, then the transport protocol. Left out: reassembly. */

import { NF_INET_LOCAL_IN } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { nfPass6 } from "./hook.ts";

export function localIn(ns: NetNs, skb: Skb): void {
  const { buf: b, network: at } = skb;
  if (ipv6.fragmentHeader(b, at, skb.end) >= 0) {
    drop(ns, skb, DropReason.NOT_SPECIFIED, () => "fragments of IPv6 are not put together here");
    return;
  }
  if (!nfPass6(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)) return;
  const protocol = ipv6.transportProtocol(b, at, skb.end);
  const handler = ns.handlers.protocols6[protocol];
  if (handler) {
    handler(ns, skb);
    return;
  }
  ns.handlers.icmp6Error(ns, skb, icmpv6.PARAMPROB, icmpv6.UNKNOWN_NEXT_HEADER, ipv6.NEXT_HEADER);
  drop(ns, skb, DropReason.IP_NOPROTO, () => `nothing handles IPv6 next header ${protocol}`);
}
