import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { dumpRoutes } from "../netns/rtnl-dump.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";
import { formatRoute } from "./route.ts";

function host(...ops: readonly RtnlOp[]): Host {
  const h = new Host(new World(), "node-1");
  applyOps(h, [
    { op: "link.add", netns: "host", name: "d0", kind: "dummy", up: true },
    { op: "addr.add", netns: "host", dev: "d0", address: "10.0.0.1/24" },
    { op: "link.add", netns: "host", name: "d1", kind: "dummy", up: true },
    { op: "addr.add", netns: "host", dev: "d1", address: "10.1.0.1/24" },
    ...ops,
  ]);
  return h;
}

function found(h: Host, address: string): string {
  const dst = h.root.fib.dst(ipv4(address));
  return dst.route === null ? "none" : formatRoute(dst.route);
}

const add = (dst: string, more: object): RtnlOp => ({ op: "route.add", netns: "host", dst, ...more }) as RtnlOp;

describe("Fib", () => {
  it("takes the longest prefix", () => {
    const h = host(
      add("default", { via: "10.0.0.254" }),
      add("10.2.0.0/16", { via: "10.0.0.2" }),
      add("10.2.3.0/24", { via: "10.0.0.3" }),
    );
    expect(found(h, "10.2.3.4")).toBe("10.2.3.0/24 via 10.0.0.3 dev d0");
    expect(found(h, "10.2.4.4")).toBe("10.2.0.0/16 via 10.0.0.2 dev d0");
    expect(found(h, "8.8.8.8")).toBe("default via 10.0.0.254 dev d0");
  });

  it("takes the smallest metric, and the next one while that device is down", () => {
    const h = host(add("10.9.0.0/16", { dev: "d0", metric: 20 }), add("10.9.0.0/16", { dev: "d1", metric: 10 }));
    expect(found(h, "10.9.0.1")).toBe("10.9.0.0/16 dev d1 metric 10");
    applyOps(h, [{ op: "link.set", netns: "host", name: "d1", up: false }]);
    expect(found(h, "10.9.0.1")).toBe("10.9.0.0/16 dev d0 metric 20");
  });

  it("knows its own addresses and their broadcast", () => {
    const h = host();
    expect(h.root.fib.dst(ipv4("10.0.0.1")).type).toBe("local");
    expect(h.root.fib.dst(ipv4("10.0.0.255")).type).toBe("broadcast");
    expect(h.root.fib.dst(ipv4("127.3.2.1")).type).toBe("local");
    expect(h.root.fib.isLocal(ipv4("10.1.0.1"))).toBe(true);
    expect(h.root.fib.isLocal(ipv4("10.1.0.2"))).toBe(false);
  });

  it("outdates decisions when a route, an address or a device changes", () => {
    const h = host();
    const before = h.root.fib.dst(ipv4("10.7.0.1"));
    expect(before.type).toBe("none");
    applyOps(h, [add("10.7.0.0/16", { dev: "d0" })]);
    expect(h.root.fib.valid(before)).toBe(false);
    expect(h.root.fib.dst(ipv4("10.7.0.1")).dev?.name).toBe("d0");
  });

  it("loses the routes of a device that goes down, and keeps those of others", () => {
    const h = host(add("10.7.0.0/16", { dev: "d0" }));
    applyOps(h, [{ op: "link.set", netns: "host", name: "d0", up: false }]);
    expect(dumpRoutes(h.root).map((r) => r.dst)).toEqual(["10.1.0.0/24"]);
  });

  it("believes a smaller path MTU, but none under 552, and forgets it", () => {
    const h = host();
    const fib = h.root.fib;
    const far = ipv4("10.0.0.9");
    fib.learnMtu(far, 1400, 0);
    expect(fib.dst(far).mtu).toBe(1400);
    fib.learnMtu(far, 100, 0);
    expect(fib.dst(far).mtu).toBe(552);
    fib.expireMtu(600_001);
    expect(fib.dst(far).mtu).toBe(1500);
  });

  it.each([
    [{ op: "route.add", dst: "10.5.0.1/16", dev: "d0" }, "EINVAL", "host bits"],
    [{ op: "route.add", dst: "10.5.0.0/16", via: "172.16.0.1" }, "ENETUNREACH", "not on a link"],
    [{ op: "route.add", dst: "10.5.0.0/16", dev: "nope" }, "ENODEV", "does not exist"],
    [{ op: "route.add", dst: "10.5.0.0/16", via: "10.0.0.1" }, "EINVAL", "address of this host"],
    [{ op: "route.add", dst: "10.0.0.0/24", dev: "d0" }, "EEXIST", "exists"],
    [{ op: "route.del", dst: "10.5.0.0/16" }, "ESRCH", "does not exist"],
    [{ op: "route.add", dst: "fd00::g/64", dev: "d0" }, "EINVAL", "not an IP prefix"],
    [{ op: "route.add", dst: "10.5.0.0/16" }, "ENODEV", "neither"],
  ])("refuses %j", (op, code, text) => {
    expect(() => applyOps(host(), [{ netns: "host", ...op } as RtnlOp])).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(text) }),
    );
  });

  it("reaches a gateway that no route covers only with onlink", () => {
    const h = host(add("10.8.0.0/16", { via: "10.8.0.0", dev: "d0", onlink: true }));
    expect(found(h, "10.8.0.7")).toBe("10.8.0.0/16 via 10.8.0.0 dev d0 onlink");
  });
});
