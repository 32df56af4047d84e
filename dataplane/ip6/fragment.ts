/**
 * Cutting a datagram into fragments at its source, RFC 8200 section 4.5 (ip6_fragment): the headers that routers read stay in
 * front of each fragment, the rest is cut. Routers cut nothing but what they put together for conntrack.
 */
import { newPart } from "../ip/fragment.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume } from "../skb/drop.ts";
import { completeChecksum } from "../skb/partial-checksum.ts";
import type { Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as ipv6 from "../wire/ipv6.ts";

/** Consumes the packet and answers its fragments, each at most `mtu` octets of IP. */
export function fragment6(ns: NetNs, skb: Skb, mtu: number): Skb[] {
  completeChecksum(skb);
  const { buf: b, network: at } = skb;
  const before = ipv6.unfragmentableLen(b, at, skb.end);
  const head = before + ipv6.FRAGMENT_HEADER_LEN;
  const next = ipv6.lastNext(b, at, before);
  const room = (mtu - head) & ~7;
  const whole = skb.end - at - before;
  const count = Math.ceil(whole / room);
  const id = ns.random.u32() || 1;
  if (skb.trace !== null) skb.trace.report(ns, skb, { step: "fragment", dev: "", text: `into ${count}, MTU ${mtu}` });
  const parts: Skb[] = [];
  for (let i = 0; i < count; i++) {
    const from = i * room;
    const len = Math.min(room, whole - from);
    const part = newPart(ns, skb, head + len, head, i === 0);
    copy(part.buf, part.data, b, at, before);
    copy(part.buf, part.data + head, b, at + before + from, len);
    ipv6.setLastNext(part.buf, part.data, before, ipv6.NEXT_FRAGMENT);
    ipv6.writeFragment(part.buf, part.data + before, next, from, i < count - 1, id);
    ipv6.setPayloadLen(part.buf, part.data, head + len - ipv6.HEADER_LEN);
    parts.push(part);
  }
  consume(ns, skb);
  return parts;
}
