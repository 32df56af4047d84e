import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { NetDev } from "../dev/netdev.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "./rtnl-apply.ts";
import { dumpAddrs, dumpFdb, dumpLinks, dumpNeighs, dumpRoutes } from "./rtnl-dump.ts";
import { NetlinkError, type RtnlOp } from "./rtnl-ops.ts";

const PLACES = ["host", "/var/run/netns/pod"] as const;
const DEVS = ["br0", "br1", "v0", "v1", "vx", "d0"] as const;
const ADDRESSES = ["10.0.0.1/24", "10.0.0.2/24", "10.0.1.1/24", "10.0.1.1/32"] as const;
const ROUTES = ["10.0.0.0/24", "10.9.0.0/16", "default", "10.0.1.7"] as const;
const MACS = ["0a:00:00:00:00:01", "0a:00:00:00:00:02", "0a:00:00:00:00:03"] as const;

const netns = fc.constantFrom(...PLACES);
const dev = fc.constantFrom(...DEVS);
const mac = fc.constantFrom(...MACS);
const attrs = fc.record(
  {
    mtu: fc.constantFrom(1400, 1500, 9000, 10),
    mac,
    up: fc.boolean(),
    master: fc.constantFrom("br0", "br1", "d0", null),
    hairpin: fc.boolean(),
    alias: fc.constantFrom("", "x"),
  },
  { requiredKeys: [] },
);

const op: fc.Arbitrary<RtnlOp> = fc.oneof(
  fc.record({ op: fc.constant("link.add" as const), netns, name: dev, kind: fc.constant("bridge" as const) }),
  fc.record({
    op: fc.constant("link.add" as const),
    netns,
    name: dev,
    kind: fc.constant("dummy" as const),
    up: fc.boolean(),
  }),
  fc.record({
    op: fc.constant("link.add" as const),
    netns,
    name: dev,
    kind: fc.constant("veth" as const),
    up: fc.boolean(),
    peer: fc.record({ name: dev, netns, up: fc.boolean() }),
  }),
  fc.record({
    op: fc.constant("link.add" as const),
    netns,
    name: dev,
    kind: fc.constant("vxlan" as const),
    vni: fc.integer({ min: 1, max: 3 }),
    local: fc.constant("10.0.0.1"),
    up: fc.boolean(),
  }),
  fc
    .record({ op: fc.constant("link.set" as const), netns, name: dev, a: attrs })
    .map(({ a, ...rest }) => ({ ...rest, ...a }) as RtnlOp),
  fc.record({ op: fc.constant("link.set" as const), netns, name: dev, toNetns: netns, rename: dev }),
  fc.record({ op: fc.constant("link.del" as const), netns, name: dev }),
  fc.record({
    op: fc.constantFrom("addr.add" as const, "addr.del" as const),
    netns,
    dev,
    address: fc.constantFrom(...ADDRESSES),
  }),
  fc.record({
    op: fc.constantFrom("route.add" as const, "route.replace" as const, "route.del" as const),
    netns,
    dst: fc.constantFrom(...ROUTES),
    dev,
  }),
  fc.record({
    op: fc.constantFrom("route.add" as const, "route.replace" as const),
    netns,
    dst: fc.constantFrom(...ROUTES),
    via: fc.constantFrom("10.0.0.9", "10.0.1.9"),
  }),
  fc.record({
    op: fc.constantFrom("neigh.replace" as const, "neigh.del" as const),
    netns,
    dev,
    address: fc.constantFrom("10.0.0.5", "10.0.0.6"),
    mac,
  }),
  fc.record({
    op: fc.constantFrom("fdb.replace" as const, "fdb.del" as const),
    netns,
    dev,
    mac,
    dst: fc.constant("10.0.0.7"),
  }),
  fc.record({
    op: fc.constant("sysctl.set" as const),
    netns,
    key: fc.constantFrom("net.ipv4.ip_forward", "net.ipv4.conf.d0.rp_filter"),
    value: fc.constantFrom("0", "1"),
  }),
);

function host(): Host {
  const h = new Host(new World(1), "node");
  h.addNetns("pod");
  return h;
}

/** All that can be read back, order included where it says something. */
function dump(h: Host): unknown {
  return PLACES.map((place) => {
    const ns = h.netns(place);
    const sort = <T>(list: readonly T[]): string[] => list.map((e) => JSON.stringify(e)).sort();
    return {
      links: sort(dumpLinks(ns)),
      addrs: sort(dumpAddrs(ns)),
      routes: sort(dumpRoutes(ns)),
      local: sort(
        [...ns.fib.routes()].map((r) => `${r.table} ${r.network}/${r.len} ${r.type} ${r.dev?.name} ${r.src}`),
      ),
      neighs: sort(dumpNeighs(ns)),
      fdb: sort(dumpFdb(ns)),
      sysctls: ["net.ipv4.ip_forward", "net.ipv4.conf.d0.rp_filter"].map((k) => ns.sysctls.get(k)),
      forward: ns.sysctls.ipForward,
      vxlan: [...ns.vxlanPorts.keys()],
      udp: ns.udp.inUse(8472),
    };
  });
}

const fails: RtnlOp = { op: "link.del", netns: "host", name: "nothing" };

describe("a list of operations", () => {
  it("that fails leaves everything as it was", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 25 }), fc.array(op, { maxLength: 12 }), (before, list) => {
        const h = host();
        for (const one of before) {
          try {
            applyOps(h, [one]);
          } catch (error) {
            if (!(error instanceof NetlinkError)) throw error;
          }
        }
        const was = dump(h);
        expect(() => applyOps(h, [...list, fails])).toThrow(NetlinkError);
        expect(dump(h)).toEqual(was);
      }),
      { numRuns: 1_000 },
    );
  });

  it("names the operation that failed, by errno", () => {
    const h = host();
    const bad: RtnlOp = { op: "addr.add", netns: "host", dev: "d1", address: "10.0.0.1/24" };
    try {
      applyOps(h, [{ op: "link.add", netns: "host", name: "d0", kind: "dummy" }, bad]);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "ENODEV", failed: bad, message: "link d1 does not exist in node/host" });
    }
    expect(h.root.dev("d0")).toBeUndefined();
  });

  it("keeps counters and learned state of what it did not touch", () => {
    const h = host();
    applyOps(h, [{ op: "link.add", netns: "host", name: "d0", kind: "dummy", up: true }]);
    const dev = h.root.dev("d0") as NetDev;
    dev.txPackets = 7;
    expect(() => applyOps(h, [{ op: "link.set", netns: "host", name: "d0", mtu: 1400, up: false }, fails])).toThrow();
    expect(h.root.dev("d0")).toBe(dev);
    expect([dev.txPackets, dev.mtu, dev.up]).toEqual([7, 1500, true]);
  });
});
