/**
 * The types of nftables' values (nftables: src/datatype.c, proto.c): how each is read and printed, and how wide it is.
 *
 * A value is a list of 32-bit words, the most significant first, each a signed integer. Names of interfaces stand for
 * numbers that this process gives them (`ifname.ts`).
 */
import { parseProtocol, protocolText, serviceByName } from "../netfilter/services.ts";
import { u32 } from "../wire/bytes.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { formatIpv6, ipv6Of, parseIpv6 } from "../wire/ipv6-addr.ts";
import { formatMac, type Mac, parseMac } from "../wire/mac-addr.ts";
import { ifnameId, ifnameText } from "./ifname.ts";

export type Value = readonly number[];

export type DataType = {
  readonly name: string;
  readonly bits: number;
  readonly words: number;
  /** Values are sets of flags: a list of them is one value, and a bare test asks whether any is there. */
  readonly bitmask: boolean;
  /** How many elements of a set go in a line. */
  readonly perLine: number;
  /** Undefined for text that is no such value. */
  readonly parse: (text: string) => Value | undefined;
  readonly print: (value: Value) => string;
};

type Names = readonly (readonly [string, number])[];

/** Single words that are small numbers, as most ports and protocols are: rules share them. */
const small: Value[] = [];
const SMALL = 1024;

function wordOf(n: number): Value {
  if (n >= SMALL || n < 0) return [n | 0];
  while (small.length <= n) small.push([small.length]);
  return small[n] as Value;
}

function parseNumber(text: string, bits: number): Value | undefined {
  if (!/^(?:0x[0-9a-fA-F]{1,8}|[0-9]{1,10})$/.test(text)) return undefined;
  const n = Number(text);
  return n < 2 ** Math.min(bits, 32) ? wordOf(n) : undefined;
}

const hex32 = (v: Value): string => `0x${((v[0] ?? 0) >>> 0).toString(16).padStart(8, "0")}`;
const decimal = (v: Value): string => String((v[0] ?? 0) >>> 0);

function numeric(name: string, bits: number, perLine: number, print: (v: Value) => string = decimal): DataType {
  return { name, bits, words: 1, bitmask: false, perLine, parse: (text) => parseNumber(text, bits), print };
}

/** One of some names, or a number. Other names for a value come after the one that it is printed with. */
function named(name: string, bits: number, perLine: number, names: Names, print = decimal): DataType {
  const byName = new Map(names);
  const byNumber = new Map([...names].reverse().map(([word, n]) => [n, word]));
  return {
    name,
    bits,
    words: 1,
    bitmask: false,
    perLine,
    parse(text) {
      const n = byName.get(text);
      return n === undefined ? parseNumber(text, bits) : wordOf(n);
    },
    print: (v) => byNumber.get((v[0] ?? 0) >>> 0) ?? print(v),
  };
}

/** Names of single bits; printed from the lowest bit. */
function flags(name: string, bits: number, names: Names): DataType {
  const byName = new Map(names);
  const sorted = [...names].sort((a, b) => a[1] - b[1]);
  const hex = (n: number): string => `0x${n.toString(16)}`;
  return {
    name,
    bits,
    words: 1,
    bitmask: true,
    perLine: 5,
    parse(text) {
      const n = byName.get(text);
      return n === undefined ? parseNumber(text, bits) : [n];
    },
    print(v) {
      const n = v[0] ?? 0;
      const known = sorted.filter(([, bit]) => (n & bit) !== 0);
      const sum = known.reduce((bitsSoFar, [, bit]) => bitsSoFar | bit, 0);
      return n === 0 || sum !== n ? hex(n) : known.map(([word]) => word).join(",");
    },
  };
}

const ipv4Addr: DataType = {
  name: "ipv4_addr",
  bits: 32,
  words: 1,
  bitmask: false,
  perLine: 2,
  parse(text) {
    const a = parseIpv4(text);
    return a === undefined ? undefined : [a | 0];
  },
  print: (v) => formatIpv4(v[0] ?? 0),
};

const ipv6Addr: DataType = {
  name: "ipv6_addr",
  bits: 128,
  words: 4,
  bitmask: false,
  perLine: 1,
  parse(text) {
    const a = parseIpv6(text);
    return a === undefined ? undefined : [0, 4, 8, 12].map((at) => u32(a, at) | 0);
  },
  print(v) {
    const octets = new Uint8Array(16);
    for (let i = 0; i < 16; i++) octets[i] = (v[i >> 2] ?? 0) >>> (24 - 8 * (i & 3));
    return formatIpv6(ipv6Of(octets));
  },
};

const etherAddr: DataType = {
  name: "ether_addr",
  bits: 48,
  words: 2,
  bitmask: false,
  perLine: 1,
  parse(text) {
    const m = parseMac(text);
    return m === undefined ? undefined : [Math.floor(m / 0x1_0000_0000), m | 0];
  },
  print: (v) => formatMac(((v[0] ?? 0) * 0x1_0000_0000 + ((v[1] ?? 0) >>> 0)) as Mac),
};

const ifname: DataType = {
  name: "ifname",
  bits: 128,
  words: 1,
  bitmask: false,
  perLine: 1,
  parse: (text) => (text.length > 0 && text.length < 16 ? [ifnameId(text)] : undefined),
  print: (v) => `"${ifnameText(v[0] ?? 0)}"`,
};

/** /etc/protocols as far as nft 1.0 prints names: those of `protocolText`, and these. */
const MORE_PROTOCOLS: Names = [
  ["ggp", 3],
  ["st", 5],
  ["egp", 8],
  ["igp", 9],
  ["pup", 12],
];
const OLD_PROTOCOLS: ReadonlyMap<number, string> = new Map(MORE_PROTOCOLS.map(([word, n]) => [n, word]));

const inetProto: DataType = {
  name: "inet_proto",
  bits: 8,
  words: 1,
  bitmask: false,
  perLine: 5,
  parse(text) {
    const n = parseProtocol(text) ?? MORE_PROTOCOLS.find(([word]) => word === text)?.[1];
    return n === undefined ? parseNumber(text, 8) : [n];
  },
  print: (v) => OLD_PROTOCOLS.get(v[0] ?? 0) ?? (v[0] === 0 ? "ip" : protocolText(v[0] ?? 0)),
};

const inetService: DataType = {
  ...numeric("inet_service", 16, 5),
  parse(text) {
    const n = serviceByName(text);
    return n === undefined ? parseNumber(text, 16) : [n];
  },
};

const CT_STATE: Names = [
  ["invalid", 1],
  ["established", 2],
  ["related", 4],
  ["new", 8],
  ["untracked", 64],
];
const CT_STATUS: Names = [
  ["expected", 1],
  ["seen-reply", 2],
  ["assured", 4],
  ["confirmed", 8],
  ["snat", 16],
  ["dnat", 32],
  ["dying", 512],
];
const TCP_FLAGS: Names = [
  ["fin", 1],
  ["syn", 2],
  ["rst", 4],
  ["psh", 8],
  ["ack", 16],
  ["urg", 32],
  ["ecn", 64],
  ["cwr", 128],
];
const ICMP_TYPES: Names = [
  ["echo-reply", 0],
  ["destination-unreachable", 3],
  ["source-quench", 4],
  ["redirect", 5],
  ["echo-request", 8],
  ["router-advertisement", 9],
  ["router-solicitation", 10],
  ["time-exceeded", 11],
  ["parameter-problem", 12],
  ["timestamp-request", 13],
  ["timestamp-reply", 14],
  ["info-request", 15],
  ["info-reply", 16],
  ["address-mask-request", 17],
  ["address-mask-reply", 18],
];
export const ICMP_CODES: Names = [
  ["net-unreachable", 0],
  ["host-unreachable", 1],
  ["prot-unreachable", 2],
  ["port-unreachable", 3],
  ["net-prohibited", 9],
  ["host-prohibited", 10],
  ["admin-prohibited", 13],
  ["frag-needed", 4],
];
const ICMPV6_TYPES: Names = [
  ["destination-unreachable", 1],
  ["packet-too-big", 2],
  ["time-exceeded", 3],
  ["parameter-problem", 4],
  ["echo-request", 128],
  ["echo-reply", 129],
  ["mld-listener-query", 130],
  ["mld-listener-report", 131],
  ["mld-listener-done", 132],
  ["nd-router-solicit", 133],
  ["nd-router-advert", 134],
  ["nd-neighbor-solicit", 135],
  ["nd-neighbor-advert", 136],
  ["nd-redirect", 137],
  ["router-renumbering", 138],
  ["ind-neighbor-solicit", 141],
  ["ind-neighbor-advert", 142],
  ["mld2-listener-report", 143],
];
const DSCP: Names = [
  ...Array.from({ length: 8 }, (_, i) => [`cs${i}`, i * 8] as const),
  ["df", 0],
  ["be", 0],
  ["lephb", 1],
  ...[1, 2, 3, 4].flatMap((c) => [1, 2, 3].map((d) => [`af${c}${d}`, c * 8 + d * 2] as const)),
  ["va", 44],
  ["ef", 46],
];

export const INTEGER: DataType = numeric("integer", 32, 5);
export const MARK: DataType = numeric("mark", 32, 5, hex32);
export const IFNAME: DataType = ifname;
export const IPV4_ADDR: DataType = ipv4Addr;
export const IPV6_ADDR: DataType = ipv6Addr;
export const INET_PROTO: DataType = inetProto;
export const INET_SERVICE: DataType = inetService;
export const ETHER_ADDR: DataType = etherAddr;
export const CT_STATE_TYPE: DataType = flags("ct_state", 32, CT_STATE);
export const CT_STATUS_TYPE: DataType = flags("ct_status", 32, CT_STATUS);
export const CT_DIR: DataType = named("ct_dir", 8, 5, [
  ["original", 0],
  ["reply", 1],
]);
export const TCP_FLAG: DataType = flags("tcp_flag", 8, TCP_FLAGS);
export const ICMP_TYPE: DataType = named("icmp_type", 8, 1, ICMP_TYPES);
export const ICMP_CODE: DataType = named("icmp_code", 8, 1, ICMP_CODES);
export const ICMPV6_TYPE: DataType = named("icmpv6_type", 8, 1, ICMPV6_TYPES);
export const ETHER_TYPE: DataType = named(
  "ether_type",
  16,
  5,
  [
    ["ip", 0x0800],
    ["arp", 0x0806],
    ["ip6", 0x86dd],
    ["8021q", 0x8100],
    ["vlan", 0x8100],
    ["8021ad", 0x88a8],
  ],
  (v) => `0x${(v[0] ?? 0).toString(16).padStart(4, "0")}`,
);
export const NFPROTO: DataType = named("nf_proto", 8, 5, [
  ["ipv4", 2],
  ["ipv6", 10],
]);
export const PKTTYPE: DataType = named("pkt_type", 8, 5, [
  ["host", 0],
  ["unicast", 0],
  ["broadcast", 1],
  ["multicast", 2],
  ["other", 3],
]);
/** linux/rtnetlink.h, RTN_*. */
export const FIB_TYPE: DataType = named("fib_addrtype", 32, 5, [
  ["unspec", 0],
  ["unicast", 1],
  ["local", 2],
  ["broadcast", 3],
  ["anycast", 4],
  ["multicast", 5],
  ["blackhole", 6],
  ["unreachable", 7],
  ["prohibit", 8],
]);
export const DSCP_TYPE: DataType = named("dscp", 6, 5, DSCP, (v) => `0x${(v[0] ?? 0).toString(16).padStart(2, "0")}`);
export const ECN_TYPE: DataType = named("ecn", 2, 5, [
  ["not-ect", 0],
  ["ect1", 1],
  ["ect0", 2],
  ["ce", 3],
]);
export const ARP_OP: DataType = named("arp_op", 16, 5, [
  ["request", 1],
  ["reply", 2],
  ["rrequest", 3],
  ["rreply", 4],
]);
export const UID: DataType = numeric("uid", 32, 5);
export const GID: DataType = numeric("gid", 32, 5);
export const BOOLEAN: DataType = named("boolean", 1, 5, [
  ["exists", 1],
  ["missing", 0],
]);
/** Seconds, written as a time. */
export const IFACE_INDEX: DataType = { ...ifname, name: "iface_index" };

/** An integer of so many bits, for protocol fields without a type of their own. */
const integers = new Map<number, DataType>();
export function integer(bits: number): DataType {
  const known = integers.get(bits);
  if (known !== undefined) return known;
  const made = numeric("integer", bits, 5);
  integers.set(bits, made);
  return made;
}

const ALL: readonly DataType[] = [
  IPV4_ADDR,
  IPV6_ADDR,
  ETHER_ADDR,
  INET_PROTO,
  INET_SERVICE,
  MARK,
  IFNAME,
  IFACE_INDEX,
  CT_STATE_TYPE,
  CT_STATUS_TYPE,
  CT_DIR,
  TCP_FLAG,
  ICMP_TYPE,
  ICMP_CODE,
  ICMPV6_TYPE,
  ETHER_TYPE,
  NFPROTO,
  PKTTYPE,
  FIB_TYPE,
  DSCP_TYPE,
  ECN_TYPE,
  ARP_OP,
  UID,
  GID,
];
const BY_NAME: ReadonlyMap<string, DataType> = new Map(ALL.map((t) => [t.name, t]));

/** As `type` names them in sets. */
export function typeByName(name: string): DataType | undefined {
  return BY_NAME.get(name);
}

/** Unsigned, the most significant word first. */
export function compareValues(a: Value, b: Value): number {
  for (let i = 0; i < a.length; i++) {
    const d = ((a[i] ?? 0) >>> 0) - ((b[i] ?? 0) >>> 0);
    if (d !== 0) return d;
  }
  return 0;
}

/** The first and last value of a prefix of `len` bits of a type that is `bits` wide. */
export function prefixRange(value: Value, len: number, bits: number): { readonly lo: number[]; readonly hi: number[] } {
  const lo = [...value];
  const hi = [...value];
  // the first word of a 48-bit value holds 16 bits
  let at = value.length * 32 - bits;
  let left = len;
  for (const [i, word] of value.entries()) {
    const wide = 32 - at;
    const own = Math.min(wide, left);
    left -= own;
    const rest = wide - own;
    const mask = rest >= 32 ? -1 : (2 ** rest - 1) | 0;
    lo[i] = word & ~mask;
    hi[i] = word | mask;
    at = 0;
  }
  return { lo, hi };
}

/** The length of the prefix that a range is; undefined where it is none. */
export function prefixLength(lo: Value, hi: Value, bits: number): number | undefined {
  for (let len = 0; len <= bits; len++) {
    const range = prefixRange(lo, len, bits);
    if (compareValues(range.lo, lo) === 0 && compareValues(range.hi, hi) === 0) return len;
  }
  return undefined;
}
