/** Local delivery (ip_local_deliver): reassemble, the INPUT hook, then the transport protocol. */
import { IPVS_NONE, IPVS_TAKEN } from "../ipvs/hooks.ts";
import { NF_INET_LOCAL_IN } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { nfPass } from "./hook.ts";

export function localIn(ns: NetNs, skb: Skb): void {
  if (ipv4.isFragment(skb.buf, skb.network)) {
    const whole = ns.reassembler.add(skb);
    if (whole !== null) deliver(ns, whole);
    return;
  }
  deliver(ns, skb);
}

function deliver(ns: NetNs, skb: Skb): void {
  const ipvs = ns.ipvs === null ? IPVS_NONE : ns.ipvs.localIn(ns, skb);
  if (ipvs === IPVS_TAKEN) return;
  if (ipvs === IPVS_NONE && !nfPass(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)) return;
  const protocol = ipv4.protocol(skb.buf, skb.network);
  const handler = ns.handlers.protocols[protocol];
  if (handler) {
    handler(ns, skb);
    return;
  }
  ns.handlers.icmpError(ns, skb, icmpv4.DEST_UNREACH, icmpv4.PROT_UNREACH, 0);
  drop(ns, skb, DropReason.IP_NOPROTO, skb.trace && `nothing handles IP protocol ${protocol}`);
}
