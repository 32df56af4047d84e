import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AddrError } from "./addr-error.ts";
import { holds, macs } from "./fixtures/arbitrary.ts";
import {
  BROADCAST_MAC,
  formatMac,
  isLocalMac,
  isMulticastMac,
  isValidSourceMac,
  mac,
  multicastMac4,
  multicastMac6,
  parseMac,
} from "./mac-addr.ts";

describe("MAC addresses", () => {
  it("read what they print", () => {
    holds(
      fc.property(macs, (m) => {
        expect(parseMac(formatMac(m))).toBe(m);
      }),
    );
  });

  it("print six octets in lower case", () => {
    expect(formatMac(0x0a58_0af4_0101)).toBe("0a:58:0a:f4:01:01");
    expect(formatMac(BROADCAST_MAC)).toBe("ff:ff:ff:ff:ff:ff");
    expect(parseMac("0A:58:0A:F4:01:01")).toBe(0x0a58_0af4_0101);
  });

  it.each([
    "",
    "0a:58:0a:f4:01",
    "0a:58:0a:f4:01:01:02",
    "a:58:0a:f4:1:01",
    "0a-58-0a-f4-01-01",
    "0g:58:0a:f4:01:01",
    " 0a:58:0a:f4:01:01",
    "0a:58:0a:f4:01:01\n",
    "0a580af40101",
  ])("refuse %j", (text) => {
    expect(parseMac(text)).toBeUndefined();
    expect(() => mac(text)).toThrow(AddrError);
  });

  it("tell groups, local ones and possible sources apart", () => {
    expect(isMulticastMac(BROADCAST_MAC)).toBe(true);
    expect(isMulticastMac(mac("01:00:5e:00:00:01"))).toBe(true);
    expect(isMulticastMac(mac("02:00:00:00:00:01"))).toBe(false);
    expect(isLocalMac(mac("02:00:00:00:00:01"))).toBe(true);
    expect(isLocalMac(mac("00:16:3e:00:00:01"))).toBe(false);
    expect(isValidSourceMac(mac("00:00:00:00:00:00"))).toBe(false);
    expect(isValidSourceMac(mac("33:33:00:00:00:01"))).toBe(false);
    expect(isValidSourceMac(mac("00:16:3e:00:00:01"))).toBe(true);
  });

  it("map IP groups to Ethernet groups", () => {
    expect(formatMac(multicastMac4(0xe080_00fb))).toBe("01:00:5e:00:00:fb");
    expect(formatMac(multicastMac6(0xff00_0012))).toBe("33:33:ff:00:00:12");
  });
});
