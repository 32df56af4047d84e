/** The first packet of a flow, as bytes in a packet buffer: a SYN, a datagram, or an SCTP INIT. */
import type { World } from "../../dataplane/host/world.ts";
import { PACKET_HOST, type Skb } from "../../dataplane/skb/skb.ts";
import { setU8 } from "../../dataplane/wire/bytes.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { formatIpv4, type Ipv4Addr, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import * as sctp from "../../dataplane/wire/sctp.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import * as udp from "../../dataplane/wire/udp.ts";
import { InputError } from "../manifests/input-error.ts";

export type Flow = {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly src: Ipv4Addr;
  readonly srcPort: number;
  readonly dst: Ipv4Addr;
  readonly dstPort: number;
};

const PROTOCOLS: Readonly<Record<Flow["protocol"], number>> = {
  TCP: ipv4.PROTO_TCP,
  UDP: ipv4.PROTO_UDP,
  SCTP: ipv4.PROTO_SCTP,
};

/** Common header 12 and an INIT chunk of 20 octets. */
const SCTP_INIT = 32;

/** Reads "TCP 10.1.0.5:40000 > 10.96.0.1:443". Throws InputError naming where the text came from. */
export function parseFlow(text: string, file: string, line: number): Flow {
  const match = /^(tcp|udp|sctp)\s+([0-9.]+):([0-9]+)\s*(?:>|→|->)\s*([0-9.]+):([0-9]+)$/i.exec(text.trim());
  const [src, dst] = [parseIpv4(match?.[2] ?? ""), parseIpv4(match?.[4] ?? "")];
  const [srcPort, dstPort] = [Number(match?.[3]), Number(match?.[5])];
  if (match === null || src === undefined || dst === undefined || !isPort(srcPort) || !isPort(dstPort)) {
    const expected = "PROTOCOL ADDRESS:PORT > ADDRESS:PORT, such as TCP 10.1.0.5:40000 > 10.96.0.1:443";
    throw new InputError({ file, line, field: "flow", found: JSON.stringify(text.trim()), expected });
  }
  return { protocol: (match[1] ?? "").toUpperCase() as Flow["protocol"], src, srcPort, dst, dstPort };
}

export function formatFlow(flow: Flow): string {
  return `${flow.protocol} ${formatIpv4(flow.src)}:${flow.srcPort} > ${formatIpv4(flow.dst)}:${flow.dstPort}`;
}

function isPort(n: number): boolean {
  return Number.isInteger(n) && n >= 1 && n <= 65535;
}

/** `skb.data` is at the IPv4 header, checksums are complete. */
export function firstPacket(flow: Flow, world: World): Skb {
  const length = flow.protocol === "TCP" ? tcp.HEADER_LEN : flow.protocol === "UDP" ? udp.HEADER_LEN : SCTP_INIT;
  const skb = world.pool.alloc(ipv4.HEADER_LEN + length);
  const b = skb.buf;
  const at = skb.data;
  const off = at + ipv4.HEADER_LEN;
  skb.network = at;
  skb.transport = off;
  skb.end = off + length;
  skb.protocol = ethernet.ETH_P_IP;
  skb.pktType = PACKET_HOST;
  b.fill(0, at, skb.end);
  const { src, dst, srcPort, dstPort } = flow;
  if (flow.protocol === "TCP") {
    tcp.write(b, off, srcPort, dstPort, 1, 0, tcp.HEADER_LEN, tcp.SYN, 64240);
    tcp.fillChecksum4(b, off, length, src, dst);
  } else if (flow.protocol === "UDP") {
    udp.write(b, off, srcPort, dstPort, length);
    udp.fillChecksum4(b, off, length, src, dst);
  } else {
    // Ports stand where UDP has them; then the INIT chunk's type and length (RFC 9260 section 3.3.2).
    udp.write(b, off, srcPort, dstPort, 0);
    setU8(b, off + 12, 1);
    setU8(b, off + 15, SCTP_INIT - 12);
    sctp.fillChecksum(b, off, length);
  }
  ipv4.write(b, at, ipv4.HEADER_LEN + length, 1, ipv4.FLAG_DF, 64, PROTOCOLS[flow.protocol], src, dst, 0);
  return skb;
}
