/**
 * Receiving neighbour discovery (ndisc_recv_ns and ndisc_recv_na of net/ipv6/ndisc.c). An entry is made by a solicitation
 * that is for us, and refreshed by advertisements. Left out: router discovery and redirects (addresses and routes are
 * configured), duplicate address detection (an address is ours as soon as it is given), proxies.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { key6At } from "../wire/ip-key.ts";
import * as ipv6 from "../wire/ipv6.ts";
import type { Mac } from "../wire/mac-addr.ts";
import * as ndisc from "../wire/ndisc.ts";
import { advertise } from "./ndisc-send.ts";
import { NUD_REACHABLE, NUD_STALE, neighFor, neighLearn } from "./neigh.ts";

/** A discovery message that was addressed to us; the packet stays the caller's. Answers a drop reason or 0. */
export function discoveryReceive(ns: NetNs, skb: Skb): number {
  const { buf: b, network, transport: th, end } = skb;
  const dev = skb.dev as NetDev;
  const bad = ndisc.check(b, th, end, ipv6.hopLimit(b, network));
  if (bad !== 0) return bad;
  if (icmpv6.type(b, th) === ndisc.NEIGHBOUR_SOLICITATION) solicited(ns, dev, skb);
  else if (icmpv6.type(b, th) === ndisc.NEIGHBOUR_ADVERTISEMENT) advertised(ns, dev, skb);
  return 0;
}

function solicited(ns: NetNs, dev: NetDev, skb: Skb): void {
  const { buf: b, network, transport: th, end } = skb;
  const target = key6At(b, th + ndisc.TARGET);
  if (!dev.addrs6.some((a) => a.address === target)) return;
  const source = key6At(b, network + ipv6.SRC);
  const lla = ndisc.linkLayerAddr(b, th, end, ndisc.OPT_SOURCE_LLA);
  if (lla < 0) return;
  neighLearn(ns, neighFor(dev, source), lla as Mac, NUD_STALE, true);
  advertise(dev, target, source, lla as Mac, true);
}

function advertised(ns: NetNs, dev: NetDev, skb: Skb): void {
  const { buf: b, transport: th, end } = skb;
  const known = dev.neighs.get(key6At(b, th + ndisc.TARGET));
  const lla = ndisc.linkLayerAddr(b, th, end, ndisc.OPT_TARGET_LLA);
  if (known === undefined || lla < 0) return;
  const state = ndisc.isSolicited(b, th) ? NUD_REACHABLE : NUD_STALE;
  neighLearn(ns, known, lla as Mac, state, ndisc.isOverride(b, th));
}
