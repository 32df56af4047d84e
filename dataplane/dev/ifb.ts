/**
 * Intermediate functional block (drivers/net/ifb.c): packets that come in by a device are redirected here, so that a qdisc
 * can hold them up, and then go on where they came in. Others end here.
 */
import type { PacketSink } from "../sim/event-loop.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Driver, NetDev } from "./netdev.ts";

/** Where a packet goes on: behind the ingress of its device. */
const BACK: PacketSink = {
  deliver(skb: Skb): void {
    const dev = skb.dev as NetDev;
    const gone = !dev.up || dev.ns.devs.get(dev.ifindex) !== dev;
    if (gone) drop(dev.ns, skb, DropReason.DEV_READY, skb.trace && `${dev.name} is down`);
    else dev.receive(skb);
  },
};

export class Ifb implements Driver {
  readonly kind: string = "ifb";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;

  xmit(dev: NetDev, skb: Skb): void {
    if (skb.redirected) {
      skb.redirected = false;
      dev.ns.world.loop.post(BACK, skb);
    } else drop(dev.ns, skb, DropReason.NOT_SPECIFIED, skb.trace && `${dev.name} takes redirected packets only`);
  }
}
