import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as arp from "./arp.ts";
import { DropReason } from "./drop-reason.ts";
import { bytes, dirty, holds, ipv4s, macs, u16s } from "./fixtures/arbitrary.ts";
import { ARP_REPLY, ARP_REQUEST } from "./fixtures/golden-frames.ts";
import { ipv4 } from "./ipv4-addr.ts";
import { mac, ZERO_MAC } from "./mac-addr.ts";

const OFF = 14;
const reply: arp.Repr = {
  op: arp.OP_REPLY,
  sha: mac("02:00:00:00:00:11"),
  spa: ipv4("192.168.64.11"),
  tha: mac("02:00:00:00:00:12"),
  tpa: ipv4("192.168.64.12"),
};
const golden = ARP_REPLY.slice(OFF);

describe("ARP", () => {
  it("reads a captured request", () => {
    expect(arp.op(ARP_REQUEST, OFF)).toBe(arp.OP_REQUEST);
    expect(arp.sha(ARP_REQUEST, OFF)).toBe(mac("02:00:00:00:00:12"));
    expect(arp.spa(ARP_REQUEST, OFF)).toBe(ipv4("192.168.64.12"));
    expect(arp.tha(ARP_REQUEST, OFF)).toBe(ZERO_MAC);
    expect(arp.tpa(ARP_REQUEST, OFF)).toBe(ipv4("192.168.64.11"));
  });

  it("turns the captured request into the captured reply with setters", () => {
    const b = ARP_REQUEST.slice(OFF);
    arp.setOp(b, 0, arp.OP_REPLY);
    arp.setTha(b, 0, arp.sha(b, 0));
    arp.setTpa(b, 0, arp.spa(b, 0));
    arp.setSha(b, 0, reply.sha);
    arp.setSpa(b, 0, reply.spa);
    expect(b).toEqual(golden);
  });

  it("parses a captured reply", () => {
    expect(arp.parse(ARP_REPLY, OFF, ARP_REPLY.length)).toEqual(reply);
  });

  it("emits a captured reply over every octet", () => {
    const b = dirty(arp.LEN);
    expect(arp.emit(reply, b, 0)).toBe(arp.LEN);
    expect(b).toEqual(golden);
  });

  it("refuses every shorter length", () => {
    for (let len = 0; len < arp.LEN; len++) expect(arp.check(golden, 0, len)).toBe(DropReason.PKT_TOO_SMALL);
    expect(arp.check(golden, 0, arp.LEN)).toBe(0);
  });

  it.each([0, 1, 2, 3, 4, 5])("refuses another hardware, protocol or length in octet %d", (at) => {
    const b = Uint8Array.from(golden);
    b[at] = 0x77;
    expect(arp.check(b, 0, b.length)).toBe(DropReason.UNHANDLED_PROTO);
  });

  it("parses what it emits", () => {
    holds(
      fc.property(fc.record({ op: u16s, sha: macs, spa: ipv4s, tha: macs, tpa: ipv4s }), (r) => {
        const b = dirty(arp.LEN);
        arp.emit(r, b, 0);
        expect(arp.parse(b, 0, arp.LEN)).toEqual(r);
      }),
    );
  });

  it("never throws, whatever the bytes are", () => {
    holds(
      fc.property(bytes, (b) => {
        expect(arp.parse(b, 0, b.length) === undefined).toBe(arp.check(b, 0, b.length) !== 0);
      }),
    );
  });

  it("prints as one line", () => {
    expect(arp.format(reply)).toBe("ARP reply 192.168.64.11 is at 02:00:00:00:00:11");
    const request = { ...reply, op: arp.OP_REQUEST };
    expect(arp.format(request)).toBe("ARP who-has 192.168.64.12 tell 192.168.64.11");
    expect(arp.format({ ...request, tpa: reply.spa })).toBe("ARP announcement 192.168.64.11 is at 02:00:00:00:00:11");
  });
});
