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
import { LOCKTIME, NUD_REACHABLE, NUD_STALE, neighFor, neighLearn } from "./neigh.ts";

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
  if (op !== arp.OP_REQUEST && op !== arp.OP_REPLY) {
    drop(ns, skb, DropReason.NOT_SPECIFIED, skb.trace && `ARP operation ${op}`);
    return;
  }
  if (spa === 0) {
    // Someone asks whether an address is free (RFC 5227): answer if it is ours, learn nothing.
    if (op === arp.OP_REQUEST && isOurs(ns, tpa)) sendArp(ns, dev, arp.OP_REPLY, dev.mac, tpa, sha, spa, sha);
  } else if (op === arp.OP_REQUEST && answers(ns, dev, spa, tpa)) {
    neighLearn(ns, neighFor(dev, spa), sha, NUD_STALE, true);
    sendArp(ns, dev, arp.OP_REPLY, dev.mac, tpa, sha, spa, sha);
  } else {
    const known = dev.neighs.get(spa | 0);
    if (known !== undefined) {
      // Of several answers in a row the first one counts; a gratuitous one always does.
      const override = ns.world.loop.time > known.updated + LOCKTIME || spa === tpa;
      const unicastReply = op === arp.OP_REPLY && skb.pktType === PACKET_HOST;
      neighLearn(ns, known, sha, unicastReply ? NUD_REACHABLE : NUD_STALE, override);
    }
  }
  consume(ns, skb);
}

function isOurs(ns: NetNs, target: Ipv4Addr): boolean {
  return target >>> 24 !== 127 && ns.fib.dst(target).type === "local";
}

/** Whether we answer a request for the address on this interface. One that claims to be from us is not answered. */
function answers(ns: NetNs, dev: NetDev, source: Ipv4Addr, target: Ipv4Addr): boolean {
  if (ns.fib.isLocal(source) || source >>> 24 === 127 || source >>> 28 >= 14) return false;
  const dst = ns.fib.dst(target);
  if (dst.type === "local") return target >>> 24 !== 127;
  if (dst.type !== "unicast" || !ns.sysctls.ipForward) return false;
  return ns.sysctls.maxConf("proxy_arp", dev.name) !== 0 && dst.dev !== dev;
}
