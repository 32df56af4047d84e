import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytes, holds } from "./fixtures/arbitrary.ts";
import * as golden from "./fixtures/golden-frames.ts";
import * as ipv4 from "./ipv4.ts";
import { ipv4 as addr } from "./ipv4-addr.ts";
import * as ipv6 from "./ipv6.ts";
import { flowOf, formatFlow, formatFrame, formatPacket } from "./print.ts";

const A_TO_B = "02:00:00:00:00:11 > 02:00:00:00:00:12";
const B_TO_A = "02:00:00:00:00:12 > 02:00:00:00:00:11";

/** An IPv4 packet around this payload. */
function ip(protocol: number, payload: Uint8Array, flagsFrag: number = 0): Uint8Array {
  const b = new Uint8Array(20 + payload.length);
  ipv4.write(b, 0, b.length, 7, flagsFrag, 64, protocol, addr("10.0.0.1"), addr("10.0.0.2"), 0);
  b.set(payload, 20);
  return b;
}

function line(packet: Uint8Array): string {
  return formatPacket(packet, 0, packet.length);
}

describe("formatFrame", () => {
  it.each([
    [
      "ECHO_REQUEST",
      golden.ECHO_REQUEST,
      `${A_TO_B}, IPv4: IP 192.168.64.11 > 192.168.64.12: ICMP echo request, id 77, seq 1, length 16 (ttl 64)`,
    ],
    ["ARP_REQUEST", golden.ARP_REQUEST, `${B_TO_A}, ARP: ARP who-has 192.168.64.11 tell 192.168.64.12`],
    [
      "TCP_SYN_ACK",
      golden.TCP_SYN_ACK,
      `${B_TO_A}, IPv4: IP 192.168.64.12:8080 > 192.168.64.11:56724: TCP [S.], seq 3057889523, ack 1264076702, win 65160, options [mss 1460,sackOK,TS val 2574013830 ecr 1721163832,nop,wscale 10], length 0 (ttl 64)`,
    ],
    [
      "TCP_PUSH",
      golden.TCP_PUSH,
      `${A_TO_B}, IPv4: IP 192.168.64.11:56724 > 192.168.64.12:8080: TCP [P.], seq 1264076702, ack 3057889524, win 63, options [nop,nop,TS val 1721163832 ecr 2574013830], length 4 (ttl 64)`,
    ],
    [
      "VXLAN_ECHO_REQUEST",
      golden.VXLAN_ECHO_REQUEST,
      `${A_TO_B}, IPv4: IP 192.168.64.11:60187 > 192.168.64.12:8472: VXLAN, vni 1 ⟦5e:00:00:00:01:01 > 5e:00:00:00:01:02, IPv4: IP 10.1.0.1 > 10.1.0.2: ICMP echo request, id 77, seq 1, length 16 (ttl 64)⟧ (ttl 64)`,
    ],
    [
      "PORT_UNREACHABLE",
      golden.PORT_UNREACHABLE,
      `${B_TO_A}, IPv4: IP 192.168.64.12 > 192.168.64.11: ICMP port unreachable, length 41 ⟦IP 192.168.64.11:38015 > 192.168.64.12:5353: UDP, length 5 (ttl 64)⟧ (ttl 64, tos 0xc0)`,
    ],
    [
      "LAST_FRAGMENT",
      golden.LAST_FRAGMENT,
      `${A_TO_B}, IPv4: IP 192.168.64.11 > 192.168.64.12: ICMP fragment, length 48 (ttl 64, id 29783, offset 2960)`,
    ],
    [
      "SCTP_INIT",
      golden.SCTP_INIT,
      `${A_TO_B}, IPv4: IP 192.168.64.11:40001 > 192.168.64.12:9999: SCTP [INIT] (ttl 64, tos 0x2)`,
    ],
    [
      "VLAN_UDP4",
      golden.VLAN_UDP4,
      `${A_TO_B}, 802.1Q vlan 7, p 3, IPv4: IP 192.168.64.11:38015 > 192.168.64.12:5353: UDP, length 5 (ttl 64)`,
    ],
    [
      "NEIGHBOUR_ADVERTISEMENT",
      golden.NEIGHBOUR_ADVERTISEMENT,
      `${B_TO_A}, IPv6: IP6 fd00::12 > fd00::11: ICMP6 neighbor advertisement, tgt is fd00::12 at 02:00:00:00:00:12, flags [solicited, override], length 32 (hlim 255)`,
    ],
    ["UDP6", golden.UDP6, `${A_TO_B}, IPv6: IP6 [fd00::11]:44783 > [fd00::12]:5353: UDP, length 5 (hlim 64)`],
    [
      "PORT_UNREACHABLE6",
      golden.PORT_UNREACHABLE6,
      `${B_TO_A}, IPv6: IP6 fd00::12 > fd00::11: ICMP6 destination unreachable, unreachable port, length 61 ⟦IP6 [fd00::11]:44783 > [fd00::12]:5353: UDP, length 5 (hlim 64)⟧ (hlim 64)`,
    ],
  ])("prints %s", (_name, frame, text) => {
    expect(formatFrame(frame, 0, frame.length)).toBe(text);
  });

  it("prints a frame that begins inside a larger array", () => {
    const b = new Uint8Array(200).fill(0xa5);
    b.set(golden.ARP_REPLY, 50);
    expect(formatFrame(b, 50, 50 + golden.ARP_REPLY.length)).toBe(
      `${A_TO_B}, ARP: ARP reply 192.168.64.11 is at 02:00:00:00:00:11`,
    );
  });

  it("never throws and never breaks the line, however much of a frame is there and whatever it holds", () => {
    const frames = fc.constantFrom(...Object.values(golden).filter((g): g is Uint8Array => g instanceof Uint8Array));
    const changes = fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 6 });
    holds(
      fc.property(frames, changes, fc.nat(120), (frame, edits, end) => {
        const b = frame.slice();
        for (const [at, v] of edits) if (at < b.length) b[at] = v;
        expect(formatFrame(b, 0, Math.min(end, b.length))).toMatch(/^[^\n]+$/);
      }),
      { numRuns: 3000 },
    );
    holds(
      fc.property(bytes, (b) => {
        expect(formatFrame(b, 0, b.length)).toMatch(/^[^\n]+$/);
        expect(formatPacket(b, 0, b.length)).toMatch(/^[^\n]+$/);
      }),
    );
  });
});

describe("formatPacket", () => {
  it("shows what IPIP carries", () => {
    expect(line(ip(ipv4.PROTO_IPIP, golden.UDP4.slice(14)))).toBe(
      "IP 10.0.0.1 > 10.0.0.2: IPIP ⟦IP 192.168.64.11:38015 > 192.168.64.12:5353: UDP, length 5 (ttl 64)⟧ (ttl 64)",
    );
  });

  it("shows what flannel's udp backend carries", () => {
    const inner = golden.UDP4.slice(14);
    const payload = Uint8Array.of(0x20, 0x5d, 0x20, 0x5d, 0, 8 + inner.length, 0, 0, ...inner);
    expect(line(ip(ipv4.PROTO_UDP, payload))).toBe(
      "IP 10.0.0.1:8285 > 10.0.0.2:8285: UDP, length 33 ⟦IP 192.168.64.11:38015 > 192.168.64.12:5353: UDP, length 5 (ttl 64)⟧ (ttl 64)",
    );
  });

  it("stops opening packets inside packets", () => {
    let packet: Uint8Array = golden.UDP4.slice(14);
    for (let i = 0; i < 12; i++) packet = ip(ipv4.PROTO_IPIP, packet);
    expect(line(packet)).toContain("⟦…⟧");
  });

  it("says that a header checksum is wrong", () => {
    const b = golden.UDP4.slice(14);
    b[10] = 0;
    expect(line(b)).toMatch(/\(ttl 64, bad header checksum\)$/);
  });

  it("says that a packet is cut short", () => {
    const b = golden.UDP4.slice(14);
    expect(formatPacket(b, 0, 12)).toBe("IP header cut short or wrong, 12 octets");
    expect(formatPacket(b, 0, 24)).toContain("UDP, header cut short");
    expect(formatPacket(b, 0, 30)).toContain("UDP, length 5, 2 present");
    expect(formatPacket(golden.TCP_SYN, 14, 44)).toContain("TCP, header cut short");
  });

  it("names a protocol that it cannot open", () => {
    expect(line(ip(89, new Uint8Array(4)))).toBe("IP 10.0.0.1 > 10.0.0.2: proto 89, length 4 (ttl 64)");
  });
});

describe("flowOf", () => {
  it("reads addresses and ports", () => {
    const flow = flowOf(golden.TCP_SYN, 14, golden.TCP_SYN.length);
    expect(flow).toEqual({
      family: 4,
      proto: 6,
      src: "192.168.64.11",
      srcPort: 56724,
      dst: "192.168.64.12",
      dstPort: 8080,
      icmpType: undefined,
      icmpCode: undefined,
      icmpId: undefined,
    });
    expect(flow && formatFlow(flow)).toBe("TCP 192.168.64.11:56724 > 192.168.64.12:8080");
  });

  it("reads what takes the place of ports in ICMP", () => {
    const echo = flowOf(golden.ECHO_REQUEST6, 14, golden.ECHO_REQUEST6.length);
    expect(echo).toMatchObject({ family: 6, proto: 58, srcPort: undefined, icmpType: 128, icmpCode: 0, icmpId: 77 });
    const error = flowOf(golden.PORT_UNREACHABLE, 14, golden.PORT_UNREACHABLE.length);
    expect(error).toMatchObject({ icmpType: 3, icmpCode: 3, icmpId: undefined });
  });

  it("reads no ports from a later fragment", () => {
    const b = ip(ipv4.PROTO_UDP, new Uint8Array(16), 100);
    expect(flowOf(b, 0, b.length)).toMatchObject({ proto: 17, srcPort: undefined, dstPort: undefined });
  });

  it("reads no ports from a later fragment of IPv6", () => {
    const b = new Uint8Array(64);
    const src = ipv6.src(golden.UDP6, 14);
    ipv6.write(b, 0, 24, ipv6.NEXT_FRAGMENT, 64, src, src, 0, 0);
    b.set([17, 0, 0x05, 0xa9], 40);
    expect(flowOf(b, 0, 64)).toMatchObject({ proto: 17, srcPort: undefined });
    expect(line(b)).toBe("IP6 fd00::11 > fd00::11: UDP fragment, length 16 (hlim 64, offset 1448, MF)");
  });

  it("gives nothing for what is no IP packet", () => {
    expect(flowOf(golden.ARP_REQUEST, 14, golden.ARP_REQUEST.length)).toBeUndefined();
    expect(flowOf(new Uint8Array(0), 0, 0)).toBeUndefined();
  });
});
