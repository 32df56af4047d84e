/** `-m icmp` (ip_tables.c, icmp_match): type and code. */
import { u8 } from "../../wire/bytes.ts";
import { HEADER_LEN } from "../../wire/icmpv4.ts";
import { PROTO_ICMP } from "../../wire/ipv4.ts";
import { type Options, opt, parseNumber } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type IcmpMatch = {
  readonly kind: "icmp";
  /** 255 is any. */
  readonly type: number;
  readonly minCode: number;
  readonly maxCode: number;
  readonly not: boolean;
};

const ANY = 255;

/** Names, with a type and perhaps a code. */
const NAMES: Readonly<Record<string, readonly [number, number?]>> = {
  any: [ANY],
  "echo-reply": [0],
  pong: [0],
  "destination-unreachable": [3],
  "network-unreachable": [3, 0],
  "host-unreachable": [3, 1],
  "protocol-unreachable": [3, 2],
  "port-unreachable": [3, 3],
  "fragmentation-needed": [3, 4],
  "source-route-failed": [3, 5],
  "network-unknown": [3, 6],
  "host-unknown": [3, 7],
  "network-prohibited": [3, 9],
  "host-prohibited": [3, 10],
  "TOS-network-unreachable": [3, 11],
  "TOS-host-unreachable": [3, 12],
  "communication-prohibited": [3, 13],
  "host-precedence-violation": [3, 14],
  "precedence-cutoff": [3, 15],
  "source-quench": [4],
  redirect: [5],
  "network-redirect": [5, 0],
  "host-redirect": [5, 1],
  "TOS-network-redirect": [5, 2],
  "TOS-host-redirect": [5, 3],
  "echo-request": [8],
  ping: [8],
  "router-advertisement": [9],
  "router-solicitation": [10],
  "time-exceeded": [11],
  "ttl-exceeded": [11],
  "ttl-zero-during-transit": [11, 0],
  "ttl-zero-during-reassembly": [11, 1],
  "parameter-problem": [12],
  "ip-header-bad": [12, 0],
  "required-option-missing": [12, 1],
  "timestamp-request": [13],
  "timestamp-reply": [14],
  "address-mask-request": [17],
  "address-mask-reply": [18],
};

function parseType(o: Options, text: string): readonly [number, number?] {
  if (Object.hasOwn(NAMES, text)) return NAMES[text] ?? [ANY];
  const [type = "", code] = text.split("/");
  const t = parseNumber(type);
  const c = code === undefined ? undefined : parseNumber(code);
  if (t === undefined || t > 255 || (code !== undefined && (c === undefined || c > 255))) {
    return o.fail(`option --icmp-type: "${text}" is not an ICMP type`);
  }
  return c === undefined ? [t] : [t, c];
}

export const icmpMatch: MatchModule<IcmpMatch> = {
  name: "icmp",
  options: { "--icmp-type": { args: 1, not: true } },
  parse(o) {
    o.needProto([PROTO_ICMP], "-p icmp");
    const [type, code] = parseType(o, o.text("--icmp-type") ?? "any");
    return { kind: "icmp", type, minCode: code ?? 0, maxCode: code ?? 255, not: o.not("--icmp-type") };
  },
  print(m) {
    if (m.type === ANY) return opt(m.not, "--icmp-type", "any");
    return opt(m.not, "--icmp-type", m.minCode === m.maxCode ? `${m.type}/${m.minCode}` : m.type);
  },
  test(m, p) {
    if (p.fragment !== 0) return false;
    if (p.end - p.transport < HEADER_LEN) {
      p.hotdrop = true;
      return false;
    }
    const code = u8(p.b, p.transport + 1);
    const same = m.type === ANY || (u8(p.b, p.transport) === m.type && code >= m.minCode && code <= m.maxCode);
    return same !== m.not;
  },
};
