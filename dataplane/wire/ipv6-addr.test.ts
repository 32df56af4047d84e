import * as fc from "fast-check";
import { Address6 } from "ip-address";
import { describe, expect, it } from "vitest";
import { AddrError } from "./addr-error.ts";
import { holds, ipv6s } from "./fixtures/arbitrary.ts";
import {
  equalIpv6,
  formatIpv6,
  type Ipv6Addr,
  ipv6,
  ipv6Key,
  ipv6Of,
  isLinkLocal6,
  isLoopback6,
  isMulticast6,
  isUnspecified6,
  parseIpv6,
  solicitedNode,
} from "./ipv6-addr.ts";

/** Addresses with runs of zeros, where the shortening happens. */
const sparse: fc.Arbitrary<Ipv6Addr> = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0x10, 0xffff), { minLength: 8, maxLength: 8 })
  .map((groups) => ipv6Of(Uint8Array.from(groups.flatMap((g) => [g >>> 8, g & 0xff]))));

const almostText = fc
  .array(fc.constantFrom("0", "1", "ffff", "0db8", "12345", "g", "", "1.2.3.4", "::", ":"), { maxLength: 10 })
  .map((parts) => parts.join(":"));

describe("IPv6 addresses", () => {
  it("read what they print, and print what the ip-address package prints", () => {
    holds(
      fc.property(fc.oneof(ipv6s, sparse), (a) => {
        const text = formatIpv6(a);
        expect([...(parseIpv6(text) ?? [])]).toEqual([...a]);
        const other = Address6.fromByteArray([...a]);
        // it prints the IPv4-mapped form in hex, which RFC 5952 section 5 does not recommend
        expect(text).toBe(other.isMapped4() ? text : other.correctForm());
        expect(new Address6(text).bigInt()).toBe(other.bigInt());
      }),
      { numRuns: 1000 },
    );
  });

  it("accept the texts that the ip-address package accepts, with the same value", () => {
    holds(
      fc.property(almostText, (text) => {
        const a = parseIpv6(text);
        expect(a !== undefined).toBe(Address6.isValid(text));
        if (a !== undefined) expect(Address6.fromByteArray([...a]).bigInt()).toBe(new Address6(text).bigInt());
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8::A", "2001:db8::a"],
    ["2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["::ffff:10.0.0.1", "::ffff:10.0.0.1"],
    ["64:ff9b::10.0.0.1", "64:ff9b::a00:1"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ])("print %s as %s", (text, canonical) => {
    expect(formatIpv6(ipv6(text))).toBe(canonical);
  });

  it.each([
    "",
    ":",
    ":::",
    "1",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "::1/64",
    "1.2.3.4",
    "::1.2.3",
    "::1.2.3.4:5",
    "1.2.3.4::",
    "::01.2.3.4",
    " ::1",
  ])("refuse %j", (text) => {
    expect(parseIpv6(text)).toBeUndefined();
    expect(() => ipv6(text)).toThrow(AddrError);
  });

  it("are equal and have equal keys if their octets are", () => {
    holds(
      fc.property(sparse, sparse, (a, b) => {
        const same = formatIpv6(a) === formatIpv6(b);
        expect(equalIpv6(a, b)).toBe(same);
        expect(ipv6Key(a) === ipv6Key(b)).toBe(same);
      }),
    );
  });

  it("know the ranges with a meaning", () => {
    expect(isMulticast6(ipv6("ff02::1"))).toBe(true);
    expect(isLinkLocal6(ipv6("fe80::1"))).toBe(true);
    expect(isLinkLocal6(ipv6("fec0::1"))).toBe(false);
    expect(isUnspecified6(ipv6("::"))).toBe(true);
    expect(isLoopback6(ipv6("::1"))).toBe(true);
    expect(isLoopback6(ipv6("::2"))).toBe(false);
  });

  it("have a solicited-node group", () => {
    expect(formatIpv6(solicitedNode(ipv6("fd00::12:3456:789a")))).toBe("ff02::1:ff56:789a");
  });

  it("refuse octets that are not sixteen", () => {
    expect(() => ipv6Of(new Uint8Array(4))).toThrow(AddrError);
  });
});
