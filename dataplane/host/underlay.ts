/**
 * The network between nodes: one Ethernet segment with delay, loss and an MTU, as a switch that knows where each card is.
 * Frames to one card keep their order.
 */

import { Fdb, FdbEntry } from "../bridge/fdb.ts";
import type { NetDev } from "../dev/netdev.ts";
import { type Cable, Nic } from "../dev/nic.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, type Skb, scrub } from "../skb/skb.ts";
import { i32, u8, u16 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { World } from "./world.ts";

export type UnderlayOptions = {
  /** One way, in milliseconds of virtual time. */
  readonly delay?: number;
  /** Share of frames that are lost, 0 to 1. */
  readonly loss?: number;
  /** Largest IP packet carried, in octets; longer frames are dropped without a word, as a switch does. */
  readonly mtu?: number;
};

export class Underlay implements Cable {
  readonly name: string = "underlay";
  readonly #world: World;
  readonly #cards: NetDev[] = [];
  readonly #byMac: Fdb<NetDev> = new Fdb();
  delay: number;
  loss: number;
  mtu: number;
  lost = 0;

  constructor(world: World, options: UnderlayOptions = {}) {
    this.#world = world;
    this.delay = options.delay ?? 0;
    this.loss = options.loss ?? 0;
    this.mtu = options.mtu ?? 65535;
  }

  /** A driver for a card on this segment; `plug` the interface once it has its MAC. */
  driver(): Nic {
    return new Nic(this);
  }

  plug(dev: NetDev): void {
    this.#cards.push(dev);
    this.#byMac.set(new FdbEntry(dev.macHi, dev.macLo, dev, true, 0));
  }

  unplug(dev: NetDev): void {
    const at = this.#cards.indexOf(dev);
    if (at >= 0) this.#cards.splice(at, 1);
    this.#byMac.delete(dev.macHi, dev.macLo);
  }

  carry(from: NetDev, skb: Skb): void {
    const ns = from.ns;
    if (skb.end - skb.data > this.mtu + ethernet.HEADER_LEN + 4) {
      drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `longer than the underlay carries (MTU ${this.mtu})`);
      return;
    }
    if (this.loss > 0 && this.#world.random.next() < this.loss) {
      this.lost++;
      drop(ns, skb, DropReason.NOT_SPECIFIED, "lost on the underlay");
      return;
    }
    scrub(skb);
    if (skb.csum !== CHECKSUM_NONE) skb.csum = CHECKSUM_UNNECESSARY;
    const b = skb.buf;
    if ((u8(b, skb.data) & 1) === 0) {
      const entry = this.#byMac.get(u16(b, skb.data), i32(b, skb.data + 2));
      if (entry !== null) {
        if (entry.target === from) consume(ns, skb);
        else this.#world.loop.postAfter(this.delay, entry.target, skb);
        return;
      }
    }
    this.#flood(from, ns, skb);
  }

  #flood(from: NetDev, ns: NetNs, skb: Skb): void {
    for (const card of this.#cards) {
      if (card !== from) this.#world.loop.postAfter(this.delay, card, this.#world.pool.copy(skb));
    }
    consume(ns, skb);
  }
}
