/** For tests: one host with two dummy links, rules on it, and packets put through a hook by hand. */
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import type { NetNs } from "../netns/netns.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { Skb } from "../skb/skb.ts";
import type { PacketTrace, TracedRule, TraceStep } from "../skb/trace.ts";
import { copy, setU32 } from "../wire/bytes.ts";
import { fillAt } from "../wire/checksum.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import { headerLenOf, pseudo } from "../wire/ip-header.ts";
import { type IpKey, isKey6, octets6, parseIp } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import * as sctp from "../wire/sctp.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { HOOK_NAMES } from "./hooks.ts";
import type { SetType } from "./ipset.ts";
import type { IptablesNetfilter } from "./netfilter.ts";
import { ensureNetfilter, netfilter6Of, netfilterOf } from "./restore-op.ts";

export type PacketSpec = {
  /** Addresses say of which family it is. */
  readonly proto?: "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | number;
  readonly src?: string;
  readonly dst?: string;
  readonly sport?: number;
  readonly dport?: number;
  /** TCP flags, and sequence numbers. */
  readonly flags?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly window?: number;
  readonly options?: readonly tcp.TcpOption[];
  readonly type?: number;
  readonly code?: number;
  readonly id?: number;
  /** The SCTP chunk, its flags, the packet's verification tag, and the tag that an INIT or INIT ACK announces. */
  readonly chunk?: number;
  readonly chunkFlags?: number;
  readonly tag?: number;
  readonly initTag?: number;
  readonly payload?: number | Uint8Array;
  readonly ttl?: number;
  readonly tos?: number;
  readonly fragment?: number;
  readonly mark?: number;
};

const NUMBERS = {
  tcp: ipv4.PROTO_TCP,
  udp: ipv4.PROTO_UDP,
  icmp: ipv4.PROTO_ICMP,
  icmpv6: ipv4.PROTO_ICMPV6,
  sctp: ipv4.PROTO_SCTP,
} as const;

function addr(text: string): IpKey {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

/** Where the checksum is. */
const CHECKSUMS: Readonly<Record<number, number>> = {
  [ipv4.PROTO_UDP]: udp.CHECKSUM,
  [ipv4.PROTO_TCP]: tcp.CHECKSUM,
  [ipv4.PROTO_ICMP]: icmpv4.CHECKSUM,
  [ipv4.PROTO_ICMPV6]: icmpv4.CHECKSUM,
};
const FRAGMENT_HEADER_LEN = 8;

/** The header in front of the transport's, with a fragment header where the packet is to be a later fragment. */
function writeIpv6(skb: Skb, proto: number, src: IpKey, dst: IpKey, spec: PacketSpec): void {
  const { buf: b, network: at } = skb;
  const payload = skb.end - at - ipv6.HEADER_LEN;
  const [next, extra] = skb.transport > at + ipv6.HEADER_LEN ? [ipv6.NEXT_FRAGMENT, spec.fragment ?? 0] : [proto, 0];
  ipv6.write(b, at, payload, next, spec.ttl ?? 64, octets6(src), octets6(dst), spec.tos ?? 0, 0);
  if (extra > 0) b.set([proto, 0, extra >> 8, extra & 0xf8, 0, 0, 0, 1], at + ipv6.HEADER_LEN);
}

/** Octets behind the head of an INIT and an INIT ACK (RFC 9260 section 3.3.2). */
const INIT_LEN = 16;

/** A chunk, with so many octets of payload to follow. Answers its length without them. */
function writeChunk(b: Uint8Array, at: number, spec: PacketSpec, payload: number): number {
  const type = spec.chunk ?? sctp.INIT;
  const len = 4 + (type === sctp.INIT || type === sctp.INIT_ACK ? INIT_LEN : 0);
  b.fill(0, at, at + len);
  b.set([type, spec.chunkFlags ?? 0, 0, len + payload], at);
  if (len > 4) setU32(b, at + 4, spec.initTag ?? 1);
  return len;
}

export class Bench {
  readonly world: World;
  readonly host: Host;
  readonly ns: NetNs;
  readonly #six: boolean;

  /** `six`: rules and sets are those of IPv6. */
  constructor(seed = 1, six = false) {
    this.#six = six;
    this.world = new World(seed);
    this.host = new Host(this.world, "node");
    this.ns = this.host.root;
    applyOps(this.host, [
      { op: "link.add", netns: "host", name: "eth0", kind: "dummy", up: true },
      { op: "link.add", netns: "host", name: "eth1", kind: "dummy", up: true },
      { op: "addr.add", netns: "host", dev: "eth0", address: "10.0.0.1/24" },
      { op: "addr.add", netns: "host", dev: "eth1", address: "10.1.0.1/24" },
    ]);
    if (!six) return;
    applyOps(this.host, [
      { op: "addr.add", netns: "host", dev: "eth0", address: "fd00::1/64" },
      { op: "addr.add", netns: "host", dev: "eth1", address: "fd00:1::1/64" },
    ]);
  }

  restore(text: string, noflush = true): void {
    const family = this.#six ? "ipv6" : "ipv4";
    applyOps(this.host, [{ op: "iptables.restore", netns: "host", family, text, noflush, source: "rules" }]);
  }

  get nf(): IptablesNetfilter {
    const nf = this.#six ? netfilter6Of(this.ns) : netfilterOf(this.ns);
    if (nf === null) throw new Error("there are no rules");
    return nf;
  }

  set(name: string, type: SetType, entries: readonly string[]): void {
    const set = ensureNetfilter(this.ns, this.#six).state.sets.create(name, type, { six: this.#six });
    for (const entry of entries) if (!set.add(entry)) throw new Error(`set ${name} does not take ${entry}`);
  }

  /** A packet with all its checksums. */
  packet(spec: PacketSpec): Skb {
    const payload =
      typeof spec.payload === "number" ? new Uint8Array(spec.payload) : (spec.payload ?? new Uint8Array(0));
    const src = addr(spec.src ?? "10.0.0.2");
    const dst = addr(spec.dst ?? "10.1.0.2");
    const six = isKey6(dst);
    const proto = typeof spec.proto === "number" ? spec.proto : NUMBERS[spec.proto ?? "udp"];
    const skb = this.world.pool.alloc(120 + payload.length);
    const b = skb.buf;
    skb.network = skb.data;
    skb.transport = skb.data + headerLenOf(dst) + (six && (spec.fragment ?? 0) > 0 ? FRAGMENT_HEADER_LEN : 0);
    const th = skb.transport;
    const ports = { srcPort: spec.sport ?? 1000, dstPort: spec.dport ?? 80 };
    let len = 0;
    if (proto === ipv4.PROTO_UDP) {
      len = udp.emit({ ...ports, length: udp.HEADER_LEN + payload.length }, b, th);
    } else if (proto === ipv4.PROTO_TCP) {
      const { flags = tcp.SYN, seq = 0, ack = 0, window = 65535, options = [] } = spec;
      len = tcp.emit({ ...ports, seq, ack, flags, window, urgent: 0, options }, b, th);
    } else if (proto === ipv4.PROTO_ICMP || proto === ipv4.PROTO_ICMPV6) {
      len = icmpv4.emit(
        { type: spec.type ?? (six ? 128 : 8), code: spec.code ?? 0, rest: (spec.id ?? 7) * 0x10000 + 1 },
        b,
        th,
      );
    } else if (proto === ipv4.PROTO_SCTP) {
      len = sctp.HEADER_LEN;
      b.fill(0, th, th + sctp.MIN_LEN);
      sctp.setSrcPort(b, th, ports.srcPort);
      sctp.setDstPort(b, th, ports.dstPort);
      sctp.setVerificationTag(b, th, spec.tag ?? 0);
      len += writeChunk(b, th + len, spec, payload.length);
    }
    copy(b, th + len, payload, 0, payload.length);
    len += payload.length;
    skb.end = th + len;
    const sum = six || proto === ipv4.PROTO_TCP || proto === ipv4.PROTO_UDP ? pseudo(src, dst, proto, len) : 0;
    const field = CHECKSUMS[proto];
    if (proto === ipv4.PROTO_SCTP) sctp.fillChecksum(b, th, len);
    else if (field !== undefined) fillAt(b, th + field, th, len, sum);
    if (proto === ipv4.PROTO_UDP && udp.checksum(b, th) === 0) udp.setChecksum(b, th, 0xffff);
    const fragment = spec.fragment ?? 0;
    if (six) writeIpv6(skb, proto, src, dst, spec);
    else {
      const total = ipv4.HEADER_LEN + len;
      ipv4.write(b, skb.network, total, 1, fragment >> 3, spec.ttl ?? 64, proto, src, dst, spec.tos ?? 0);
      ipv4.fillChecksum(b, skb.network);
    }
    skb.mark = spec.mark ?? 0;
    return skb;
  }

  /** What a hook says to a packet; the devices by name, "" for none. */
  hook(hook: number, skb: Skb, input = "eth0", output = ""): number {
    const dev = (name: string) => (name === "" ? null : (this.ns.dev(name) ?? null));
    return this.nf.hook(this.ns, hook, skb, dev(input), dev(output));
  }

  /** The same, with the step that a trace shows. */
  traced(hook: number, skb: Skb, input = "eth0", output = ""): Extract<TraceStep, { step: "hook" }> {
    let seen: TraceStep | null = null;
    const trace: PacketTrace = {
      report(_ns, _skb, step) {
        seen = step;
      },
      answer: () => null,
    };
    skb.trace = trace;
    this.hook(hook, skb, input, output);
    skb.trace = null;
    if (seen === null) throw new Error(`hook ${HOOK_NAMES[hook]} reported nothing`);
    return seen as Extract<TraceStep, { step: "hook" }>;
  }
}

/** "table CHAIN number" of each rule. */
export function places(rules: readonly TracedRule[]): string[] {
  return rules.map((r) => `${r.table} ${r.chain} ${r.number}`);
}

/** "src:port → dst:port" as the packet stands. */
export function flow(skb: Skb): string {
  const b = skb.buf;
  const text = (a: number) => `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
  const th = skb.transport;
  const port = (at: number) => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0);
  return `${text(ipv4.src(b, skb.network))}:${port(th)} → ${text(ipv4.dst(b, skb.network))}:${port(th + 2)}`;
}

/** Whether all checksums of a TCP, UDP, ICMP or SCTP packet are right. */
export function checksumsRight(skb: Skb): boolean {
  const b = skb.buf;
  const at = skb.network;
  const th = skb.transport;
  const len = skb.end - th;
  if (ipv4.check(b, at, skb.end) !== 0) return false;
  const [src, dst] = [ipv4.src(b, at), ipv4.dst(b, at)];
  switch (ipv4.protocol(b, at)) {
    case ipv4.PROTO_TCP:
      return tcp.verify4(b, th, len, src, dst);
    case ipv4.PROTO_UDP:
      return udp.verify4(b, th, len, src, dst);
    case ipv4.PROTO_SCTP:
      return sctp.verify(b, th, len);
    default:
      return icmpv4.verify(b, th, len);
  }
}
