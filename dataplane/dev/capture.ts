/** Recording frames at interfaces, as a packet socket does; checksums that are still partial are completed in the copy. */
import { writeChecksum } from "../skb/partial-checksum.ts";
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import type { Tap } from "../skb/trace.ts";
import type { NetDev } from "./netdev.ts";

export type CapturedFrame = {
  /** Milliseconds of virtual time. */
  readonly time: number;
  readonly node: string;
  readonly netns: string;
  readonly dev: string;
  readonly direction: "in" | "out";
  readonly bytes: Uint8Array;
};

export class Capture implements Tap {
  readonly frames: CapturedFrame[] = [];
  readonly #devs: NetDev[] = [];
  readonly #limit: number;

  /** Keeps the first `limit` frames. */
  constructor(limit: number = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
  }

  attach(dev: NetDev): this {
    dev.taps = [...(dev.taps ?? []), this];
    this.#devs.push(dev);
    return this;
  }

  /** Stops recording, everywhere. */
  detach(): void {
    for (const dev of this.#devs.splice(0)) {
      const rest = (dev.taps ?? []).filter((t) => t !== this);
      dev.taps = rest.length === 0 ? null : rest;
    }
  }

  frame(dev: NetDev, skb: Skb, start: number, direction: "in" | "out"): void {
    if (this.frames.length >= this.#limit) return;
    const bytes = frameBytes(skb, start);
    const { world, node, name } = dev.ns;
    this.frames.push({ time: world.loop.time, node, netns: name, dev: dev.name, direction, bytes });
  }
}

/** A copy of the frame as a wire would carry it. */
export function frameBytes(skb: Skb, start: number): Uint8Array {
  const bytes = skb.buf.slice(start, skb.end);
  if (skb.csum === CHECKSUM_PARTIAL) writeChecksum(bytes, skb.csumStart - start, skb.csumOffset, bytes.length);
  return bytes;
}
