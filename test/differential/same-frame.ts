/**
 * Whether the emulator's frame is the kernel's. Every octet must be the same, but for what a kernel draws at random or takes
 * from its clock, which is compared by rule:
 *
 *  - IPv4 identification: both 0, or both not (the kernel may draw a 0 for what may be cut); and one of the kernel's stands
 *    for one of the emulator's per sender, wherever the packet is seen.
 *  - VXLAN source port: in the ephemeral range, and again one for one per sender.
 *  - ICMP timestamp replies: the two times of the answering clock are the same on each side.
 *  - TCP of real sockets: sequence numbers count from the first one seen of a direction; timestamps and windows may differ.
 *    Where a walk says so, acknowledgements without anything else are set aside: when they leave is a matter of timers.
 *  - The transport checksum that an ICMP error quotes: what Linux sends, or the one that the socket left to the device (the
 *    sum of the pseudo-header alone), which is what Linux quotes where offloads are on.
 *  - Checksums over any of these: right on both sides, or 0 on both, or wrong on both.
 *  - IPv6: the identification of fragments, one for one per sender, and the random parts of UDP (a tunnel's source port) and TCP are those above; all else must be the same.
 *
 * A differing field that a rule excuses takes the emulator's value before the octets are compared.
 */
import { setU16, setU32, u16, u32 } from "../../dataplane/wire/bytes.ts";
import { fold, pseudo4, verifies } from "../../dataplane/wire/checksum.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import * as icmpv4 from "../../dataplane/wire/icmpv4.ts";
import { dstAt, pseudo, srcAt } from "../../dataplane/wire/ip-header.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import * as udp from "../../dataplane/wire/udp.ts";
import * as vxlan from "../../dataplane/wire/vxlan.ts";

const EPHEMERAL_MIN = 32768;
const EPHEMERAL_MAX = 60999;

/** What stands for what, over all frames of one comparison. */
export class Excuses {
  readonly #forth = new Map<string, number>();
  readonly #back = new Map<string, number>();
  readonly #offsets = new Map<string, number>();

  /** Whether the kernel's value may stand for the emulator's: it always has, and for no other. */
  pair(kind: string, kernel: number, ours: number): boolean {
    const [k, o] = [`${kind} ${kernel}`, `${kind} ${ours}`];
    const [known, back] = [this.#forth.get(k), this.#back.get(o)];
    if (known !== undefined || back !== undefined) return known === ours && back === kernel;
    this.#forth.set(k, ours);
    this.#back.set(o, kernel);
    return true;
  }

  /** Whether two sequence numbers are the same distance apart as all before them of this direction. */
  apart(direction: string, kernel: number, ours: number): boolean {
    const offset = (ours - kernel) >>> 0;
    const known = this.#offsets.get(direction);
    if (known === undefined) this.#offsets.set(direction, offset);
    return known === undefined || known === offset;
  }
}

/** Null where the frames agree, else what does not. Both start with Ethernet; `kernel` is changed. */
export function difference(kernel: Uint8Array, ours: Uint8Array, excuses: Excuses): string | null {
  if (kernel.length !== ours.length) return `length: ${kernel.length} in Linux, ${ours.length} here`;
  const wrong = ether(kernel, ours, 0, excuses);
  if (wrong !== null) return wrong;
  const at = kernel.findIndex((octet, i) => octet !== ours[i]);
  return at < 0 ? null : `octet ${at}: ${hex(kernel[at])} in Linux, ${hex(ours[at])} here`;
}

function hex(octet: number | undefined): string {
  return `0x${(octet ?? 0).toString(16).padStart(2, "0")}`;
}

function ether(k: Uint8Array, o: Uint8Array, off: number, excuses: Excuses): string | null {
  if (k.length - off < ethernet.HEADER_LEN) return null;
  const at = off + ethernet.HEADER_LEN;
  const type = ethernet.etherType(o, off);
  if (type === ethernet.ETH_P_IPV6) return packet6(k, o, at, excuses);
  return type === ethernet.ETH_P_IP ? packet(k, o, at, excuses) : null;
}

function packet6(k: Uint8Array, o: Uint8Array, at: number, excuses: Excuses): string | null {
  if (ipv6.check(o, at, o.length) !== 0 || !same(k, o, at, ipv6.HEADER_LEN)) return null;
  const end = at + ipv6.HEADER_LEN + ipv6.payloadLen(o, at);
  const th = ipv6.transportOffset(o, at, end);
  const fragment = ipv6.fragmentHeader(o, at, end);
  if (fragment >= 0) {
    // Who cuts a datagram draws its identification.
    if (fragment + ipv6.FRAGMENT_HEADER_LEN > end) return null;
    const [kid, oid] = [ipv6.fragmentId(k, fragment), ipv6.fragmentId(o, fragment)];
    if (kid !== oid && excuses.pair(`id ${srcAt(o, at)}`, kid, oid)) setU32(k, fragment + 4, oid);
  }
  if (th < 0 || fragment >= 0) return null;
  const protocol = ipv6.transportProtocol(o, at, end);
  if (protocol === ipv4.PROTO_UDP) return udpSegment(k, o, at, th, end, excuses);
  return protocol === ipv4.PROTO_TCP ? tcpSegment(k, o, at, th, end, excuses) : null;
}

function packet(k: Uint8Array, o: Uint8Array, at: number, excuses: Excuses): string | null {
  if (o.length - at < ipv4.HEADER_LEN || !same(k, o, at + ipv4.SRC, 8) || !same(k, o, at, 4)) return null;
  const headGood = (b: Uint8Array): boolean => ipv4.check(b, at, b.length) === 0;
  if (headGood(k) !== headGood(o)) return `IPv4 header: ${word(headGood(k))} in Linux, ${word(headGood(o))} here`;
  if (!headGood(o)) return null;
  const [kid, oid] = [ipv4.id(k, at), ipv4.id(o, at)];
  if (kid !== oid) {
    const drawn = kid !== 0 || (ipv4.flagsFrag(o, at) & ipv4.FLAG_DF) === 0;
    const pair = drawn && oid !== 0 && excuses.pair(`id ${ipv4.src(o, at)}`, kid, oid);
    if (!pair) return `identification: ${kid} in Linux, ${oid} here`;
  }
  const th = at + ipv4.headerLen(o, at);
  const end = at + ipv4.totalLen(o, at);
  let wrong: string | null = null;
  if (!ipv4.isFragment(o, at)) {
    const protocol = ipv4.protocol(o, at);
    if (protocol === ipv4.PROTO_UDP) wrong = udpSegment(k, o, at, th, end, excuses);
    else if (protocol === ipv4.PROTO_TCP) wrong = tcpSegment(k, o, at, th, end, excuses);
    else if (protocol === ipv4.PROTO_ICMP) wrong = icmpMessage(k, o, th, end, excuses);
  }
  ipv4.setId(k, at, oid);
  if (kid !== oid) ipv4.setHeaderChecksum(k, at, ipv4.headerChecksum(o, at));
  return wrong;
}

function udpSegment(k: Uint8Array, o: Uint8Array, at: number, th: number, end: number, x: Excuses): string | null {
  if (udp.check(o, th, end) !== 0 || udp.check(k, th, end) !== 0) return null;
  const verdict = (b: Uint8Array): string =>
    udp.checksum(b, th) === 0 ? "none" : word(sums(b, at, th, udp.length(b, th), ipv4.PROTO_UDP));
  if (verdict(k) !== verdict(o)) return `UDP checksum: ${verdict(k)} in Linux, ${verdict(o)} here`;
  const inner = th + udp.HEADER_LEN;
  if (udp.dstPort(o, th) !== vxlan.PORT_LINUX || vxlan.check(o, inner, end) !== 0) return null;
  const [kp, op] = [udp.srcPort(k, th), udp.srcPort(o, th)];
  if (kp !== op) {
    for (const port of [kp, op]) {
      if (port < EPHEMERAL_MIN || port > EPHEMERAL_MAX)
        return `VXLAN source port ${port} is outside of the ephemeral range`;
    }
    if (!x.pair(`port ${srcAt(o, at)}`, kp, op)) return `VXLAN source port: ${kp} in Linux does not stand for ${op}`;
  }
  const good = verdict(k) === "right";
  const wrong = ether(k, o, inner + vxlan.HEADER_LEN, x);
  udp.setSrcPort(k, th, op);
  if (good) udp.setChecksum(k, th, udp.checksum(o, th));
  return wrong;
}

/** Whether a transport checksum is right. */
function sums(b: Uint8Array, at: number, th: number, len: number, protocol: number): boolean {
  return verifies(b, th, len, pseudo(srcAt(b, at), dstAt(b, at), protocol, len));
}

function tcpSegment(k: Uint8Array, o: Uint8Array, at: number, th: number, end: number, x: Excuses): string | null {
  if (tcp.check(o, th, end) !== 0 || tcp.check(k, th, end) !== 0) return null;
  const verdict = (b: Uint8Array): string => word(sums(b, at, th, end - th, ipv4.PROTO_TCP));
  if (verdict(k) !== verdict(o)) return `TCP checksum: ${verdict(k)} in Linux, ${verdict(o)} here`;
  return same(k, o, th, end - th) ? null : tcpFields(k, o, at, th, x);
}

function tcpFields(k: Uint8Array, o: Uint8Array, at: number, th: number, x: Excuses): string | null {
  const ends = [`${srcAt(o, at)}:${tcp.srcPort(o, th)}`, `${dstAt(o, at)}:${tcp.dstPort(o, th)}`];
  if (!x.apart(`seq ${ends[0]} ${ends[1]}`, tcp.seq(k, th), tcp.seq(o, th))) {
    return `sequence number: ${tcp.seq(k, th)} in Linux does not stand for ${tcp.seq(o, th)}`;
  }
  const acks = (tcp.flags(k, th) & tcp.ACK) !== 0 && (tcp.flags(o, th) & tcp.ACK) !== 0;
  if (acks && !x.apart(`seq ${ends[1]} ${ends[0]}`, tcp.ack(k, th), tcp.ack(o, th))) {
    return `acknowledgement: ${tcp.ack(k, th)} in Linux does not stand for ${tcp.ack(o, th)}`;
  }
  tcp.setSeq(k, th, tcp.seq(o, th));
  if (acks) tcp.setAck(k, th, tcp.ack(o, th));
  tcp.setWindow(k, th, tcp.window(o, th));
  const [kt, ot] = [tcp.findOption(k, th, tcp.OPT_TIMESTAMPS), tcp.findOption(o, th, tcp.OPT_TIMESTAMPS)];
  if (kt >= 0 && kt === ot) {
    setU32(k, kt + 2, u32(o, ot + 2));
    if ((u32(k, kt + 6) === 0) === (u32(o, ot + 6) === 0)) setU32(k, kt + 6, u32(o, ot + 6));
  }
  tcp.setChecksum(k, th, tcp.checksum(o, th));
  return null;
}

/** Whether the frame, or the one in its tunnel, is TCP with nothing but an acknowledgement. */
export function isPureAck(b: Uint8Array, off = 0): boolean {
  const at = off + ethernet.HEADER_LEN;
  if (ethernet.etherType(b, off) !== ethernet.ETH_P_IP || ipv4.check(b, at, b.length) !== 0) return false;
  const th = at + ipv4.headerLen(b, at);
  const end = at + ipv4.totalLen(b, at);
  if (ipv4.protocol(b, at) === ipv4.PROTO_UDP) {
    const inner = th + udp.HEADER_LEN;
    const tunnel = udp.check(b, th, end) === 0 && udp.dstPort(b, th) === vxlan.PORT_LINUX;
    return tunnel && vxlan.check(b, inner, end) === 0 && isPureAck(b, inner + vxlan.HEADER_LEN);
  }
  if (ipv4.protocol(b, at) !== ipv4.PROTO_TCP || tcp.check(b, th, end) !== 0) return false;
  return tcp.flags(b, th) === tcp.ACK && end - th === tcp.dataOffset(b, th);
}

/** An error quotes a packet, with its own random fields. */
function icmpMessage(k: Uint8Array, o: Uint8Array, th: number, end: number, x: Excuses): string | null {
  if (icmpv4.check(o, th, end) !== 0) return null;
  const verdict = (b: Uint8Array): string => word(icmpv4.verify(b, th, end - th));
  if (verdict(k) !== verdict(o)) return `ICMP checksum: ${verdict(k)} in Linux, ${verdict(o)} here`;
  if (icmpv4.type(o, th) === icmpv4.TIMESTAMP_REPLY && same(k, o, th, 2)) {
    const clock = th + icmpv4.HEADER_LEN + 4;
    if (u32(k, clock) === u32(k, clock + 4)) setU32(k, clock, u32(o, clock));
    setU32(k, clock + 4, u32(o, clock + 4));
    setU16(k, th + icmpv4.CHECKSUM, u16(o, th + icmpv4.CHECKSUM));
    return null;
  }
  if (!icmpv4.isError(o, th) || !same(k, o, th, 2)) return null;
  const quote = th + icmpv4.HEADER_LEN;
  if (same(k, o, quote, end - quote) || end - quote < ipv4.HEADER_LEN) return null;
  const [kid, oid] = [ipv4.id(k, quote), ipv4.id(o, quote)];
  if (kid !== oid) {
    if (kid === 0 || oid === 0 || !x.pair(`id ${ipv4.src(o, quote)}`, kid, oid)) return null;
    ipv4.setId(k, quote, oid);
    ipv4.setHeaderChecksum(k, quote, ipv4.headerChecksum(o, quote));
  }
  const at = quote + ipv4.headerLen(o, quote);
  if (ipv4.protocol(o, quote) === ipv4.PROTO_TCP && end - at >= tcp.HEADER_LEN) tcpFields(k, o, quote, at, x);
  const protocol = ipv4.protocol(o, quote);
  const field = at + (protocol === ipv4.PROTO_UDP ? udp.CHECKSUM : tcp.CHECKSUM);
  const length = ipv4.totalLen(o, quote) - ipv4.headerLen(o, quote);
  const partial = fold(pseudo4(ipv4.src(o, quote), ipv4.dst(o, quote), protocol, length));
  if (field + 2 <= end && u16(o, field) === partial) setU16(k, field, partial);
  setU16(k, th + icmpv4.CHECKSUM, u16(o, th + icmpv4.CHECKSUM));
  return null;
}

function same(a: Uint8Array, b: Uint8Array, off: number, len: number): boolean {
  for (let i = off; i < off + len; i++) if (a[i] !== b[i]) return false;
  return true;
}

function word(good: boolean): string {
  return good ? "right" : "wrong";
}
