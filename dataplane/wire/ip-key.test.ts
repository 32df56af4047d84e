import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  commonBits6,
  formatIp,
  isKey6,
  isLinkLocal6,
  isMulticastKey6,
  key6,
  network6Key,
  octets6,
  parseIp,
} from "./ip-key.ts";
import { ipv4 } from "./ipv4-addr.ts";
import { formatIpv6, ipv6, ipv6Of } from "./ipv6-addr.ts";

const addresses = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((a) => ipv6Of(a));

describe("a key", () => {
  it("stands for one IPv6 address, always the same", () => {
    fc.assert(
      fc.property(fc.array(addresses, { minLength: 1, maxLength: 300 }), (list) => {
        const keys = list.map(key6);
        for (const [i, a] of list.entries()) {
          expect(formatIpv6(octets6(keys[i] as number))).toBe(formatIpv6(a));
          expect(key6(ipv6Of(a.slice()))).toBe(keys[i]);
          expect(isKey6(keys[i] as number)).toBe(true);
        }
        expect(new Set(keys).size).toBe(new Set(list.map(formatIpv6)).size);
      }),
      { numRuns: 20 },
    );
  });

  it("of an IPv4 address is the address", () => {
    expect(parseIp("10.0.0.1")).toBe(ipv4("10.0.0.1"));
    expect(isKey6(ipv4("10.0.0.1"))).toBe(false);
    expect(isKey6(0)).toBe(false);
    expect(formatIp(ipv4("203.0.113.9") | 0)).toBe("203.0.113.9");
    expect(formatIp(parseIp("fd00::1") ?? 0)).toBe("fd00::1");
    expect(parseIp("fd00::g")).toBeUndefined();
  });

  it("knows its networks, its kind, and what it shares with another", () => {
    const host = key6(ipv6("fd00:1:2:3::4"));
    expect(network6Key(host, 61)).toBe(0);
    const net = key6(ipv6("fd00:1:2::"));
    expect(network6Key(host, 61)).toBe(net);
    expect(network6Key(host, 63)).toBe(0);
    expect(network6Key(host, 48)).toBe(net);
    expect(network6Key(host, 128)).toBe(host);
    expect(commonBits6(host, net)).toBe(62);
    expect(commonBits6(host, host)).toBe(128);
    expect([isLinkLocal6(key6(ipv6("febf::1"))), isLinkLocal6(key6(ipv6("fec0::1")))]).toEqual([true, false]);
    expect([isMulticastKey6(key6(ipv6("ff02::1"))), isMulticastKey6(host)]).toEqual([true, false]);
  });
});
