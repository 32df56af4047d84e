import { describe, expect, it } from "vitest";
import { formatResult, parseResult } from "./result.ts";
import type { Result } from "./types.ts";

const FULL: Result = {
  interfaces: [
    { name: "br0", mac: "0a:00:00:00:00:01", mtu: 1500 },
    {
      name: "eth0",
      mac: "0a:00:00:00:00:02",
      mtu: 1500,
      sandbox: "/run/netns/a",
      socketPath: "/s",
      pciID: "0000:00:01.0",
    },
  ],
  ips: [
    { interface: 1, address: "10.1.0.2/24", gateway: "10.1.0.1" },
    { interface: 1, address: "fd00::2/64" },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 5, table: 100, scope: 0 }],
  dns: { nameservers: ["10.96.0.10"], domain: "a", search: ["b"], options: ["ndots:5"] },
};

describe("a result", () => {
  it("is the same after printing and parsing in 1.1.0", () => {
    expect(parseResult(formatResult(FULL, "1.1.0"), "r")).toEqual(FULL);
  });

  it.each(["0.3.1", "0.4.0"])("has families and nothing newer in %s", (version) => {
    expect(formatResult(FULL, version)).toEqual({
      cniVersion: version,
      interfaces: [
        { name: "br0", mac: "0a:00:00:00:00:01" },
        { name: "eth0", mac: "0a:00:00:00:00:02", sandbox: "/run/netns/a" },
      ],
      ips: [
        { version: "4", interface: 1, address: "10.1.0.2/24", gateway: "10.1.0.1" },
        { version: "6", interface: 1, address: "fd00::2/64" },
      ],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }],
      dns: FULL.dns,
    });
  });

  it("has neither families nor anything newer in 1.0.0", () => {
    const { ips, routes } = formatResult(FULL, "1.0.0");
    expect(ips).toEqual([
      { interface: 1, address: "10.1.0.2/24", gateway: "10.1.0.1" },
      { interface: 1, address: "fd00::2/64" },
    ]);
    expect(routes).toEqual([{ dst: "0.0.0.0/0", gw: "10.1.0.1" }]);
  });

  it.each([
    [[], "r: found [], expected a result object"],
    [{ ips: {} }, "r.ips: found {}, expected a list"],
    [{ ips: [{}] }, "r.ips[0].address: found nothing, expected an address with its prefix length"],
    [{ ips: [{ address: "10.1.0.2/24", gateway: "x" }] }, 'r.ips[0].gateway: found "x", expected an address'],
    [
      { interfaces: [{ name: "a" }], ips: [{ address: "10.1.0.2/24", interface: 1 }] },
      "r.ips[0].interface: found 1, expected a whole number from 0 to 0",
    ],
    [{ routes: [{ dst: "default" }] }, 'r.routes[0].dst: found "default", expected a prefix'],
    [{ routes: [{ dst: "10.0.0.0/8", gw: "fd00::1" }] }, 'r.routes[0].gw: found "fd00::1", expected an IPv4 address'],
    [{ interfaces: [{}] }, "r.interfaces[0].name: found nothing, expected the name of an interface"],
    [{ dns: { search: [1] } }, "r.dns.search[0]: found 1, expected text"],
  ])("is refused as %j", (value, message) => {
    expect(() => parseResult(value, "r")).toThrow(message);
  });
});
