/**
 * A network card on a cable (host/underlay.ts). Sending completes partial checksums, as transmit offload does; what arrives
 * undamaged counts as checked, as receive offload does.
 */
import { completeChecksum } from "../skb/partial-checksum.ts";
import type { Skb } from "../skb/skb.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Driver, NetDev } from "./netdev.ts";

/** Where a card's frames go. */
export interface Cable {
  readonly name: string;
  /** Takes ownership of the packet. */
  carry(from: NetDev, skb: Skb): void;
  unplug(dev: NetDev): void;
}

export class Nic implements Driver {
  readonly kind: string = "nic";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;
  readonly cable: Cable;

  constructor(cable: Cable) {
    this.cable = cable;
  }

  xmit(dev: NetDev, skb: Skb): void {
    completeChecksum(skb);
    this.cable.carry(dev, skb);
  }

  describe(): string {
    return `to the ${this.cable.name}`;
  }

  removed(dev: NetDev): void {
    this.cable.unplug(dev);
  }
}
