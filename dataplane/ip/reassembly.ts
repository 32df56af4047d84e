/**
 * Putting fragments of IPv4 together, RFC 791 section 3.2 (net/ipv4/ip_fragment.c): by source, destination, protocol and
 * identification, within 30 seconds.
 */
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { FragQueues, join } from "./frag-queues.ts";

/** Milliseconds (ipfrag_time). */
const TIMEOUT = 30_000;
/** Octets of a datagram's payload. */
const LONGEST = 65515;

export class Reassembler {
  readonly #ns: NetNs;
  readonly #queues: FragQueues;

  constructor(ns: NetNs) {
    this.#ns = ns;
    this.#queues = new FragQueues(ns, TIMEOUT, (first) =>
      ns.handlers.icmpError(ns, first, icmpv4.TIME_EXCEEDED, icmpv4.EXC_FRAGTIME, 0),
    );
  }

  /** Takes a fragment; answers the whole datagram when this was the last missing one, else null. */
  add(skb: Skb): Skb | null {
    const ns = this.#ns;
    const b = skb.buf;
    const at = skb.network;
    const key = `${ipv4.src(b, at)} ${ipv4.dst(b, at)} ${ipv4.protocol(b, at)} ${ipv4.id(b, at)}`;
    const from = ipv4.fragmentOffset(b, at);
    const to = from + skb.end - at - ipv4.headerLen(b, at);
    if (to > LONGEST) {
      this.#queues.abandon(key);
      drop(ns, skb, DropReason.DUP_FRAG, "longer than a datagram may be");
      return null;
    }
    const queue = this.#queues.add(key, skb, { from, to, more: ipv4.moreFragments(b, at) });
    if (queue === null) return null;
    const first = queue.parts[0]?.skb ?? skb;
    const head = ipv4.headerLen(first.buf, first.network);
    const whole = join(ns, queue, head);
    ipv4.setTotalLen(whole.buf, whole.network, head + queue.whole);
    ipv4.setFlagsFrag(whole.buf, whole.network, 0);
    ipv4.fillChecksum(whole.buf, whole.network);
    return whole;
  }
}
