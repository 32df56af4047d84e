import * as fc from "fast-check";
import { Address4, Address6 } from "ip-address";
import { describe, expect, it } from "vitest";
import { AddrError } from "./addr-error.ts";
import { holds, ipv4s, ipv6s } from "./fixtures/arbitrary.ts";
import { formatIpv4, ipv4, ipv4Of } from "./ipv4-addr.ts";
import { formatIpv6, ipv6 } from "./ipv6-addr.ts";
import {
  broadcast4,
  contains4,
  contains6,
  contains6At,
  equalPrefix4,
  equalPrefix6,
  formatPrefix4,
  formatPrefix6,
  last6,
  lenOfMask,
  maskOf,
  network4,
  network6,
  overlaps4,
  overlaps6,
  parseNetwork4,
  parseNetwork6,
  parsePrefix4,
  parsePrefix6,
  prefix4,
  prefix6,
  size4,
} from "./prefix.ts";

const prefixes4 = fc.record({ addr: ipv4s, len: fc.nat(32) });
const prefixes6 = fc.record({ addr: ipv6s, len: fc.nat(128) });

describe("IPv4 prefixes", () => {
  it("agree with the ip-address package about first, last and text", () => {
    holds(
      fc.property(prefixes4, (p) => {
        const text = formatPrefix4(p);
        expect(parsePrefix4(text)).toEqual(p);
        const other = new Address4(text);
        expect(formatIpv4(network4(p))).toBe(other.startAddress().correctForm());
        expect(formatIpv4(broadcast4(p))).toBe(other.endAddress().correctForm());
        expect(BigInt(size4(p))).toBe(other.endAddress().bigInt() - other.startAddress().bigInt() + 1n);
      }),
    );
  });

  it("contain what lies between first and last", () => {
    holds(
      fc.property(prefixes4, ipv4s, fc.nat(0xffff), (p, a, near) => {
        for (const x of [a, ipv4Of(network4(p) + near), ipv4Of(broadcast4(p) + 1)]) {
          expect(contains4(p, x)).toBe(x >= network4(p) && x <= broadcast4(p));
        }
      }),
    );
  });

  it("overlap when one holds the other", () => {
    holds(
      fc.property(prefixes4, fc.nat(32), prefixes4, (p, len, q) => {
        expect(overlaps4(p, { addr: p.addr, len })).toBe(true);
        expect(overlaps4(p, q)).toBe(network4(p) <= broadcast4(q) && network4(q) <= broadcast4(p));
      }),
    );
  });

  it("turn lengths into masks and back", () => {
    for (let len = 0; len <= 32; len++) expect(lenOfMask(maskOf(len))).toBe(len);
    expect(maskOf(24)).toBe(0xffff_ff00);
    expect(maskOf(0)).toBe(0);
    expect(lenOfMask(0xff00_ff00)).toBeUndefined();
  });

  it.each([
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "/8",
    "10.0.0.0/ 8",
    "10.0.0.0/255.0.0.0",
  ])("refuse %j", (text) => {
    expect(parsePrefix4(text)).toBeUndefined();
    expect(() => prefix4(text)).toThrow(AddrError);
  });

  it("keep host bits, except where a network is asked for", () => {
    expect(formatPrefix4(prefix4("10.1.2.3/16"))).toBe("10.1.2.3/16");
    expect(parseNetwork4("10.1.2.3/16")).toBeUndefined();
    expect(parseNetwork4("10.1.0.0/16")).toEqual({ addr: ipv4("10.1.0.0"), len: 16 });
    expect(equalPrefix4(prefix4("10.1.2.3/16"), prefix4("10.1.2.3/16"))).toBe(true);
    expect(equalPrefix4(prefix4("10.1.2.3/16"), prefix4("10.1.2.3/17"))).toBe(false);
  });
});

describe("IPv6 prefixes", () => {
  it("agree with the ip-address package about first, last and text", () => {
    holds(
      fc.property(prefixes6, (p) => {
        const text = formatPrefix6(p);
        const back = parsePrefix6(text);
        expect(back !== undefined && equalPrefix6(back, p)).toBe(true);
        const other = new Address6(text);
        expect(new Address6(formatIpv6(network6(p))).bigInt()).toBe(other.startAddress().bigInt());
        expect(new Address6(formatIpv6(last6(p))).bigInt()).toBe(other.endAddress().bigInt());
      }),
    );
  });

  it("contain their first and last address and not the one before or after", () => {
    const p = prefix6("2001:db8:1:8000::/49");
    expect(contains6(p, network6(p))).toBe(true);
    expect(contains6(p, last6(p))).toBe(true);
    expect(contains6(p, ipv6("2001:db8:1:7fff:ffff:ffff:ffff:ffff"))).toBe(false);
    expect(contains6(p, ipv6("2001:db8:2::"))).toBe(false);
    expect(contains6At(p, Uint8Array.of(0, 0, ...last6(p)), 2)).toBe(true);
  });

  it("overlap when one holds the other", () => {
    holds(
      fc.property(prefixes6, fc.nat(128), ipv6s, (p, len, other) => {
        expect(overlaps6(p, { addr: p.addr, len })).toBe(true);
        const q = { addr: other, len };
        expect(overlaps6(p, q)).toBe(contains6(p, network6(q)) || contains6(q, network6(p)));
      }),
    );
  });

  it.each(["fd00::", "fd00::/129", "fd00::/064", "fd00::/", "10.0.0.0/8", "fd00::%1/64"])("refuse %j", (text) => {
    expect(parsePrefix6(text)).toBeUndefined();
    expect(() => prefix6(text)).toThrow(AddrError);
  });

  it("refuse host bits where a network is asked for", () => {
    expect(parseNetwork6("fd00::1/64")).toBeUndefined();
    expect(parseNetwork6("fd00::/64")).toBeDefined();
    expect(parseNetwork6("fd00::1/128")).toBeDefined();
  });
});
