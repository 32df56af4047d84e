/**
 * Datagrams of either family that are being put together (net/ipv4/inet_fragment.c): the fragments of each, until all are
 * there or their time is over. Overlaps end the whole datagram (RFC 5722, and Linux does the same for IPv4 since 4.20).
 */
import type { NetNs } from "../netns/netns.ts";
import type { Timer } from "../sim/event-loop.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, type Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";

/** Datagrams under assembly at a time; Linux counts memory (4 MiB). */
const LIMIT = 1024;

type Part = { readonly from: number; readonly to: number; readonly skb: Skb };
export type FragQueue = { readonly parts: Part[]; whole: number; longest: number; readonly timer: Timer };

/** Octets of the datagram that a fragment holds, and whether more are to come. */
export type FragPlace = { readonly from: number; readonly to: number; readonly more: boolean };

export class FragQueues {
  readonly #ns: NetNs;
  /** Milliseconds. */
  readonly #timeout: number;
  readonly #timedOut: (first: Skb) => void;
  readonly #queues = new Map<string, FragQueue>();

  /** `timedOut` is told of the first fragment of a datagram that never became whole. */
  constructor(ns: NetNs, timeout: number, timedOut: (first: Skb) => void) {
    this.#ns = ns;
    this.#timeout = timeout;
    this.#timedOut = timedOut;
  }

  /** Takes a fragment; answers the fragments of its datagram, in order, when this was the last missing one, else null. */
  add(key: string, skb: Skb, { from, to, more }: FragPlace): FragQueue | null {
    const ns = this.#ns;
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      if (this.#queues.size >= LIMIT) {
        drop(ns, skb, DropReason.NOMEM);
        return null;
      }
      const timer = ns.world.loop.schedule(this.#timeout, () => this.#expire(key));
      queue = { parts: [], whole: -1, longest: 0, timer };
      this.#queues.set(key, queue);
    }
    if (queue.parts.some((p) => p.from === from && p.to === to)) {
      drop(ns, skb, DropReason.DUP_FRAG);
      return null;
    }
    const overlaps = queue.parts.some((p) => from < p.to && p.from < to);
    const behindEnd = (queue.whole >= 0 && to > queue.whole) || (!more && queue.parts.some((p) => p.to > to));
    if (overlaps || behindEnd) {
      this.#discard(key, queue);
      drop(ns, skb, DropReason.DUP_FRAG, "fragments overlap");
      return null;
    }
    if (!more) queue.whole = to;
    queue.longest = Math.max(queue.longest, skb.end - skb.network);
    queue.parts.push({ from, to, skb });
    const have = queue.parts.reduce((n, p) => n + p.to - p.from, 0);
    if (queue.whole < 0 || have < queue.whole) return null;
    queue.timer.cancel();
    this.#queues.delete(key);
    queue.parts.sort((a, b) => a.from - b.from);
    return queue;
  }

  /** Ends a datagram that cannot become whole. */
  abandon(key: string): void {
    const queue = this.#queues.get(key);
    if (queue !== undefined) this.#discard(key, queue);
  }

  #expire(key: string): void {
    const queue = this.#queues.get(key);
    if (queue === undefined) return;
    const first = queue.parts.find((p) => p.from === 0);
    if (first !== undefined) this.#timedOut(first.skb);
    this.#discard(key, queue);
  }

  #discard(key: string, queue: FragQueue): void {
    queue.timer.cancel();
    this.#queues.delete(key);
    for (const p of queue.parts) drop(this.#ns, p.skb, DropReason.FRAG_REASM_TIMEOUT);
  }
}

/** The datagram of its fragments: the first `head` octets of the first one, then what all of them hold. */
export function join(ns: NetNs, queue: FragQueue, head: number): Skb {
  const { parts, whole, longest } = queue;
  const first = (parts[0] as Part).skb;
  const skb = ns.world.pool.alloc(head + whole);
  copy(skb.buf, skb.data, first.buf, first.network, head);
  for (const p of parts) copy(skb.buf, skb.data + head + p.from, p.skb.buf, p.skb.end - (p.to - p.from), p.to - p.from);
  // A bridge goes on with a frame: the first fragment's Ethernet header stays in front.
  const link = first.network - first.mac === ethernet.HEADER_LEN ? ethernet.HEADER_LEN : 0;
  skb.mac = skb.data - link;
  copy(skb.buf, skb.mac, first.buf, first.network - link, link);
  skb.fragMaxSize = longest;
  skb.end = skb.data + head + whole;
  skb.network = skb.data;
  skb.transport = skb.data + head;
  skb.protocol = first.protocol;
  skb.pktType = first.pktType;
  skb.csum = CHECKSUM_NONE;
  skb.dev = first.dev;
  skb.physIn = first.physIn;
  skb.mark = first.mark;
  skb.dst = first.dst;
  skb.ct = first.ct;
  skb.ctInfo = first.ctInfo;
  skb.trace = first.trace;
  for (const p of parts) consume(ns, p.skb);
  return skb;
}
