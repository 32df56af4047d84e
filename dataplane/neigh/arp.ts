/**
 * Receiving ARP, RFC 826 (arp_process of net/ipv4/arp.c), with arp_ignore at 0, proxy_arp as the interface's sysctl says,
 * and no gratuitous learning (arp_accept 0): an entry is made only by a request that is for us, and refreshed by whatever
 * mentions an address that is already known.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import { PACKET_HOST, PACKET_OTHERHOST, type Skb } from "../skb/skb.ts";
import * as arp from "../wire/arp.ts";
import { DropReason } from "../wire/drop-reason.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { sendArp } from "./arp-send.ts";
import { NUD_REACHABLE, NUD_STALE, neighFor, neighUpdate } from "./neigh.ts";

/** An ARP packet arrived, `skb.network` at its first octet. */
export function arpReceive(ns: NetNs, skb: Skb): void {
  const dev = skb.dev as NetDev;
  const b = skb.buf;
  const at = skb.network;
  if (skb.pktType === PACKET_OTHERHOST || dev.noarp) {
    drop(ns, skb, DropReason.OTHERHOST);
    return;
  }
  const bad = arp.check(b, at, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  const op = arp.op(b, at);
  const spa = arp.spa(b, at);
  const sha = arp.sha(b, at);
  const tpa = arp.tpa(b, at);
  if (op === arp.OP_REQUEST && spa !== 0 && answers(ns, dev, tpa)) {
    neighUpdate(ns, neighFor(dev, spa), sha, NUD_STALE);
    sendArp(ns, dev, arp.OP_REPLY, dev.mac, tpa, sha, spa, sha);
  } else {
    const known = dev.neighs.get(spa | 0);
    if (known !== undefined) {
      const unicastReply = op === arp.OP_REPLY && skb.pktType === PACKET_HOST;
      neighUpdate(ns, known, sha, unicastReply ? NUD_REACHABLE : NUD_STALE);
    }
  }
  consume(ns, skb);
}

/** Whether we answer a request for the address on this interface. */
function answers(ns: NetNs, dev: NetDev, target: Ipv4Addr): boolean {
  const dst = ns.fib.dst(target);
  if (dst.type === "local") return target >>> 24 !== 127;
  if (dst.type !== "unicast" || !ns.sysctls.ipForward) return false;
  return ns.sysctls.maxConf("proxy_arp", dev.name) !== 0 && dst.dev !== dev;
}
