/**
 * The port field of ipset elements (ip_set_getport.c, and lib/parse.c and icmp.c of ipset): the protocol, and the port with
 * TCP, UDP, UDP-Lite and SCTP, type and code with ICMP, 0 with all others.
 */
import { u16 } from "../wire/bytes.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as sctp from "../wire/sctp.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import type { NfPacket } from "./packet.ts";
import { parseProtocol, protocolText } from "./services.ts";

const PROTO_UDPLITE = 136;
const ICMP_HEADER_LEN = 8;

type Names = readonly (readonly [name: string, type: number, code: number])[];

/** The first of two names is the one that is printed. */
const ICMP_NAMES: Names = [
  ["echo-reply", 0, 0],
  ["pong", 0, 0],
  ["network-unreachable", 3, 0],
  ["host-unreachable", 3, 1],
  ["protocol-unreachable", 3, 2],
  ["port-unreachable", 3, 3],
  ["fragmentation-needed", 3, 4],
  ["source-route-failed", 3, 5],
  ["network-unknown", 3, 6],
  ["host-unknown", 3, 7],
  ["network-prohibited", 3, 9],
  ["host-prohibited", 3, 10],
  ["TOS-network-unreachable", 3, 11],
  ["TOS-host-unreachable", 3, 12],
  ["communication-prohibited", 3, 13],
  ["host-precedence-violation", 3, 14],
  ["precedence-cutoff", 3, 15],
  ["source-quench", 4, 0],
  ["network-redirect", 5, 0],
  ["host-redirect", 5, 1],
  ["TOS-network-redirect", 5, 2],
  ["TOS-host-redirect", 5, 3],
  ["echo-request", 8, 0],
  ["ping", 8, 0],
  ["router-advertisement", 9, 0],
  ["router-solicitation", 10, 0],
  ["ttl-zero-during-transit", 11, 0],
  ["ttl-zero-during-reassembly", 11, 1],
  ["ip-header-bad", 12, 0],
  ["required-option-missing", 12, 1],
  ["timestamp-request", 13, 0],
  ["timestamp-reply", 14, 0],
  ["address-mask-request", 17, 0],
  ["address-mask-reply", 18, 0],
];
const ICMP6_NAMES: Names = [
  ["no-route", 1, 0],
  ["communication-prohibited", 1, 1],
  ["address-unreachable", 1, 3],
  ["port-unreachable", 1, 4],
  ["packet-too-big", 2, 0],
  ["ttl-zero-during-transit", 3, 0],
  ["ttl-zero-during-reassembly", 3, 1],
  ["bad-header", 4, 0],
  ["unknown-header-type", 4, 1],
  ["unknown-option", 4, 2],
  ["echo-request", 128, 0],
  ["ping", 128, 0],
  ["echo-reply", 129, 0],
  ["pong", 129, 0],
  ["router-solicitation", 133, 0],
  ["router-advertisement", 134, 0],
  ["neighbour-solicitation", 135, 0],
  ["neighbour-advertisement", 136, 0],
  ["redirect", 137, 0],
];

/** The port field of a packet; -1 where it cannot be read. */
export function portOf(p: NfPacket, side: "src" | "dst"): number {
  const need = headerOf(p.proto);
  // of IPv6 no later fragment is looked into
  if (need === 0) return p.fragment !== 0 && ipv4.version(p.b, p.network) === 6 ? -1 : 0;
  if (p.fragment !== 0 || p.end - p.transport < need) return -1;
  return u16(p.b, p.transport + (side === "src" || isIcmp(p.proto) ? 0 : 2));
}

/** Octets of the header that a packet must have for its port field; 0 for protocols without one. */
function headerOf(proto: number): number {
  switch (proto) {
    case ipv4.PROTO_TCP:
      return tcp.HEADER_LEN;
    case ipv4.PROTO_UDP:
    case PROTO_UDPLITE:
      return udp.HEADER_LEN;
    case ipv4.PROTO_SCTP:
      return sctp.HEADER_LEN;
    default:
      return isIcmp(proto) ? ICMP_HEADER_LEN : 0;
  }
}

function isIcmp(proto: number): boolean {
  return proto === ipv4.PROTO_ICMP || proto === ipv4.PROTO_ICMPV6;
}

/** What a text such as "tcp:80-90" or "icmp:echo-request" stands for; null for what is none. */
export function parsePorts(
  text: string,
  six: boolean,
): { readonly proto: number; readonly from: number; readonly to: number } | null {
  const colon = text.indexOf(":");
  const proto = colon < 0 ? ipv4.PROTO_TCP : parseProtocol(text.slice(0, colon));
  const rest = text.slice(colon + 1);
  if (proto === undefined) return null;
  if (isIcmp(proto)) {
    const kind = (proto === ipv4.PROTO_ICMPV6) === six ? typeAndCode(rest, namesOf(proto)) : null;
    return kind === null ? null : { proto, from: kind, to: kind };
  }
  if (headerOf(proto) === 0) return proto !== 0 && rest === "0" ? { proto, from: 0, to: 0 } : null;
  const ports = portRange(rest);
  return ports === null ? null : { proto, from: ports[0], to: ports[1] };
}

export function printPort(proto: number, port: number): string {
  const name = protocolText(proto);
  if (!isIcmp(proto)) return `${name}:${port}`;
  const [type, code] = [port >>> 8, port & 0xff];
  const known = namesOf(proto).find(([, t, c]) => t === type && c === code);
  return `${name}:${known?.[0] ?? `${type}/${code}`}`;
}

function namesOf(proto: number): Names {
  return proto === ipv4.PROTO_ICMP ? ICMP_NAMES : ICMP6_NAMES;
}

function typeAndCode(text: string, names: Names): number | null {
  const known = names.find(([name]) => name === text);
  if (known !== undefined) return (known[1] << 8) | known[2];
  const [, type, code] = /^([0-9]{1,3})\/([0-9]{1,3})$/.exec(text) ?? [];
  return type === undefined || Number(type) > 255 || Number(code) > 255 ? null : (Number(type) << 8) | Number(code);
}

/** "80" or "80-90". */
export function portRange(text: string): readonly [number, number] | null {
  const words = text.split("-");
  if (words.length > 2 || words.some((w) => !/^[0-9]{1,5}$/.test(w))) return null;
  const from = Number(words[0]);
  const to = Number(words[1] ?? words[0]);
  return to > 0xffff || from > to ? null : [from, to];
}
