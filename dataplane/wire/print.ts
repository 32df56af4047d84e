/**
 * Any frame or IP packet as one line of text, in the manner of tcpdump -en, and the flow that it belongs to.
 *
 * What a packet carries inside (VXLAN, IPIP, flannel's UDP encapsulation, the packet that an ICMP error
 * quotes) stands in ⟦ ⟧. Cold path: allocates freely, never throws, whatever the bytes are.
 * Left out: transport checksums, which may rightly be partial inside a node.
 */

import * as arp from "./arp.ts";
import { u8, u16 } from "./bytes.ts";
import { DropReason, NOT_DROPPED } from "./drop-reason.ts";
import * as ethernet from "./ethernet.ts";
import * as icmpv4 from "./icmpv4.ts";
import * as icmpv6 from "./icmpv6.ts";
import * as ipv4 from "./ipv4.ts";
import { formatIpv4 } from "./ipv4-addr.ts";
import * as ipv6 from "./ipv6.ts";
import { formatIpv6At } from "./ipv6-addr.ts";
import * as ndisc from "./ndisc.ts";
import * as sctp from "./sctp.ts";
import * as tcp from "./tcp.ts";
import * as udp from "./udp.ts";
import * as vlan from "./vlan.ts";
import * as vxlan from "./vxlan.ts";

/** flannel's udp backend: an IP packet straight inside UDP. */
const PORT_FLANNEL_UDP = 8285;
/** Packets inside packets beyond this depth are not opened. */
const MAX_DEPTH = 8;

/** What the 5-tuple of a packet says. Ports are undefined where the protocol has none or a fragment lacks them. */
export type Flow = {
  readonly family: 4 | 6;
  readonly proto: number;
  readonly src: string;
  readonly srcPort: number | undefined;
  readonly dst: string;
  readonly dstPort: number | undefined;
  readonly icmpType: number | undefined;
  readonly icmpCode: number | undefined;
  /** Identifier of an echo message. */
  readonly icmpId: number | undefined;
};

/** Where the parts of an IP packet are; `payload` is -1 where the extension headers run out of the packet. */
type Layout = {
  readonly family: 4 | 6;
  readonly proto: number;
  readonly payload: number;
  /** After the last octet of the packet, which a quote or a cut capture may not have whole. */
  readonly end: number;
  readonly firstFragment: boolean;
};

function layoutOf(b: Uint8Array, off: number, end: number): Layout | undefined {
  const len = end - off;
  if (len < 1) return undefined;
  if (ipv4.version(b, off) === 4) {
    const hlen = len < ipv4.HEADER_LEN ? 0 : ipv4.headerLen(b, off);
    if (hlen < ipv4.HEADER_LEN || hlen > len || ipv4.totalLen(b, off) < hlen) return undefined;
    return {
      family: 4,
      proto: ipv4.protocol(b, off),
      payload: off + hlen,
      end: Math.min(end, off + ipv4.totalLen(b, off)),
      firstFragment: ipv4.fragmentOffset(b, off) === 0,
    };
  }
  if (ipv6.version(b, off) !== 6 || len < ipv6.HEADER_LEN) return undefined;
  const last = Math.min(end, off + ipv6.HEADER_LEN + ipv6.payloadLen(b, off));
  const frag = ipv6.fragmentHeader(b, off, last);
  return {
    family: 6,
    proto: ipv6.transportProtocol(b, off, last),
    payload: ipv6.transportOffset(b, off, last),
    end: last,
    firstFragment: frag < 0 || (u16(b, frag + 2) & 0xfff8) === 0,
  };
}

function hasPorts(proto: number): boolean {
  return proto === ipv4.PROTO_TCP || proto === ipv4.PROTO_UDP || proto === ipv4.PROTO_SCTP;
}

function isEcho(family: 4 | 6, type: number): boolean {
  return family === 4
    ? type === icmpv4.ECHO_REQUEST || type === icmpv4.ECHO_REPLY
    : type === icmpv6.ECHO_REQUEST || type === icmpv6.ECHO_REPLY;
}

/** The flow of the IP packet at `ipOff`, or undefined if no IP header can be read there. */
export function flowOf(b: Uint8Array, ipOff: number, end: number): Flow | undefined {
  const at = layoutOf(b, ipOff, end);
  if (at === undefined || at.proto < 0) return undefined;
  const room = at.firstFragment && at.payload >= 0 ? at.end - at.payload : 0;
  const ports = hasPorts(at.proto) && room >= 4;
  const icmp = at.proto === (at.family === 4 ? ipv4.PROTO_ICMP : ipv4.PROTO_ICMPV6) && room >= icmpv4.HEADER_LEN;
  const type = icmp ? u8(b, at.payload) : undefined;
  return {
    family: at.family,
    proto: at.proto,
    src: at.family === 4 ? formatIpv4(ipv4.src(b, ipOff)) : formatIpv6At(b, ipOff + ipv6.SRC),
    srcPort: ports ? u16(b, at.payload) : undefined,
    dst: at.family === 4 ? formatIpv4(ipv4.dst(b, ipOff)) : formatIpv6At(b, ipOff + ipv6.DST),
    dstPort: ports ? u16(b, at.payload + 2) : undefined,
    icmpType: type,
    icmpCode: icmp ? u8(b, at.payload + 1) : undefined,
    icmpId: type !== undefined && isEcho(at.family, type) ? icmpv4.id(b, at.payload) : undefined,
  };
}

function endpoint(flow: Flow, addr: string, port: number | undefined): string {
  if (port === undefined) return addr;
  return flow.family === 4 ? `${addr}:${port}` : `[${addr}]:${port}`;
}

function endpoints(flow: Flow): string {
  return `${endpoint(flow, flow.src, flow.srcPort)} > ${endpoint(flow, flow.dst, flow.dstPort)}`;
}

/** `TCP 10.244.1.7:40112 > 10.96.14.3:80` */
export function formatFlow(flow: Flow): string {
  return `${ipv4.protocolName(flow.proto)} ${endpoints(flow)}`;
}

function formatTcp(b: Uint8Array, off: number, end: number): string {
  const r = tcp.parse(b, off, end);
  if (r === undefined) return "TCP, header cut short";
  // the ports already stand with the addresses
  const fields = tcp.format(r).replace(/^TCP \d+ > \d+, Flags/, "TCP");
  return `${fields}, length ${end - off - tcp.dataOffset(b, off)}`;
}

function formatUdp(b: Uint8Array, off: number, end: number, depth: number): string {
  const r = udp.parse(b, off, end);
  if (r === undefined) {
    return end - off < udp.HEADER_LEN
      ? "UDP, header cut short"
      : `UDP, length ${udp.length(b, off) - udp.HEADER_LEN}, ${end - off - udp.HEADER_LEN} present`;
  }
  const payload = off + udp.HEADER_LEN;
  const last = off + r.length;
  const isVxlan = r.dstPort === vxlan.PORT || r.dstPort === vxlan.PORT_LINUX;
  if (isVxlan && vxlan.check(b, payload, last) === NOT_DROPPED) {
    const inner = frame(b, payload + vxlan.HEADER_LEN, last, depth + 1);
    return `VXLAN, vni ${vxlan.vni(b, payload)} ⟦${inner}⟧`;
  }
  const text = `UDP, length ${r.length - udp.HEADER_LEN}`;
  const isTunnel = r.dstPort === PORT_FLANNEL_UDP && ipv4.check(b, payload, last) === NOT_DROPPED;
  return isTunnel ? `${text} ⟦${packet(b, payload, last, depth + 1)}⟧` : text;
}

function formatIcmp4(b: Uint8Array, off: number, end: number, depth: number): string {
  const r = icmpv4.parse(b, off, end);
  if (r === undefined) return "ICMP, header cut short";
  const data = off + icmpv4.HEADER_LEN;
  const quote = icmpv4.isErrorType(r.type) && end > data ? ` ⟦${packet(b, data, end, depth + 1)}⟧` : "";
  return `${icmpv4.format(r)}, length ${end - off}${quote}`;
}

function formatIcmp6(b: Uint8Array, off: number, end: number, depth: number): string {
  const nd = ndisc.parse(b, off, end);
  if (nd !== undefined) return `${ndisc.format(nd)}, length ${end - off}`;
  if (end - off >= ndisc.REDIRECT_LEN && icmpv6.type(b, off) === ndisc.REDIRECT)
    return `${ndisc.formatRedirect(b, off)}, length ${end - off}`;
  const r = icmpv6.parse(b, off, end);
  if (r === undefined) return "ICMP6, header cut short";
  const data = off + icmpv6.HEADER_LEN;
  const quote = icmpv6.isError(b, off) && end > data ? ` ⟦${packet(b, data, end, depth + 1)}⟧` : "";
  const name = routerNames.get(r.type);
  return `${name === undefined ? icmpv6.format(r) : `ICMP6 ${name}`}, length ${end - off}${quote}`;
}

const routerNames: ReadonlyMap<number, string> = new Map([
  [ndisc.ROUTER_SOLICITATION, "router solicitation"],
  [ndisc.ROUTER_ADVERTISEMENT, "router advertisement"],
  [ndisc.REDIRECT, "redirect"],
  [143, "multicast listener report v2"],
]);

function formatSctp(b: Uint8Array, off: number, end: number): string {
  const r = sctp.parse(b, off, end);
  return r === undefined ? "SCTP, header cut short" : sctp.format(r).replace(/^SCTP \d+ > \d+,/, "SCTP");
}

function transport(b: Uint8Array, at: Layout, depth: number): string {
  if (at.payload < 0) return "extension headers cut short";
  if (!at.firstFragment) return `${ipv4.protocolName(at.proto)} fragment, length ${at.end - at.payload}`;
  switch (at.proto) {
    case ipv4.PROTO_TCP:
      return formatTcp(b, at.payload, at.end);
    case ipv4.PROTO_UDP:
      return formatUdp(b, at.payload, at.end, depth);
    case ipv4.PROTO_ICMP:
      return formatIcmp4(b, at.payload, at.end, depth);
    case ipv4.PROTO_ICMPV6:
      return formatIcmp6(b, at.payload, at.end, depth);
    case ipv4.PROTO_SCTP:
      return formatSctp(b, at.payload, at.end);
    case ipv4.PROTO_IPIP:
    case ipv4.PROTO_IPV6:
      return `${at.proto === ipv4.PROTO_IPIP ? "IPIP" : "IPv6-in-IP"} ⟦${packet(b, at.payload, at.end, depth + 1)}⟧`;
    default:
      return `${ipv4.protocolName(at.proto)}, length ${at.end - at.payload}`;
  }
}

/** What of the IPv4 header is out of the ordinary, and the TTL. */
function remarks4(b: Uint8Array, off: number, end: number): string {
  const tos = ipv4.tos(b, off);
  const parts = [`ttl ${ipv4.ttl(b, off)}`];
  if (tos !== 0) parts.push(`tos 0x${tos.toString(16)}`);
  if (ipv4.isFragment(b, off)) {
    parts.push(`id ${ipv4.id(b, off)}`, `offset ${ipv4.fragmentOffset(b, off)}`);
    if (ipv4.moreFragments(b, off)) parts.push("MF");
  }
  if (ipv4.check(b, off, end) === DropReason.IP_CSUM) parts.push("bad header checksum");
  return parts.join(", ");
}

function remarks6(b: Uint8Array, off: number, end: number): string {
  const parts = [`hlim ${ipv6.hopLimit(b, off)}`];
  const frag = ipv6.fragmentHeader(b, off, end);
  if (frag >= 0) {
    parts.push(`offset ${u16(b, frag + 2) & 0xfff8}`);
    if ((u16(b, frag + 2) & 1) !== 0) parts.push("MF");
  }
  return parts.join(", ");
}

function packet(b: Uint8Array, off: number, end: number, depth: number): string {
  if (depth > MAX_DEPTH) return "…";
  const at = layoutOf(b, off, end);
  if (at === undefined) return `IP header cut short or wrong, ${Math.max(0, end - off)} octets`;
  const flow = flowOf(b, off, end);
  const remarks = at.family === 4 ? remarks4(b, off, end) : remarks6(b, off, at.end);
  const ends = flow === undefined ? "?" : endpoints(flow);
  return `${at.family === 4 ? "IP" : "IP6"} ${ends}: ${transport(b, at, depth)} (${remarks})`;
}

function frame(b: Uint8Array, off: number, end: number, depth: number): string {
  const eth = ethernet.parse(b, off, end);
  if (eth === undefined) return `Ethernet header cut short, ${Math.max(0, end - off)} octets`;
  let text = ethernet.format(eth);
  let type = eth.etherType;
  let at = off + ethernet.HEADER_LEN;
  while (type === ethernet.ETH_P_8021Q || type === ethernet.ETH_P_8021AD) {
    const tag = vlan.parse(b, at, end);
    if (tag === undefined) return `${text}: tag cut short`;
    text += ` ${vlan.format(tag)}`;
    type = tag.etherType;
    at += vlan.HEADER_LEN;
  }
  if (type === ethernet.ETH_P_ARP) {
    const r = arp.parse(b, at, end);
    return `${text}: ${r === undefined ? "cut short or not for IPv4" : arp.format(r)}`;
  }
  const isIp = type === ethernet.ETH_P_IP || type === ethernet.ETH_P_IPV6;
  return `${text}: ${isIp ? packet(b, at, end, depth) : `length ${end - at}`}`;
}

/** One line for the Ethernet frame from `off` up to `end`. */
export function formatFrame(b: Uint8Array, off: number, end: number): string {
  return frame(b, off, end, 0);
}

/** One line for the IP packet, without Ethernet, from `off` up to `end`. */
export function formatPacket(b: Uint8Array, off: number, end: number): string {
  return packet(b, off, end, 0);
}
