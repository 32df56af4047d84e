import { describe, expect, it } from "vitest";
import { SkbPool } from "../skb/skb.ts";
import type { Conn } from "./conn.ts";
import { ConnPool } from "./conn-pool.ts";
import { NF_ACCEPT, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING } from "./hooks.ts";
import { Bench } from "./testing.ts";

const RULES = [
  "*nat",
  "-A POSTROUTING -o eth1 -j MASQUERADE",
  "COMMIT",
  "*filter",
  "-A FORWARD -m conntrack --ctstate NEW -j ACCEPT",
  "COMMIT\n",
].join("\n");

/** A packet of flow `sport` through the host; it is still in flight then. */
function through(bench: Bench, sport: number): { readonly conn: Conn; readonly end: () => void } {
  const skb = bench.packet({ proto: "udp", sport });
  const [eth0, eth1] = [bench.ns.dev("eth0") ?? null, bench.ns.dev("eth1") ?? null];
  expect(bench.nf.hook(bench.ns, NF_INET_PRE_ROUTING, skb, eth0, null)).toBe(NF_ACCEPT);
  expect(bench.nf.hook(bench.ns, NF_INET_POST_ROUTING, skb, null, eth1)).toBe(NF_ACCEPT);
  return { conn: skb.ct as Conn, end: () => bench.world.pool.free(skb) };
}

describe("connections that are over", () => {
  it("are used again, but not before all packets that were in flight are gone", () => {
    const packets = new SkbPool();
    const pool = new ConnPool(packets);
    const conn = pool.take();
    const first = packets.alloc(64);
    pool.give(conn);
    const second = packets.alloc(64);
    packets.free(first);
    expect(pool.take()).not.toBe(conn);
    packets.free(second);
    expect(pool.take()).toBe(conn);
    expect(pool.made).toBe(2);
  });

  it("wait again for those that left later", () => {
    const packets = new SkbPool();
    const pool = new ConnPool(packets);
    const [a, b] = [pool.take(), pool.take()];
    pool.give(a);
    packets.free(packets.alloc(64));
    const flying = packets.alloc(64);
    pool.give(b);
    expect(pool.take()).toBe(a);
    expect(pool.take()).not.toBe(b);
    packets.free(flying);
    expect(pool.take()).toBe(b);
  });

  it("stay as they were for a packet that outlives them", () => {
    const bench = new Bench();
    bench.restore(RULES);
    const late = through(bench, 1000);
    const { conn } = late;
    const was = { id: conn.id, ports: conn.original.ports, reply: { ...conn.reply } };
    expect(bench.nf.conntrack.deleteWhere((c) => c === conn)).toBe(1);
    for (let sport = 2000; sport < 2200; sport++) {
      const other = through(bench, sport);
      expect(other.conn).not.toBe(conn);
      other.end();
    }
    expect({ id: conn.id, ports: conn.original.ports, reply: { ...conn.reply } }).toEqual(was);
    late.end();
    const next = through(bench, 3000);
    expect(next.conn).toBe(conn);
    expect(next.conn.original.ports >>> 16).toBe(3000);
  });

  it("are forgotten by the table, by source and by tuple, before they stand for another flow", () => {
    const bench = new Bench();
    bench.restore(RULES);
    for (let round = 0; round < 50; round++) {
      for (let sport = 1000; sport < 1020; sport++) through(bench, sport).end();
      expect(bench.nf.conntrack.deleteWhere(() => true)).toBe(20);
      expect(bench.nf.conntrack.dump()).toEqual([]);
    }
    expect(bench.nf.conntrack.pool.made).toBeLessThanOrEqual(40);
    expect(bench.nf.conntrack.count).toBe(0);
  });
});
