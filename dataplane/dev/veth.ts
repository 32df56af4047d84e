/** A virtual Ethernet pair (drivers/net/veth.c): what one end sends, the other receives, forgetting its namespace. */
import { drop } from "../skb/drop.ts";
import { type Skb, scrub } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Driver, NetDev } from "./netdev.ts";

export class Veth implements Driver {
  readonly kind: string = "veth";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;
  /** The other end's interface; null once it is gone. */
  peer: NetDev | null = null;

  xmit(dev: NetDev, skb: Skb): void {
    const peer = this.peer;
    if (peer === null || !peer.up) {
      drop(dev.ns, skb, DropReason.DEV_READY, skb.trace && `the peer of ${dev.name} is down`);
      return;
    }
    if (skb.end - skb.data > peer.mtu + ethernet.HEADER_LEN + 4) {
      drop(dev.ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `longer than the MTU of the peer of ${dev.name}`);
      return;
    }
    scrub(skb);
    dev.ns.world.loop.post(peer, skb);
  }

  carrier(dev: NetDev): boolean {
    return dev.up && this.peer?.up === true;
  }

  describe(): string {
    return this.peer === null ? "" : `peer ${this.peer.name}`;
  }
}
