import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { World } from "../host/world.ts";
import type { NetNs } from "../netns/netns.ts";
import { createNetns } from "../netns/stack.ts";
import type { Skb } from "../skb/skb.ts";
import { equal } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { ipv4 as address } from "../wire/ipv4-addr.ts";
import { fragment } from "./fragment.ts";

const SRC = address("10.0.0.1");
const DST = address("10.0.0.2");

function netns(): NetNs {
  return createNetns(new World(1), "host", "node");
}

/** A datagram, or a piece of one. */
function packet(ns: NetNs, payload: Uint8Array, offset = 0, more = false, id = 7): Skb {
  const skb = ns.world.pool.alloc(20 + payload.length);
  const flags = (offset >> 3) | (more ? ipv4.FLAG_MF : 0);
  ipv4.write(skb.buf, skb.data, 20 + payload.length, id, flags, 64, 17, SRC, DST, 0);
  skb.buf.set(payload, skb.data + 20);
  skb.end = skb.data + 20 + payload.length;
  skb.network = skb.data;
  skb.mac = skb.data;
  skb.transport = skb.data + 20;
  return skb;
}

const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => (i * 31) & 0xff);

describe("fragments", () => {
  it("make the datagram again, in any order, of any MTU, each no longer than that", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.integer({ min: 68, max: 1_500 }),
        fc.infiniteStream(fc.nat()),
        (length, mtu, order) => {
          const ns = netns();
          const whole = bytes(length);
          const parts = fragment(ns, packet(ns, whole), mtu);
          for (const p of parts) {
            expect(p.end - p.network).toBeLessThanOrEqual(mtu);
            expect(ipv4.check(p.buf, p.network, p.end)).toBe(0);
          }
          const shuffled = parts
            .map((part) => ({ part, key: order.next().value as number }))
            .sort((a, b) => a.key - b.key)
            .map((e) => e.part);
          const results = shuffled.map((part) => ns.reassembler.add(part)).filter((r) => r !== null);
          expect(results).toHaveLength(1);
          const skb = results[0] as Skb;
          expect(skb.end - skb.transport).toBe(length);
          expect(equal(skb.buf, skb.transport, whole, 0, length)).toBe(true);
          expect(ipv4.isFragment(skb.buf, skb.network)).toBe(false);
          ns.world.pool.free(skb);
          expect(ns.world.pool.live).toBe(0);
        },
      ),
    );
  });

  it("are kept apart by their identification", () => {
    const ns = netns();
    expect(ns.reassembler.add(packet(ns, bytes(8), 0, true, 1))).toBeNull();
    expect(ns.reassembler.add(packet(ns, bytes(8), 8, false, 2))).toBeNull();
    expect(ns.reassembler.add(packet(ns, bytes(8), 8, false, 1))).not.toBeNull();
  });

  it("that come twice are dropped, and do no harm", () => {
    const ns = netns();
    ns.reassembler.add(packet(ns, bytes(16), 0, true));
    expect(ns.reassembler.add(packet(ns, bytes(16), 0, true))).toBeNull();
    expect(ns.drops[DropReason.DUP_FRAG]).toBe(1);
    expect(ns.reassembler.add(packet(ns, bytes(4), 16))).not.toBeNull();
  });

  it("that overlap end the whole datagram", () => {
    const ns = netns();
    ns.reassembler.add(packet(ns, bytes(16), 0, true));
    ns.reassembler.add(packet(ns, bytes(16), 8, true));
    expect(ns.reassembler.add(packet(ns, bytes(4), 16))).toBeNull();
    ns.world.loop.run();
    expect(ns.world.pool.live).toBe(0);
  });

  it("whose rest never comes are dropped after thirty seconds", () => {
    const ns = netns();
    ns.reassembler.add(packet(ns, bytes(16), 0, true));
    ns.world.loop.run({ deadline: 29_999 });
    expect(ns.world.pool.live).toBe(1);
    ns.world.loop.run({ deadline: 30_000 });
    expect(ns.drops[DropReason.FRAG_REASM_TIMEOUT]).toBe(1);
    expect(ns.world.pool.live).toBe(0);
  });
});
