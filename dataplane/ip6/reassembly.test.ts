import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { World } from "../host/world.ts";
import type { NetNs } from "../netns/netns.ts";
import { createNetns } from "../netns/stack.ts";
import type { Skb } from "../skb/skb.ts";
import { equal } from "../wire/bytes.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { ipv6 as address } from "../wire/ipv6-addr.ts";
import { fragment6 } from "./fragment.ts";

const SRC = address("fd00::1");
const DST = address("fd00::2");
const HOP_BY_HOP = [17, 0, 1, 4, 0, 0, 0, 0];

function netns(): NetNs {
  return createNetns(new World(1), "host", "node");
}

/** A datagram of protocol 17 around these octets, behind a hop-by-hop header where there is to be one. */
function packet(ns: NetNs, payload: Uint8Array, extended: boolean): Skb {
  const head = extended ? HOP_BY_HOP : [];
  const skb = ns.world.pool.alloc(40 + head.length + payload.length);
  const next = extended ? ipv6.NEXT_HOP_BY_HOP : 17;
  ipv6.write(skb.buf, skb.data, head.length + payload.length, next, 64, SRC, DST, 0, 0);
  skb.buf.set(head, skb.data + 40);
  skb.buf.set(payload, skb.data + 40 + head.length);
  skb.network = skb.data;
  skb.mac = skb.data;
  skb.transport = skb.data + 40 + head.length;
  skb.end = skb.transport + payload.length;
  return skb;
}

const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 31) & 0xff);

describe("fragments of IPv6", () => {
  it("make the datagram again, in any order, of any MTU, each no longer than that", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6_000 }),
        fc.integer({ min: 80, max: 1_500 }),
        fc.boolean(),
        fc.infiniteStream(fc.nat()),
        (length, mtu, extended, order) => {
          const ns = netns();
          const whole = bytes(length);
          const parts = fragment6(ns, packet(ns, whole, extended), mtu);
          for (const p of parts) {
            expect(p.end - p.network).toBeLessThanOrEqual(mtu);
            expect(ipv6.check(p.buf, p.network, p.end)).toBe(0);
            expect(ipv6.fragmentHeader(p.buf, p.network, p.end) - p.network).toBe(extended ? 48 : 40);
          }
          const shuffled = parts
            .map((part) => ({ part, key: order.next().value as number }))
            .sort((a, b) => a.key - b.key)
            .map((e) => e.part);
          const results = shuffled.map((part) => ns.reassembler6.add(part, true)).filter((r) => r !== null);
          expect(results).toHaveLength(1);
          const skb = results[0] as Skb;
          expect(ipv6.transportProtocol(skb.buf, skb.network, skb.end)).toBe(17);
          expect(skb.end - skb.transport).toBe(length);
          expect(equal(skb.buf, skb.transport, whole, 0, length)).toBe(true);
          expect(ipv6.fragmentHeader(skb.buf, skb.network, skb.end)).toBe(-1);
          ns.world.pool.free(skb);
          expect(ns.world.pool.live).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("of different identifications stay apart, and the time of those that wait ends", () => {
    const ns = netns();
    const [a1, a2] = fragment6(ns, packet(ns, bytes(150), false), 150) as [Skb, Skb];
    const [b1, b2] = fragment6(ns, packet(ns, bytes(150), false), 150) as [Skb, Skb];
    expect(ns.reassembler6.add(a1, true)).toBeNull();
    expect(ns.reassembler6.add(b2, true)).toBeNull();
    ns.world.loop.run({ deadline: 61_000 });
    expect(ns.world.pool.live).toBe(2);
    expect(ns.reassembler6.add(a2, true)).toBeNull();
    expect(ns.reassembler6.add(b1, true)).toBeNull();
  });
});
