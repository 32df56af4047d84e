/** One case of the differential over rules: a ruleset and frames, what the emulator makes of them, and how that is compared. */
import { packets, packets6, type RandomPacket } from "../../dataplane/netfilter/random-rules.ts";
import { Bench, type PacketSpec } from "../../dataplane/netfilter/testing.ts";
import { fillAt } from "../../dataplane/wire/checksum.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../../dataplane/wire/ethernet.ts";
import * as icmpv6 from "../../dataplane/wire/icmpv6.ts";
import { dstAt, pseudo, srcAt } from "../../dataplane/wire/ip-header.ts";
import { formatIp } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import { formatFrame } from "../../dataplane/wire/print.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import { ether } from "./frames.ts";
import { EmulatedRouter, FAR_MAC, type Outcome, ROUTER_MAC, SIDES, type Side, type SideFrame } from "./rules-lab.ts";
import { difference, Excuses } from "./same-frame.ts";

export { packets, packets6, type RandomPacket };

/** Builds packets; nothing of it is asked anything else. */
const builder = new Bench();

/** Verification tags of SCTP are not tracked here, so what its connections are is not Linux's: another protocol stands for it. */
function plain(spec: PacketSpec): PacketSpec {
  return { ...spec, proto: spec.proto === "sctp" ? 200 : (spec.proto ?? "udp"), mark: 0 };
}

/** The packet in a frame, with whatever is short or wrong about it told truly by the headers around. */
function frameOf(spec: PacketSpec, p: RandomPacket): SideFrame {
  const skb = builder.packet(spec);
  const b = skb.buf;
  const { network, transport } = skb;
  const six = spec.src?.includes(":") === true;
  skb.end -= Math.min(p.cut, skb.end - transport);
  const len = skb.end - network;
  if (six) ipv6.setPayloadLen(b, network, len - ipv6.HEADER_LEN);
  else {
    ipv4.setTotalLen(b, network, len);
    ipv4.fillChecksum(b, network);
  }
  if (spec.proto === "tcp" && p.cut === 0) {
    if (p.offset >= 0) tcp.setDataOffset(b, transport, p.offset * 4);
    const segment = skb.end - transport;
    const sum = pseudo(srcAt(b, network), dstAt(b, network), ipv4.PROTO_TCP, segment);
    fillAt(b, transport + tcp.CHECKSUM, transport, segment, sum);
  }
  const packet = b.slice(network, skb.end);
  builder.world.pool.free(skb);
  const side: Side = /^(10\.1\.|fd00:1:)/.test(spec.src ?? "") ? "o" : "i";
  return { side, bytes: ether(ROUTER_MAC[side], FAR_MAC[side], six ? ETH_P_IPV6 : ETH_P_IP, packet) };
}

/** The packet that answers the one in a frame. */
function answer(frame: SideFrame, spec: PacketSpec): PacketSpec {
  const b = frame.bytes;
  const at = 14;
  const six = ipv4.version(b, at) === 6;
  const th = six ? ipv6.transportOffset(b, at, b.length) : at + ipv4.headerLen(b, at);
  const word = (o: number): number => ((b[o] ?? 0) << 8) | (b[o + 1] ?? 0);
  const ends = { src: formatIp(dstAt(b, at)), dst: formatIp(srcAt(b, at)), fragment: 0 };
  if (spec.proto === "icmp" || spec.proto === "icmpv6")
    return { ...spec, ...ends, type: six ? icmpv6.ECHO_REPLY : 0, id: word(th + 4) };
  return { ...spec, ...ends, sport: word(th + 2), dport: word(th), flags: tcp.SYN | tcp.ACK };
}

/**
 * The frames to send: answers answer what came out in the emulator. The list ends before the first packet of which another
 * seed makes something else: what chance decides cannot be compared.
 */
export function framesOf(rules: string, list: readonly RandomPacket[], six = false): SideFrame[] {
  const router = new EmulatedRouter(rules, "indexed", six, 1);
  const other = new EmulatedRouter(rules, "indexed", six, 2);
  const frames: SideFrame[] = [];
  let last: { frame: SideFrame; spec: PacketSpec } | null = null;
  for (const [i, p] of list.entries()) {
    // A source port of its own for each flow: else two flows of one tuple clash, and a port is drawn.
    const spec: PacketSpec =
      p.reply && last !== null
        ? answer(last.frame, last.spec)
        : plain({ ...p.spec, sport: (p.spec.sport ?? 0) + 7 * i });
    const frame = frameOf(spec, p);
    const back = router.send(frame);
    if (!same(back, other.send(frame))) break;
    frames.push(frame);
    const passed = back.find((f) => protocolIn(f) === protocolIn(frame));
    if (passed !== undefined && p.cut === 0) last = { frame: passed, spec };
  }
  return frames;
}

function protocolIn({ bytes }: SideFrame): number {
  const six = ipv4.version(bytes, 14) === 6;
  return six ? ipv6.transportProtocol(bytes, 14, bytes.length) : ipv4.protocol(bytes, 14);
}

function same(a: readonly SideFrame[], b: readonly SideFrame[]): boolean {
  return (
    a.length === b.length &&
    a.every((f, i) => f.side === b[i]?.side && Buffer.from(f.bytes).equals(Buffer.from(b[i]?.bytes ?? [])))
  );
}

export function emulate(
  rules: string,
  frames: readonly SideFrame[],
  evaluator: "indexed" | "linear",
  six = false,
): Outcome {
  const router = new EmulatedRouter(rules, evaluator, six);
  for (const frame of frames) router.send(frame);
  return router.outcome();
}

/** Nothing where both agree, else what does not. */
export function compareOutcomes(linux: Outcome, ours: Outcome): string {
  const lines: string[] = [];
  const excuses = new Excuses();
  for (const side of SIDES) {
    const [k, o] = [linux, ours].map((x) => x.frames.filter((f) => f.side === side)) as [SideFrame[], SideFrame[]];
    for (let i = 0; i < Math.max(k.length, o.length); i++) {
      const [theirs, mine] = [k[i], o[i]];
      const why =
        theirs === undefined
          ? "not sent by Linux"
          : mine === undefined
            ? "not sent by the emulator"
            : difference(theirs.bytes.slice(), mine.bytes, excuses);
      if (why === null) continue;
      lines.push(`${side} ${i + 1}: ${why}`, `  Linux    ${show(theirs)}`, `  emulator ${show(mine)}`);
      break;
    }
  }
  for (const rule of new Set([...Object.keys(linux.counters), ...Object.keys(ours.counters)])) {
    const [theirs, mine] = [linux.counters[rule], ours.counters[rule]];
    if (theirs !== mine) lines.push(`${rule}: [${theirs}] in Linux, [${mine}] here`);
  }
  return lines.join("\n");
}

export function show(frame: SideFrame | undefined): string {
  return frame === undefined ? "–" : formatFrame(frame.bytes, 0, frame.bytes.length);
}
