/**
 * Putting fragments together, RFC 791 section 3.2 (net/ipv4/ip_fragment.c): by source, destination, protocol and
 * identification, within 30 seconds; overlaps end the whole datagram, as Linux does since 4.20.
 */
import type { NetNs } from "../netns/netns.ts";
import type { Timer } from "../sim/event-loop.ts";
import { consume, drop } from "../skb/drop.ts";
import { CHECKSUM_NONE, type Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";

/** Milliseconds (ipfrag_time). */
const TIMEOUT = 30_000;
/** Datagrams under assembly at a time; Linux counts memory (4 MiB). */
const LIMIT = 1024;

type Part = { readonly from: number; readonly to: number; readonly skb: Skb };
type Queue = { readonly parts: Part[]; whole: number; longest: number; readonly timer: Timer };

export class Reassembler {
  readonly #ns: NetNs;
  readonly #queues = new Map<string, Queue>();

  constructor(ns: NetNs) {
    this.#ns = ns;
  }

  /** Takes a fragment; answers the whole datagram when this was the last missing one, else null. */
  add(skb: Skb): Skb | null {
    const ns = this.#ns;
    const b = skb.buf;
    const at = skb.network;
    const key = `${ipv4.src(b, at)} ${ipv4.dst(b, at)} ${ipv4.protocol(b, at)} ${ipv4.id(b, at)}`;
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      if (this.#queues.size >= LIMIT) {
        drop(ns, skb, DropReason.NOMEM);
        return null;
      }
      queue = { parts: [], whole: -1, longest: 0, timer: ns.world.loop.schedule(TIMEOUT, () => this.#expire(key)) };
      this.#queues.set(key, queue);
    }
    const from = ipv4.fragmentOffset(b, at);
    const to = from + skb.end - at - ipv4.headerLen(b, at);
    if (queue.parts.some((p) => p.from === from && p.to === to)) {
      drop(ns, skb, DropReason.DUP_FRAG);
      return null;
    }
    if (queue.parts.some((p) => from < p.to && p.from < to) || (queue.whole >= 0 && to > queue.whole) || to > 65515) {
      this.#discard(key, queue);
      drop(ns, skb, DropReason.DUP_FRAG, () => "fragments overlap");
      return null;
    }
    if (!ipv4.moreFragments(b, at)) queue.whole = to;
    queue.longest = Math.max(queue.longest, skb.end - at);
    queue.parts.push({ from, to, skb });
    const have = queue.parts.reduce((n, p) => n + p.to - p.from, 0);
    if (queue.whole < 0 || have < queue.whole) return null;
    queue.timer.cancel();
    this.#queues.delete(key);
    return this.#join(queue);
  }

  #join(queue: Queue): Skb {
    const ns = this.#ns;
    const parts = queue.parts.sort((a, b) => a.from - b.from);
    const first = (parts[0] as Part).skb;
    const head = ipv4.headerLen(first.buf, first.network);
    const skb = ns.world.pool.alloc(head + queue.whole);
    copy(skb.buf, skb.data, first.buf, first.network, head);
    for (const p of parts)
      copy(skb.buf, skb.data + head + p.from, p.skb.buf, p.skb.end - (p.to - p.from), p.to - p.from);
    // A bridge goes on with a frame: the first fragment's Ethernet header stays in front.
    const link = first.network - first.mac === ethernet.HEADER_LEN ? ethernet.HEADER_LEN : 0;
    skb.mac = skb.data - link;
    copy(skb.buf, skb.mac, first.buf, first.network - link, link);
    skb.fragMaxSize = queue.longest;
    skb.end = skb.data + head + queue.whole;
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
    ipv4.setTotalLen(skb.buf, skb.network, head + queue.whole);
    ipv4.setFlagsFrag(skb.buf, skb.network, 0);
    ipv4.fillChecksum(skb.buf, skb.network);
    for (const p of parts) consume(ns, p.skb);
    return skb;
  }

  #expire(key: string): void {
    const queue = this.#queues.get(key);
    if (queue === undefined) return;
    const first = queue.parts.find((p) => p.from === 0);
    if (first !== undefined) {
      this.#ns.handlers.icmpError(this.#ns, first.skb, icmpv4.TIME_EXCEEDED, icmpv4.EXC_FRAGTIME, 0);
    }
    this.#discard(key, queue);
  }

  #discard(key: string, queue: Queue): void {
    queue.timer.cancel();
    this.#queues.delete(key);
    for (const p of queue.parts) drop(this.#ns, p.skb, DropReason.FRAG_REASM_TIMEOUT);
  }
}
