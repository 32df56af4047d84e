/** Asking netfilter about an IPv6 packet: true means go on; else the packet is gone, and answered where a rule says so. */
import type { NetDev } from "../dev/netdev.ts";
import { NF_ACCEPT, NF_REJECT, NF_STOLEN } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";

export function nfPass6(ns: NetNs, hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): boolean {
  if (ns.nf6 === null) return true;
  const verdict = ns.nf6.hook(ns, hook, skb, input, output);
  if (verdict === NF_ACCEPT) return true;
  if (verdict === NF_STOLEN) return false;
  if (verdict === NF_REJECT) ns.handlers.reject(ns, skb);
  drop(ns, skb, DropReason.NETFILTER_DROP);
  return false;
}
