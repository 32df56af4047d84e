/**
 * Redirects of IPv6 (RFC 4861 section 8.2, ip6_forward and ndisc_send_redirect): a packet that leaves by the device it came
 * in on is forwarded, and its sender, where it is a neighbour, told of the nearer hop. Nobody here follows them.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import { isValid, neighFor } from "../neigh/neigh.ts";
import type { NetNs } from "../netns/netns.ts";
import { linkLocalOf } from "../netns/select-address.ts";
import type { Skb } from "../skb/skb.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { isLinkLocal6, key6At, octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as ndisc from "../wire/ndisc.ts";
import { localOut6 } from "./output.ts";

/** Sends the redirect if one is due. The packet stays the caller's. */
export function maybeRedirect6(ns: NetNs, skb: Skb, dst: Dst): void {
  const { buf: b, network: at } = skb;
  const dev = skb.dev as NetDev;
  const now = ns.world.loop.time;
  const destination = key6At(b, at + ipv6.DST);
  // one limit for those that packets go to, and one for those that send them
  if (!ns.peers.allowRedirect6(destination, now)) return;
  const from = linkLocalOf(dev);
  const target = dst.nextHop;
  if (from === 0 || (target !== destination && !isLinkLocal6(target))) return;
  const source = key6At(b, at + ipv6.SRC);
  const back = ns.fib.dst(source);
  if (back.type !== "unicast" || back.dev !== dev || back.route?.gateway !== 0) return;
  if (!ns.peers.allowRedirect6(source, now)) return;
  const neigh = neighFor(dev, target);
  const mac = isValid(neigh) ? neigh.mac : -1;
  const quote = ndisc.redirectQuote(skb.end - at, mac);
  const redirect = ns.world.pool.alloc(ipv6.MIN_MTU);
  const rb = redirect.buf;
  redirect.network = redirect.data;
  redirect.transport = redirect.data + ipv6.HEADER_LEN;
  const len = ndisc.writeRedirect(rb, redirect.transport, octets6(target), octets6(destination), mac, b, at, quote);
  redirect.end = redirect.transport + len;
  ipv6.write(rb, redirect.network, len, PROTO_ICMPV6, ndisc.HOP_LIMIT, octets6(from), octets6(source), 0, 0);
  icmpv6.fillChecksum(rb, redirect.transport, len, redirect.network);
  redirect.dst = back;
  localOut6(ns, redirect);
}
