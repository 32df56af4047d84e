/**
 * ICMP redirects (ip_rt_send_redirect): a packet that leaves by the device it came in on, with its sender on that link, is
 * forwarded, and its sender is told of the shorter way.
 */
import { type Dst, sameFamilyHop } from "../fib/route.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";

/** Sends the redirect if one is due. The packet stays the caller's. */
export function maybeRedirect(ns: NetNs, skb: Skb, dst: Dst): void {
  const source = ipv4.src(skb.buf, skb.network);
  const back = ns.fib.dst(source);
  if (back.type !== "unicast" || back.dev !== skb.dev || back.route?.gateway !== 0) return;
  if (ns.sysctls.sendRedirects === false || !ns.peers.allowRedirect(source, ns.world.loop.time)) return;
  ns.handlers.icmpError(ns, skb, icmpv4.REDIRECT, icmpv4.REDIR_HOST, sameFamilyHop(dst));
}
