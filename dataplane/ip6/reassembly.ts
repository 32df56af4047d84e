/**
 * Putting fragments of IPv6 together, RFC 8200 section 4.5 (net/ipv6/reassembly.c and nf_conntrack_reasm.c): by source,
 * destination and identification, within 60 seconds. What follows the fragment header is what was cut; the header goes.
 */
import { FragQueues, join } from "../ip/frag-queues.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { key6At } from "../wire/ip-key.ts";
import * as ipv6 from "../wire/ipv6.ts";

/** Milliseconds (ip6frag_time). */
const TIMEOUT = 60_000;
/** Octets behind the header. */
const LONGEST = 65535;

export class Reassembler6 {
  readonly #ns: NetNs;
  readonly #queues: FragQueues;

  constructor(ns: NetNs) {
    this.#ns = ns;
    this.#queues = new FragQueues(ns, TIMEOUT, (first) =>
      ns.handlers.icmp6Error(ns, first, icmpv6.TIME_EXCEED, icmpv6.EXC_FRAGTIME, 0),
    );
  }

  /**
   * Takes a fragment; answers the whole datagram when this was the last missing one, else null. `answers`: a fragment that
   * is wrong is answered, as its receiver does and a router does not.
   */
  add(skb: Skb, answers: boolean): Skb | null {
    const ns = this.#ns;
    const { buf: b, network: at } = skb;
    const fragment = ipv6.fragmentHeader(b, at, skb.end);
    const key = `${key6At(b, at + ipv6.SRC)} ${key6At(b, at + ipv6.DST)} ${ipv6.fragmentId(b, fragment)}`;
    const data = fragment + ipv6.FRAGMENT_HEADER_LEN;
    const from = ipv6.fragmentOffset(b, at, skb.end);
    const to = from + skb.end - data;
    const more = ipv6.moreFragments(b, fragment);
    const before = fragment - at;
    const uneven = more && (to & 7) !== 0;
    if (uneven || to === from || to + before - ipv6.HEADER_LEN > LONGEST) {
      const pointer = uneven ? ipv6.PAYLOAD_LEN : before + ipv6.FRAGMENT_OFFSET;
      if (answers && to !== from) ns.handlers.icmp6Error(ns, skb, icmpv6.PARAMPROB, 0, pointer);
      if (to === from) this.#queues.abandon(key);
      drop(ns, skb, DropReason.IP_INHDR, "a fragment of no right length");
      return null;
    }
    const queue = this.#queues.add(key, skb, { from, to, more });
    if (queue === null) return null;
    const first = queue.parts[0]?.skb ?? skb;
    const head = ipv6.fragmentHeader(first.buf, first.network, first.end) - first.network;
    const next = ipv6.fragmentNext(first.buf, first.network + head);
    const whole = join(ns, queue, head);
    ipv6.setLastNext(whole.buf, whole.network, head, next);
    ipv6.setPayloadLen(whole.buf, whole.network, head + queue.whole - ipv6.HEADER_LEN);
    whole.transport = Math.max(ipv6.transportOffset(whole.buf, whole.network, whole.end), whole.network + head);
    return whole;
  }
}
