/** `-m icmp6` (ip6_tables.c, icmp6_match): type and code of ICMPv6. */
import { u8 } from "../../wire/bytes.ts";
import { HEADER_LEN } from "../../wire/icmpv6.ts";
import { type Options, opt, parseNumber } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type Icmp6Match = {
  readonly kind: "icmp6";
  readonly type: number;
  readonly minCode: number;
  readonly maxCode: number;
  readonly not: boolean;
};

const PROTO_ICMPV6 = 58;

/** Names, with a type and perhaps a code. */
const NAMES: Readonly<Record<string, readonly [number, number?]>> = {
  "destination-unreachable": [1],
  "no-route": [1, 0],
  "communication-prohibited": [1, 1],
  "beyond-scope": [1, 2],
  "address-unreachable": [1, 3],
  "port-unreachable": [1, 4],
  "failed-policy": [1, 5],
  "reject-route": [1, 6],
  "packet-too-big": [2],
  "time-exceeded": [3],
  "ttl-exceeded": [3],
  "ttl-zero-during-transit": [3, 0],
  "ttl-zero-during-reassembly": [3, 1],
  "parameter-problem": [4],
  "bad-header": [4, 0],
  "unknown-header-type": [4, 1],
  "unknown-option": [4, 2],
  "echo-request": [128],
  ping: [128],
  "echo-reply": [129],
  pong: [129],
  "router-solicitation": [133],
  "router-advertisement": [134],
  "neighbour-solicitation": [135],
  "neighbor-solicitation": [135],
  "neighbour-advertisement": [136],
  "neighbor-advertisement": [136],
  redirect: [137],
};

function parseType(o: Options, text: string): readonly [number, number?] {
  if (Object.hasOwn(NAMES, text)) return NAMES[text] ?? [0];
  const [type = "", code] = text.split("/");
  const t = parseNumber(type);
  const c = code === undefined ? undefined : parseNumber(code);
  if (t === undefined || t > 255 || (code !== undefined && (c === undefined || c > 255)))
    return o.fail(`option --icmpv6-type: "${text}" is not an ICMPv6 type`);
  return c === undefined ? [t] : [t, c];
}

export const icmp6Match: MatchModule<Icmp6Match> = {
  name: "icmp6",
  options: { "--icmpv6-type": { args: 1, not: true } },
  parse(o) {
    o.needProto([PROTO_ICMPV6], "-p ipv6-icmp");
    const [type, code] = parseType(o, o.need("--icmpv6-type"));
    return { kind: "icmp6", type, minCode: code ?? 0, maxCode: code ?? 255, not: o.not("--icmpv6-type") };
  },
  print: (m) => opt(m.not, "--icmpv6-type", m.minCode === m.maxCode ? `${m.type}/${m.minCode}` : m.type),
  test(m, p) {
    if (p.fragment !== 0) return false;
    if (p.end - p.transport < HEADER_LEN) {
      p.hotdrop = true;
      return false;
    }
    const code = u8(p.b, p.transport + 1);
    return (u8(p.b, p.transport) === m.type && code >= m.minCode && code <= m.maxCode) !== m.not;
  },
};
