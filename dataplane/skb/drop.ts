/** The end of a packet that goes nowhere: counted by reason, reported to its trace, given back to the pool. */
import type { NetNs } from "../netns/netns.ts";
import { type DropReasonCode, dropReasonName } from "../wire/drop-reason.ts";
import type { Skb } from "./skb.ts";

/**
 * kfree_skb_reason: `text` says more where the reason's name is not enough. Only a traced packet needs it, so callers build it
 * as `skb.trace && ...`: a closure would cost every packet that passes them a context.
 */
export function drop(ns: NetNs, skb: Skb, reason: DropReasonCode, text: string | null = null): void {
  ns.drops[reason] = (ns.drops[reason] ?? 0) + 1;
  if (skb.trace !== null) {
    skb.trace.report(ns, skb, { step: "drop", reason, text: text ?? dropReasonName(reason) });
  }
  ns.world.pool.free(skb);
}

/** consume_skb: the packet has done its work. */
export function consume(ns: NetNs, skb: Skb): void {
  ns.world.pool.free(skb);
}
