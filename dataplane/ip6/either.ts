/** Sending from a local socket by either family, which the destination's key tells. */
import type { Dst } from "../fib/route.ts";
import { localOut, sourceFor } from "../ip/output.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { type IpKey, isKey6 } from "../wire/ip-key.ts";
import { localOut6, sourceFor6 } from "./output.ts";

/** The address that a packet to this destination is sent from, where its socket has not chosen; 0 if there is none. */
export function sourceForEither(dst: Dst): IpKey | 0 {
  return isKey6(dst.address) ? sourceFor6(dst) : sourceFor(dst);
}

/** A packet made here, with `skb.dst` set. */
export function localOutEither(ns: NetNs, skb: Skb): void {
  if (isKey6((skb.dst as Dst).address)) localOut6(ns, skb);
  else localOut(ns, skb);
}

/** Hop limit, or time to live. */
export function defaultTtl(ns: NetNs, address: IpKey): number {
  return isKey6(address) ? ns.sysctls.hopLimit6 : ns.sysctls.defaultTtl;
}
