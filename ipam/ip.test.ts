import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalIp,
  contains,
  firstOf,
  formatCidr,
  formatIp,
  lastOf,
  networkOf,
  overlaps,
  parseCidr,
  parseIp,
} from "./ip.ts";

function cidr(text: string) {
  const c = parseCidr(text);
  if (c === undefined) throw new Error(`bad prefix ${text}`);
  return c;
}

describe("addresses of both families", () => {
  it("survive printing and parsing", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (value) => {
        expect(parseIp(formatIp({ family: 6, value }))).toEqual({ family: 6, value });
      }),
    );
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }), (value) => {
        expect(parseIp(formatIp({ family: 4, value }))).toEqual({ family: 4, value });
      }),
    );
  });

  it("have one canonical text", () => {
    expect(canonicalIp("FD00:0:0::0001")).toBe("fd00::1");
    expect(canonicalIp("10.1.0.01")).toBeUndefined();
  });

  it("know the edges of a prefix", () => {
    expect(formatIp(firstOf(cidr("10.1.2.3/20")))).toBe("10.1.0.0");
    expect(formatIp(lastOf(cidr("10.1.2.3/20")))).toBe("10.1.15.255");
    expect(formatCidr(networkOf(cidr("fd00::1:2/64")))).toBe("fd00::/64");
    expect(formatIp(lastOf(cidr("fd00::/64")))).toBe("fd00::ffff:ffff:ffff:ffff");
  });

  it.each([
    ["10.1.0.0/16", "10.1.2.0/24", true],
    ["10.1.2.0/24", "10.1.0.0/16", true],
    ["10.1.0.0/24", "10.1.1.0/24", false],
    ["0.0.0.0/0", "::/0", false],
  ])("%s and %s overlap: %s", (a, b, answer) => {
    expect(overlaps(cidr(a), cidr(b))).toBe(answer);
  });

  it("keep families apart", () => {
    const ip = parseIp("::1");
    expect(ip && contains(cidr("0.0.0.0/0"), ip)).toBe(false);
  });
});
