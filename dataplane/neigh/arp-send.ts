/** Sending ARP packets (arp_solicit and arp_send_dst of net/ipv4/arp.c), with arp_announce at 0. */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import { addressFor } from "../netns/select-address.ts";
import type { Skb } from "../skb/skb.ts";
import * as arp from "../wire/arp.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { BROADCAST_MAC, type Mac } from "../wire/mac-addr.ts";

/** Sends a request for `target`: to everyone, or to the MAC that was right before. `cause` is a packet that waits. */
export function solicit(ns: NetNs, dev: NetDev, target: Ipv4Addr, unicast: Mac | null, cause: Skb | null): void {
  let source: Ipv4Addr | 0 = 0;
  if (cause !== null) {
    const src = ipv4.src(cause.buf, cause.network);
    if (ns.fib.isLocal(src)) source = src;
  }
  if (source === 0) source = addressFor(dev, target);
  sendArp(ns, dev, arp.OP_REQUEST, dev.mac, source as Ipv4Addr, 0 as Mac, target, unicast ?? BROADCAST_MAC);
}

/** Tells everyone on the link an address of ours (a gratuitous request), as arp_notify=1 asks for. */
export function announce(ns: NetNs, dev: NetDev, address: Ipv4Addr): void {
  sendArp(ns, dev, arp.OP_REQUEST, dev.mac, address, 0 as Mac, address, BROADCAST_MAC);
}

/** One ARP packet, from `sha` and `spa`, to the Ethernet address `to`. */
export function sendArp(
  ns: NetNs,
  dev: NetDev,
  op: number,
  sha: Mac,
  spa: Ipv4Addr,
  tha: Mac,
  tpa: Ipv4Addr,
  to: Mac,
): void {
  const skb = ns.world.pool.alloc(arp.LEN);
  const b = skb.buf;
  skb.network = skb.data;
  skb.end = skb.data + arp.LEN;
  skb.protocol = ethernet.ETH_P_ARP;
  arp.write(b, skb.data, op, sha, spa, tha, tpa);
  skb.data -= ethernet.HEADER_LEN;
  skb.mac = skb.data;
  ethernet.setDst(b, skb.data, to);
  ethernet.setSrc(b, skb.data, dev.mac);
  ethernet.setEtherType(b, skb.data, ethernet.ETH_P_ARP);
  dev.transmit(skb);
}
