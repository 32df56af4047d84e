/**
 * ICMP redirects (ip_rt_send_redirect): a packet that leaves by the device it came in on, with source and next hop both on
 * that link, is forwarded, and its sender is told of the shorter way. Up to nine in a row a sender, further apart each
 * time, then silence for 20 seconds.
 */
import type { Dst } from "../fib/route.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";

/** ip_rt_redirect_number, ip_rt_redirect_load and ip_rt_redirect_silence, in packets and milliseconds. */
const NUMBER = 9;
const LOAD = 20;
const SILENCE = LOAD * 2 ** (NUMBER + 1);

type Sent = { count: number; last: number };

export class RedirectLimiter {
  readonly #sent = new Map<number, Sent>();

  /** Whether a redirect may be sent to this peer at this time; counts it if so. */
  allow(peer: number, now: number): boolean {
    let s = this.#sent.get(peer | 0);
    if (s === undefined) {
      s = { count: 0, last: 0 };
      this.#sent.set(peer | 0, s);
    }
    if (s.count > 0 && now > s.last + SILENCE) s.count = 0;
    if (s.count >= NUMBER) {
      s.last = now;
      return false;
    }
    if (s.count > 0 && now <= s.last + LOAD * 2 ** s.count) return false;
    s.count++;
    s.last = now;
    return true;
  }
}

/** Sends the redirect if one is due. The packet stays the caller's. */
export function maybeRedirect(ns: NetNs, skb: Skb, dst: Dst): void {
  const source = ipv4.src(skb.buf, skb.network);
  const back = ns.fib.dst(source);
  if (back.type !== "unicast" || back.dev !== skb.dev || back.route?.gateway !== 0) return;
  if (ns.sysctls.sendRedirects === false || !ns.redirects.allow(source, ns.world.loop.time)) return;
  ns.handlers.icmpError(ns, skb, icmpv4.REDIRECT, icmpv4.REDIR_HOST, dst.nextHop);
}
