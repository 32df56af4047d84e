/** Frames for the walks, built octet by octet: what is sent is the same in both labs. */
import * as arp from "../../dataplane/wire/arp.ts";
import { fillAt, pseudo4 } from "../../dataplane/wire/checksum.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import * as icmpv4 from "../../dataplane/wire/icmpv4.ts";
import * as icmpv6 from "../../dataplane/wire/icmpv6.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { ipv4 as address } from "../../dataplane/wire/ipv4-addr.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import { ipv6 as address6 } from "../../dataplane/wire/ipv6-addr.ts";
import { mac } from "../../dataplane/wire/mac-addr.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import * as udp from "../../dataplane/wire/udp.ts";

export const BROADCAST = "ff:ff:ff:ff:ff:ff";
const NO_MAC = "00:00:00:00:00:00";

export function ether(to: string, from: string, etherType: number, payload: Uint8Array): Uint8Array {
  const b = new Uint8Array(ethernet.HEADER_LEN + payload.length);
  ethernet.write(b, 0, mac(to), mac(from), etherType);
  b.set(payload, ethernet.HEADER_LEN);
  return b;
}

export type ArpFields = {
  readonly op?: number;
  readonly sha: string;
  readonly spa: string;
  readonly tha?: string;
  readonly tpa: string;
  /** Where the frame goes: everyone unless given. */
  readonly to?: string;
};

export function arpFrame(f: ArpFields): Uint8Array {
  const b = new Uint8Array(arp.LEN);
  arp.write(b, 0, f.op ?? arp.OP_REQUEST, mac(f.sha), address(f.spa), mac(f.tha ?? NO_MAC), address(f.tpa));
  return ether(f.to ?? BROADCAST, f.sha, ethernet.ETH_P_ARP, b);
}

export type IpFields = {
  readonly src: string;
  readonly dst: string;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  readonly df?: boolean;
  readonly mf?: boolean;
  readonly offset?: number;
  readonly options?: readonly number[];
  readonly protocol?: number;
};

/** An IP packet around a transport segment. */
export function ipPacket(f: IpFields, protocol: number, payload: Uint8Array): Uint8Array {
  const options = f.options ?? [];
  const head = ipv4.HEADER_LEN + options.length;
  const b = new Uint8Array(head + payload.length);
  b.set(payload, head);
  const repr = {
    tos: f.tos ?? 0,
    totalLen: b.length,
    id: f.id ?? 0x1234,
    dontFragment: f.df ?? false,
    moreFragments: f.mf ?? false,
    fragmentOffset: f.offset ?? 0,
    ttl: f.ttl ?? 64,
    protocol,
    src: address(f.src),
    dst: address(f.dst),
    options,
  };
  ipv4.emit(repr, b, 0);
  return b;
}

export function udpPacket(f: IpFields, from: number, to: number, data: Uint8Array, checksum = true): Uint8Array {
  const b = new Uint8Array(udp.HEADER_LEN + data.length);
  b.set(data, udp.HEADER_LEN);
  udp.write(b, 0, from, to, b.length);
  if (checksum) fillAt(b, udp.CHECKSUM, 0, b.length, pseudo4(address(f.src), address(f.dst), ipv4.PROTO_UDP, b.length));
  return ipPacket(f, ipv4.PROTO_UDP, b);
}

export function echoPacket(f: IpFields, id: number, seq: number, data: Uint8Array): Uint8Array {
  return icmpPacket(f, icmpv4.ECHO_REQUEST, 0, id * 0x10000 + seq, data);
}

export function icmpPacket(f: IpFields, type: number, code: number, rest: number, data: Uint8Array): Uint8Array {
  const b = new Uint8Array(icmpv4.HEADER_LEN + data.length);
  icmpv4.write(b, 0, type, code, rest);
  b.set(data, icmpv4.HEADER_LEN);
  icmpv4.fillChecksum(b, 0, b.length);
  return ipPacket(f, ipv4.PROTO_ICMP, b);
}

export type TcpFields = {
  readonly from: number;
  readonly to: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags: number;
  readonly window?: number;
  readonly options?: readonly tcp.TcpOption[];
};

export function tcpPacket(f: IpFields, t: TcpFields, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const b = new Uint8Array(tcp.HEADER_LEN + 40 + data.length);
  const repr = {
    srcPort: t.from,
    dstPort: t.to,
    seq: t.seq ?? 1000,
    ack: t.ack ?? 0,
    flags: t.flags,
    window: t.window ?? 64240,
    urgent: 0,
    options: t.options ?? [],
  };
  const head = tcp.emit(repr, b, 0);
  b.set(data, head);
  const segment = b.subarray(0, head + data.length);
  tcp.fillChecksum4(segment, 0, segment.length, address(f.src), address(f.dst));
  return ipPacket(f, ipv4.PROTO_TCP, segment);
}

export type Ip6Fields = {
  readonly src: string;
  readonly dst: string;
  readonly hops?: number;
  readonly tclass?: number;
  readonly label?: number;
};

/** An IPv6 packet around what the next header names. */
export function ip6Packet(f: Ip6Fields, next: number, payload: Uint8Array): Uint8Array {
  const b = new Uint8Array(ipv6.HEADER_LEN + payload.length);
  const hops = f.hops ?? 64;
  const { src, dst, tclass = 0, label = 0 } = f;
  ipv6.write(b, 0, payload.length, next, hops, address6(src), address6(dst), tclass, label);
  b.set(payload, ipv6.HEADER_LEN);
  return b;
}

export function udp6Packet(f: Ip6Fields, from: number, to: number, data: Uint8Array, checksum = true): Uint8Array {
  const segment = new Uint8Array(udp.HEADER_LEN + data.length);
  segment.set(data, udp.HEADER_LEN);
  udp.write(segment, 0, from, to, segment.length);
  const b = ip6Packet(f, ipv4.PROTO_UDP, segment);
  if (checksum) udp.fillChecksum6(b, ipv6.HEADER_LEN, segment.length, 0);
  return b;
}

export function icmp6Packet(f: Ip6Fields, type: number, code: number, rest: number, data: Uint8Array): Uint8Array {
  const message = new Uint8Array(icmpv6.HEADER_LEN + data.length);
  icmpv6.write(message, 0, type, code, rest);
  message.set(data, icmpv6.HEADER_LEN);
  const b = ip6Packet(f, ipv4.PROTO_ICMPV6, message);
  icmpv6.fillChecksum(b, ipv6.HEADER_LEN, message.length, 0);
  return b;
}

export function echo6Packet(f: Ip6Fields, id: number, seq: number, data: Uint8Array): Uint8Array {
  return icmp6Packet(f, icmpv6.ECHO_REQUEST, 0, id * 0x10000 + seq, data);
}

/** An IPv6 packet cut after `at` octets of what follows its header, as its sender would. */
export function cut6(packet: Uint8Array, at: number, id = 0x1234): [Uint8Array, Uint8Array] {
  const payload = packet.subarray(ipv6.HEADER_LEN);
  const part = (from: number, to: number, more: boolean): Uint8Array => {
    const b = new Uint8Array(ipv6.HEADER_LEN + ipv6.FRAGMENT_HEADER_LEN + to - from);
    b.set(packet.subarray(0, ipv6.HEADER_LEN));
    ipv6.setNextHeader(b, 0, ipv6.NEXT_FRAGMENT);
    ipv6.setPayloadLen(b, 0, b.length - ipv6.HEADER_LEN);
    ipv6.writeFragment(b, ipv6.HEADER_LEN, ipv6.nextHeader(packet, 0), from, more, id);
    b.set(payload.subarray(from, to), ipv6.HEADER_LEN + ipv6.FRAGMENT_HEADER_LEN);
    return b;
  };
  return [part(0, at, true), part(at, payload.length, false)];
}

/** Octets that tell their own place. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + 3) & 0xff);
}

/** A datagram cut in two after `at` octets of payload, as a sender would; the halves keep the identification. */
export function cut(packet: Uint8Array, at: number): [Uint8Array, Uint8Array] {
  const r = ipv4.parse(packet, 0, packet.length);
  if (r === undefined) throw new Error("not an IPv4 packet");
  const payload = packet.subarray(ipv4.headerLen(packet, 0), r.totalLen);
  const part = (from: number, to: number, more: boolean): Uint8Array => {
    const b = new Uint8Array(ipv4.HEADER_LEN + r.options.length + to - from);
    const head = ipv4.emit({ ...r, totalLen: b.length, moreFragments: more, fragmentOffset: from }, b, 0);
    b.set(payload.subarray(from, to), head);
    return b;
  };
  return [part(0, at, true), part(at, payload.length, false)];
}
