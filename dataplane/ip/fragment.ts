/** Cutting a datagram into fragments, RFC 791 section 3.2 (ip_do_fragment). Options are not copied: none are sent here. */
import type { NetNs } from "../netns/netns.ts";
import { consume } from "../skb/drop.ts";
import { completeChecksum } from "../skb/partial-checksum.ts";
import type { Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as ipv4 from "../wire/ipv4.ts";

/** Consumes the packet and answers its fragments, each at most `mtu` octets of IP. */
export function fragment(ns: NetNs, skb: Skb, mtu: number): Skb[] {
  completeChecksum(skb);
  const b = skb.buf;
  const at = skb.network;
  const head = ipv4.headerLen(b, at);
  const room = (mtu - head) & ~7;
  const whole = skb.end - at - head;
  const offset = ipv4.fragmentOffset(b, at);
  const more = ipv4.moreFragments(b, at);
  const count = Math.ceil(whole / room);
  if (skb.trace !== null) {
    skb.trace.report(ns, skb, { step: "fragment", dev: "", text: `into ${count}, MTU ${mtu}` });
  }
  const parts: Skb[] = [];
  for (let i = 0; i < count; i++) {
    const from = i * room;
    const len = Math.min(room, whole - from);
    const part = newPart(ns, skb, head + len, head, i === 0);
    copy(part.buf, part.data, b, at, head);
    copy(part.buf, part.data + head, b, at + head + from, len);
    const last = i === count - 1;
    ipv4.setTotalLen(part.buf, part.network, head + len);
    ipv4.setFlagsFrag(part.buf, part.network, ((offset + from) >> 3) | (!last || more ? 0x2000 : 0));
    ipv4.fillChecksum(part.buf, part.network);
    parts.push(part);
  }
  consume(ns, skb);
  return parts;
}

/** An empty fragment of `size` octets, `head` of them headers, that goes the way of the whole. One of them tells it. */
export function newPart(ns: NetNs, skb: Skb, size: number, head: number, tells: boolean): Skb {
  const part = ns.world.pool.alloc(size);
  part.end = part.data + size;
  part.network = part.data;
  part.transport = part.data + head;
  part.protocol = skb.protocol;
  part.dev = skb.dev;
  part.mark = skb.mark;
  part.dst = skb.dst;
  part.ct = skb.ct;
  part.ctInfo = skb.ctInfo;
  part.trace = tells ? skb.trace : null;
  return part;
}
