/** A dummy interface (drivers/net/dummy.c): it holds addresses and swallows what it is given. */
import { consume } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Driver, NetDev } from "./netdev.ts";

export class Dummy implements Driver {
  readonly kind: string = "dummy";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;

  xmit(dev: NetDev, skb: Skb): void {
    consume(dev.ns, skb);
  }
}
