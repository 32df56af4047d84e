import { describe, expect, it } from "vitest";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { ipv4 as addr } from "../../dataplane/wire/ipv4-addr.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import { ipv6 as ipv6Addr } from "../../dataplane/wire/ipv6-addr.ts";
import * as udp from "../../dataplane/wire/udp.ts";
import { parseFilter } from "./frame-filter.ts";

function datagram(srcPort: number, dstPort: number): Uint8Array {
  const b = new Uint8Array(60);
  ethernet.setEtherType(b, 0, ethernet.ETH_P_IP);
  ipv4.write(b, 14, 46, 1, 0, 64, ipv4.PROTO_UDP, addr("10.0.0.1"), addr("10.0.0.2"), 0);
  udp.write(b, 34, srcPort, dstPort, 26);
  return b;
}

function datagram6(): Uint8Array {
  const b = new Uint8Array(80);
  ethernet.setEtherType(b, 0, ethernet.ETH_P_IPV6);
  ipv6.write(b, 14, 26, ipv4.PROTO_UDP, 64, ipv6Addr("fd00::1"), ipv6Addr("fd00::2"), 0, 0);
  udp.write(b, 54, 40000, 53, 26);
  return b;
}

describe("parseFilter", () => {
  it.each([
    ["udp port 53", true, true],
    ["ip", true, false],
    ["ip6", false, true],
    ["ip6 and host fd00::2", false, true],
    ["host fd00:0::1", false, true],
    ["icmp6", false, false],
    ["not ip6", true, false],
  ])("%s, in either family", (text, four, six) => {
    expect([datagram(40000, 53), datagram6()].map(parseFilter(text))).toEqual([four, six]);
  });

  it.each([
    ["udp", true],
    ["tcp", false],
    ["not tcp", true],
    ["port 53", true],
    ["udp port 53", true],
    ["tcp port 53", false],
    ["host 10.0.0.2 and port 53", true],
    ["host 10.0.0.3 or port 53", true],
    ["host 10.0.0.3", false],
    ["arp", false],
  ])("%s", (text, matches) => {
    expect(parseFilter(text)(datagram(40000, 53))).toBe(matches);
  });

  it.each(["", "port x", "host 1.2.3", "sctp", "port 99999", "udp and"])("refuses %j", (text) => {
    expect(() => parseFilter(text)).toThrow("command line: --filter: found");
  });
});
