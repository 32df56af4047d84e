import * as fc from "fast-check";
import { Address4 } from "ip-address";
import { describe, expect, it } from "vitest";
import { AddrError } from "./addr-error.ts";
import { holds, ipv4s } from "./fixtures/arbitrary.ts";
import {
  formatIpv4,
  ipv4,
  ipv4Of,
  isLinkLocal4,
  isLoopback4,
  isMulticast4,
  isZeronet4,
  parseIpv4,
} from "./ipv4-addr.ts";

const oneDigitWrong = fc
  .tuple(
    fc.array(fc.constantFrom("0", "1", "9", "10", "25", "255", "256", "01", "", "a", "-1", "1e1"), { maxLength: 6 }),
    fc.constantFrom(".", "..", " ."),
  )
  .map(([parts, dot]) => parts.join(dot));

describe("IPv4 addresses", () => {
  it("read what they print, as the ip-address package does", () => {
    holds(
      fc.property(ipv4s, (a) => {
        const text = formatIpv4(a);
        expect(parseIpv4(text)).toBe(a);
        expect(new Address4(text).bigInt()).toBe(BigInt(a));
        expect(Address4.fromBigInt(BigInt(a)).correctForm()).toBe(text);
      }),
    );
  });

  it("accept nothing that the ip-address package refuses, and refuse what it accepts only for leading zeros", () => {
    holds(
      fc.property(fc.oneof(oneDigitWrong, fc.string({ maxLength: 16 })), (text) => {
        if (parseIpv4(text) !== undefined) expect(Address4.isValid(text)).toBe(true);
        else if (!text.includes("/") && !/(^|\.)0\d/.test(text)) expect(Address4.isValid(text)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1..2.3",
    ".1.2.3.4",
    "1.2.3.4.",
    "256.1.1.1",
    "01.2.3.4",
    "1.2.3.00",
    "0x10.1.1.1",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.+4",
    "1.2.3.4/24",
    "١.2.3.4",
  ])("refuse %j", (text) => {
    expect(parseIpv4(text)).toBeUndefined();
    expect(() => ipv4(text)).toThrow(AddrError);
  });

  it("are unsigned", () => {
    expect(ipv4("255.255.255.255")).toBe(0xffff_ffff);
    expect(ipv4Of(-1)).toBe(0xffff_ffff);
    expect(formatIpv4(-1)).toBe("255.255.255.255");
  });

  it("say which value was wrong", () => {
    expect(() => ipv4("10.0.0.256")).toThrow('IPv4 address "10.0.0.256": not a valid IPv4 address');
  });

  it("know the ranges with a meaning", () => {
    expect(isMulticast4(ipv4("224.0.0.1"))).toBe(true);
    expect(isMulticast4(ipv4("240.0.0.1"))).toBe(false);
    expect(isLoopback4(ipv4("127.9.9.9"))).toBe(true);
    expect(isLinkLocal4(ipv4("169.254.169.254"))).toBe(true);
    expect(isZeronet4(ipv4("0.1.2.3"))).toBe(true);
  });
});
