/**
 * Follows one packet and its answer through the emulator, as an Observer of its world: the first packet that fits what was
 * asked becomes the traced one; the first that its receiver sends back, or an error about it, is the reply. Where a relay
 * receives it (kube-proxy in userspace mode), what the relay sends on continues its way.
 */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { Skb } from "../../dataplane/skb/skb.ts";
import type { Observer, PacketTrace, TraceStep } from "../../dataplane/skb/trace.ts";
import { u16 } from "../../dataplane/wire/bytes.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { formatIp, formatIpPort, key6At } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import * as udp from "../../dataplane/wire/udp.ts";
import * as vxlan from "../../dataplane/wire/vxlan.ts";

/** Which packet to follow: the first one from this namespace to this address, protocol and (with ports) port. */
export type Probe = {
  readonly ns: NetNs;
  readonly protocol: number;
  readonly address: number;
  /** 0 where the protocol has none. */
  readonly port: number;
};

/** The addresses and ports of a packet at one moment, and of what it carries if it is a tunnel's. */
export type Tuple = {
  readonly protocol: number;
  readonly src: number;
  readonly srcPort: number;
  readonly dst: number;
  readonly dstPort: number;
  readonly inner: Tuple | null;
};

/** Whether what is delivered in a namespace, to this protocol and port, is passed on by who listens there. */
export type Relays = (ns: NetNs, protocol: number, port: number) => boolean;

export type Event = { readonly ns: NetNs; readonly step: TraceStep; readonly tuple: Tuple; readonly time: number };

/** What happened to one packet. */
export class Track implements PacketTrace {
  readonly events: Event[] = [];
  readonly #answers: (track: Track) => boolean;

  constructor(answers: (track: Track) => boolean) {
    this.#answers = answers;
  }

  report(ns: NetNs, skb: Skb, step: TraceStep): void {
    this.events.push({ ns, step, tuple: tupleOf(skb.buf, skb.network, skb.end), time: ns.world.loop.time });
  }

  answer(): PacketTrace | null {
    const track = new Track(() => false);
    return this.#answers(track) ? track : null;
  }

  /** The last event of a kind. */
  last(step: TraceStep["step"]): Event | undefined {
    return this.events.findLast((e) => e.step.step === step);
  }
}

export class Tracer implements Observer {
  readonly #probe: Probe;
  readonly #relays: Relays;
  forward: Track | null = null;
  reply: Track | null = null;

  constructor(probe: Probe, relays: Relays) {
    this.#probe = probe;
    this.#relays = relays;
  }

  /** Whether a relay got the packet and nobody after it. */
  get heldByRelay(): boolean {
    const last = this.forward?.last("deliver");
    return last !== undefined && this.#relays(last.ns, last.tuple.protocol, last.tuple.dstPort);
  }

  attach(ns: NetNs, skb: Skb): PacketTrace | null {
    if (this.forward === null) {
      const t = tupleOf(skb.buf, skb.network, skb.end);
      const { ns: from, protocol, address, port } = this.#probe;
      if (ns !== from || t.protocol !== protocol || t.dst !== address || (port !== 0 && t.dstPort !== port))
        return null;
      this.forward = new Track((track) => this.#takeReply(track));
      return this.forward;
    }
    const delivered = this.forward.last("deliver");
    if (delivered === undefined || delivered.ns !== ns) return null;
    const sent = delivered.tuple;
    const t = tupleOf(skb.buf, skb.network, skb.end);
    if (this.heldByRelay) {
      // What it says to the client itself leaves from the port that it listens on.
      if (t.protocol !== sent.protocol || t.srcPort === sent.dstPort) return null;
      this.reply = null;
      return this.forward;
    }
    if (this.reply !== null) return null;
    const back = t.protocol === sent.protocol && t.src === sent.dst && t.dst === sent.src;
    if (!back || t.srcPort !== sent.dstPort || t.dstPort !== sent.srcPort) return null;
    this.reply = new Track(() => false);
    return this.reply;
  }

  #takeReply(track: Track): boolean {
    if (this.reply !== null) return false;
    this.reply = track;
    return true;
  }
}

/** Reads a packet from its IP header on. */
export function tupleOf(b: Uint8Array, at: number, end: number): Tuple {
  if (end - at >= ipv6.HEADER_LEN && ipv6.version(b, at) === 6) return tupleOf6(b, at, end);
  if (end - at < ipv4.HEADER_LEN) return { protocol: 0, src: 0, srcPort: 0, dst: 0, dstPort: 0, inner: null };
  const protocol = ipv4.protocol(b, at);
  const th = at + ipv4.headerLen(b, at);
  const ported = protocol === ipv4.PROTO_TCP || protocol === ipv4.PROTO_UDP || protocol === ipv4.PROTO_SCTP;
  const readable = ported && end - th >= 4 && ipv4.fragmentOffset(b, at) === 0;
  const srcPort = readable ? u16(b, th) : 0;
  const dstPort = readable ? u16(b, th + 2) : 0;
  const inner = protocol === ipv4.PROTO_UDP ? carriedBy(b, th, dstPort, end) : null;
  return { protocol, src: ipv4.src(b, at), srcPort, dst: ipv4.dst(b, at), dstPort, inner };
}

/** The packet that a tunnel's datagram carries; null for other datagrams. */
function carriedBy(b: Uint8Array, th: number, dstPort: number, end: number): Tuple | null {
  const frame = th + udp.HEADER_LEN + vxlan.HEADER_LEN;
  const at = frame + ethernet.HEADER_LEN;
  if ((dstPort !== vxlan.PORT_LINUX && dstPort !== vxlan.PORT) || end <= at) return null;
  const type = ethernet.etherType(b, frame);
  return type === ethernet.ETH_P_IP || type === ethernet.ETH_P_IPV6 ? tupleOf(b, at, end) : null;
}

function tupleOf6(b: Uint8Array, at: number, end: number): Tuple {
  const protocol = ipv6.transportProtocol(b, at, end);
  const th = ipv6.transportOffset(b, at, end);
  const ported = protocol === ipv4.PROTO_TCP || protocol === ipv4.PROTO_UDP || protocol === ipv4.PROTO_SCTP;
  const readable = ported && end - th >= 4;
  const srcPort = readable ? u16(b, th) : 0;
  const dstPort = readable ? u16(b, th + 2) : 0;
  const inner = protocol === ipv4.PROTO_UDP && readable ? carriedBy(b, th, dstPort, end) : null;
  return { protocol, src: key6At(b, at + ipv6.SRC), srcPort, dst: key6At(b, at + ipv6.DST), dstPort, inner };
}

/** "10.0.0.1:40000 → 10.0.0.2:80", with what it carries in ⟦⟧. */
export function formatTuple(t: Tuple): string {
  const side = (address: number, port: number): string =>
    port === 0 ? formatIp(address) : formatIpPort(address, port);
  const text = `${side(t.src, t.srcPort)} → ${side(t.dst, t.dstPort)}`;
  return t.inner === null ? text : `${text} ⟦${formatTuple(t.inner)}⟧`;
}

export function sameTuple(a: Tuple, b: Tuple): boolean {
  if (a.src !== b.src || a.dst !== b.dst || a.srcPort !== b.srcPort || a.dstPort !== b.dstPort) return false;
  return a.inner === null || b.inner === null ? a.inner === b.inner : sameTuple(a.inner, b.inner);
}
