/** The first packet of a flow, as bytes in a packet buffer: a SYN, a datagram, or an SCTP INIT. */
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import type { World } from "../../dataplane/host/world.ts";
import { PACKET_HOST, type Skb } from "../../dataplane/skb/skb.ts";
import { setU8 } from "../../dataplane/wire/bytes.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { formatIpPort, type IpKey, isKey6, octets6, parseIp } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import * as sctp from "../../dataplane/wire/sctp.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import * as udp from "../../dataplane/wire/udp.ts";
import type { Family } from "../api/ip.ts";
import { InputError } from "../manifests/input-error.ts";

export type Flow = {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly src: IpKey;
  readonly srcPort: number;
  readonly dst: IpKey;
  readonly dstPort: number;
};

const PROTOCOLS: Readonly<Record<Flow["protocol"], number>> = {
  TCP: ipv4.PROTO_TCP,
  UDP: ipv4.PROTO_UDP,
  SCTP: ipv4.PROTO_SCTP,
};

/** Common header 12 and an INIT chunk of 20 octets. */
const SCTP_INIT = 32;

const END = "([0-9.]+|\\[[0-9a-f:.]*:[0-9a-f:.]*\\]):([0-9]+)";
const FLOW = new RegExp(`^(tcp|udp|sctp)\\s+${END}\\s*(?:>|→|->)\\s*${END}$`, "i");

const EXPECTED =
  "PROTOCOL ADDRESS:PORT > ADDRESS:PORT of one family, such as TCP 10.1.0.5:40000 > 10.96.0.1:443 or UDP [fd00::5]:4000 > [fd00::a]:53";

/**
 * Reads "TCP 10.1.0.5:40000 > 10.96.0.1:443" or "TCP [fd00::5]:40000 > [fd00:96::1]:443". Throws InputError naming where the
 * text came from.
 */
export function parseFlow(text: string, file: string, line: number): Flow {
  const match = FLOW.exec(text.trim());
  const [src, dst] = [parseEnd(match?.[2]), parseEnd(match?.[4])];
  const [srcPort, dstPort] = [Number(match?.[3]), Number(match?.[5])];
  const whole = src !== undefined && dst !== undefined && isKey6(src) === isKey6(dst);
  if (match === null || !whole || !isPort(srcPort) || !isPort(dstPort)) {
    throw new InputError({ file, line, field: "flow", found: JSON.stringify(text.trim()), expected: EXPECTED });
  }
  return { protocol: (match[1] ?? "").toUpperCase() as Flow["protocol"], src, srcPort, dst, dstPort };
}

function parseEnd(text = ""): IpKey | undefined {
  return parseIp(text.replace(/^\[|\]$/g, ""));
}

export function formatFlow(flow: Flow): string {
  return `${flow.protocol} ${formatIpPort(flow.src, flow.srcPort)} > ${formatIpPort(flow.dst, flow.dstPort)}`;
}

export function familyOfFlow(flow: Flow): Family {
  return isKey6(flow.dst) ? 6 : 4;
}

function isPort(n: number): boolean {
  return Number.isInteger(n) && n >= 1 && n <= 65535;
}

/** `skb.data` is at the IP header, checksums are complete. */
export function firstPacket(flow: Flow, world: World): Skb {
  const { protocol, src, dst, srcPort, dstPort } = flow;
  const six = isKey6(dst);
  const header = six ? ipv6.HEADER_LEN : ipv4.HEADER_LEN;
  const length = protocol === "TCP" ? tcp.HEADER_LEN : protocol === "UDP" ? udp.HEADER_LEN : SCTP_INIT;
  const skb = world.pool.alloc(header + length);
  const b = skb.buf;
  const at = skb.data;
  const off = at + header;
  skb.network = at;
  skb.transport = off;
  skb.end = off + length;
  skb.protocol = six ? ethernet.ETH_P_IPV6 : ethernet.ETH_P_IP;
  skb.pktType = PACKET_HOST;
  b.fill(0, at, skb.end);
  if (six) ipv6.write(b, at, length, PROTOCOLS[protocol], 64, octets6(src), octets6(dst), 0, 0);
  else ipv4.write(b, at, header + length, 1, ipv4.FLAG_DF, 64, PROTOCOLS[protocol], src, dst, 0);
  if (protocol === "TCP") {
    tcp.write(b, off, srcPort, dstPort, 1, 0, tcp.HEADER_LEN, tcp.SYN, 64240);
    if (six) tcp.fillChecksum6(b, off, length, at);
    else tcp.fillChecksum4(b, off, length, src, dst);
  } else if (protocol === "UDP") {
    udp.write(b, off, srcPort, dstPort, length);
    if (six) udp.fillChecksum6(b, off, length, at);
    else udp.fillChecksum4(b, off, length, src, dst);
  } else {
    // Ports stand where UDP has them; then the INIT chunk's type and length (RFC 9260 section 3.3.2).
    udp.write(b, off, srcPort, dstPort, 0);
    setU8(b, off + 12, 1);
    setU8(b, off + 15, SCTP_INIT - 12);
    sctp.fillChecksum(b, off, length);
  }
  return skb;
}

/** Puts a packet that begins at its IP header on an interface, in a frame for it. */
export function deliver(dev: NetDev, skb: Skb): void {
  skb.data -= ethernet.HEADER_LEN;
  ethernet.write(skb.buf, skb.data, dev.mac, dev.mac, skb.protocol);
  dev.deliver(skb);
}
