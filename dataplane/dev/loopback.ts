/** The loopback interface (drivers/net/loopback.c): what is sent comes back in, with its route and connection. */

import type { Skb } from "../skb/skb.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Driver, NetDev } from "./netdev.ts";

export const LOOPBACK_MTU = 65536;

export class Loopback implements Driver {
  readonly kind: string = "loopback";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;

  xmit(dev: NetDev, skb: Skb): void {
    dev.ns.world.loop.post(dev, skb);
  }
}
