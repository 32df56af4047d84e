/** `-m tcp` (net/netfilter/xt_tcpudp.c): ports, flags, and whether an option is there. */
import { u8 } from "../../wire/bytes.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import * as tcp from "../../wire/tcp.ts";
import { type Options, opt } from "../options.ts";
import type { MatchModule } from "./module.ts";
import { PORT_OPTIONS, type Ports, parsePorts, printPorts, testPorts } from "./ports.ts";

export type TcpMatch = {
  readonly kind: "tcp";
  /** The flags that are looked at, and those of them that must be set; a mask of 0 asks nothing. */
  readonly flagMask: number;
  readonly flags: number;
  readonly notFlags: boolean;
  /** A TCP option's kind; 0 asks nothing. */
  readonly option: number;
  readonly notOption: boolean;
} & Ports;

const FLAGS: readonly (readonly [string, number])[] = [
  ["FIN", tcp.FIN],
  ["SYN", tcp.SYN],
  ["RST", tcp.RST],
  ["PSH", tcp.PSH],
  ["ACK", tcp.ACK],
  ["URG", tcp.URG],
];
const ALL = 0x3f;
const SYN_MASK = tcp.FIN | tcp.SYN | tcp.RST | tcp.ACK;

function parseFlags(o: Options, text: string): number {
  let bits = 0;
  for (const word of text.split(",")) {
    const name = word.toUpperCase();
    const bit = name === "ALL" ? ALL : name === "NONE" ? 0 : FLAGS.find(([f]) => f === name)?.[1];
    if (bit === undefined) return o.fail(`option --tcp-flags: "${word}" is not a flag`);
    bits |= bit;
  }
  return bits;
}

function printFlags(bits: number): string {
  const names = FLAGS.filter(([, bit]) => (bits & bit) !== 0).map(([name]) => name);
  return names.length === 0 ? "NONE" : names.join(",");
}

export const tcpMatch: MatchModule<TcpMatch> = {
  name: "tcp",
  options: {
    ...PORT_OPTIONS,
    "--tcp-flags": { args: 2, not: true },
    "--syn": { args: 0, not: true },
    "--tcp-option": { args: 1, not: true },
  },
  parse(o) {
    o.needProto([PROTO_TCP], "-p tcp");
    if (o.has("--syn") && o.has("--tcp-flags")) o.fail("options --syn and --tcp-flags exclude each other");
    const syn = o.has("--syn");
    const masked = o.has("--tcp-flags");
    return {
      kind: "tcp",
      ...parsePorts(o),
      flagMask: syn ? SYN_MASK : masked ? parseFlags(o, o.need("--tcp-flags", 0)) : 0,
      flags: syn ? tcp.SYN : masked ? parseFlags(o, o.need("--tcp-flags", 1)) : 0,
      notFlags: syn ? o.not("--syn") : o.not("--tcp-flags"),
      option: o.number("--tcp-option", 1, 255) ?? 0,
      notOption: o.not("--tcp-option"),
    };
  },
  print(m) {
    const option = m.option === 0 ? "" : opt(m.notOption, "--tcp-option", m.option);
    const asked = m.flagMask !== 0 || m.notFlags;
    const flags = asked ? opt(m.notFlags, "--tcp-flags", `${printFlags(m.flagMask)} ${printFlags(m.flags)}`) : "";
    return printPorts(m) + option + flags;
  },
  test(m, p) {
    if (!testPorts(m, p, tcp.HEADER_LEN)) return false;
    if ((m.flagMask !== 0 || m.notFlags) && ((tcp.flags(p.b, p.transport) & m.flagMask) === m.flags) === m.notFlags) {
      return false;
    }
    if (m.option === 0) return true;
    const head = tcp.dataOffset(p.b, p.transport);
    if (head < tcp.HEADER_LEN || p.end - p.transport < head) {
      p.hotdrop = true;
      return false;
    }
    return hasOption(p.b, p.transport + tcp.HEADER_LEN, p.transport + head, m.option) !== m.notOption;
  },
};

function hasOption(b: Uint8Array, from: number, end: number, kind: number): boolean {
  for (let i = from; i < end; ) {
    const k = u8(b, i);
    if (k === kind) return true;
    if (k === tcp.OPT_EOL || k === tcp.OPT_NOP || i + 1 >= end) i++;
    else i += u8(b, i + 1) || 1;
  }
  return false;
}
