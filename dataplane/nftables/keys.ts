/**
 * What of a packet rules may ask: fields of headers, metadata, conntrack, routes (nftables: src/proto.c, meta.c, ct.c,
 * fib.c). A Key is what the text names; `load` says where the value comes from.
 */
import {
  ARP_OP,
  CT_DIR,
  CT_STATE_TYPE,
  CT_STATUS_TYPE,
  type DataType,
  DSCP_TYPE,
  ECN_TYPE,
  ETHER_ADDR,
  ETHER_TYPE,
  FIB_TYPE,
  GID,
  ICMP_CODE,
  ICMP_TYPE,
  ICMPV6_TYPE,
  IFACE_INDEX,
  IFNAME,
  INET_PROTO,
  INET_SERVICE,
  INTEGER,
  IPV4_ADDR,
  IPV6_ADDR,
  integer,
  MARK,
  NFPROTO,
  PKTTYPE,
  TCP_FLAG,
  UID,
} from "./datatype.ts";

/** Where an offset counts from: the link, network or transport header. */
export const BASE_LL = 0;
export const BASE_NH = 1;
export const BASE_TH = 2;

export type Load =
  /** Offset and length in bits; the value is at the right of its words. */
  | { readonly kind: "payload"; readonly base: number; readonly offset: number; readonly bits: number }
  | { readonly kind: "meta"; readonly what: string }
  /** `dir`: 0 original, 1 reply, -1 neither. */
  | { readonly kind: "ct"; readonly what: string; readonly dir: number }
  | {
      readonly kind: "fib";
      readonly source: boolean;
      readonly iif: boolean;
      readonly oif: boolean;
      readonly result: "type" | "oif" | "oifname";
    };

export type Key = {
  /** As it is printed: "ip saddr". */
  readonly text: string;
  readonly type: DataType;
  readonly load: Load;
  /** The protocols that the packet must have: EtherType (0 any), IP protocol (-1 any). */
  readonly l3: number;
  readonly l4: number;
};

const IP = 0x0800;
const IP6 = 0x86dd;
const ARP = 0x0806;
const VLAN = 0x8100;

type Field = readonly [name: string, offset: number, bits: number, type?: DataType];
type Protocol = { readonly base: number; readonly l3: number; readonly l4: number; readonly fields: readonly Field[] };

const TCP_FIELDS: readonly Field[] = [
  ["sport", 0, 16, INET_SERVICE],
  ["dport", 16, 16, INET_SERVICE],
];
const th = (l4: number, l3: number, fields: readonly Field[]): Protocol => ({ base: BASE_TH, l3, l4, fields });

const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  ether: {
    base: BASE_LL,
    l3: 0,
    l4: -1,
    fields: [
      ["daddr", 0, 48, ETHER_ADDR],
      ["saddr", 48, 48, ETHER_ADDR],
      ["type", 96, 16, ETHER_TYPE],
    ],
  },
  vlan: {
    base: BASE_LL,
    l3: VLAN,
    l4: -1,
    fields: [
      ["id", 116, 12],
      ["type", 128, 16, ETHER_TYPE],
    ],
  },
  arp: {
    base: BASE_NH,
    l3: ARP,
    l4: -1,
    fields: [
      ["htype", 0, 16],
      ["ptype", 16, 16, ETHER_TYPE],
      ["hlen", 32, 8],
      ["plen", 40, 8],
      ["operation", 48, 16, ARP_OP],
      ["saddr ether", 64, 48, ETHER_ADDR],
      ["saddr ip", 112, 32, IPV4_ADDR],
      ["daddr ether", 144, 48, ETHER_ADDR],
      ["daddr ip", 192, 32, IPV4_ADDR],
    ],
  },
  ip: {
    base: BASE_NH,
    l3: IP,
    l4: -1,
    fields: [
      ["version", 0, 4],
      ["hdrlength", 4, 4],
      ["dscp", 8, 6, DSCP_TYPE],
      ["ecn", 14, 2, ECN_TYPE],
      ["length", 16, 16],
      ["id", 32, 16],
      ["frag-off", 48, 16],
      ["ttl", 64, 8],
      ["protocol", 72, 8, INET_PROTO],
      ["checksum", 80, 16],
      ["saddr", 96, 32, IPV4_ADDR],
      ["daddr", 128, 32, IPV4_ADDR],
    ],
  },
  ip6: {
    base: BASE_NH,
    l3: IP6,
    l4: -1,
    fields: [
      ["version", 0, 4],
      ["dscp", 4, 6, DSCP_TYPE],
      ["ecn", 10, 2, ECN_TYPE],
      ["flowlabel", 12, 20],
      ["length", 32, 16],
      ["nexthdr", 48, 8, INET_PROTO],
      ["hoplimit", 56, 8],
      ["saddr", 64, 128, IPV6_ADDR],
      ["daddr", 192, 128, IPV6_ADDR],
    ],
  },
  icmp: th(1, IP, [
    ["type", 0, 8, ICMP_TYPE],
    ["code", 8, 8, ICMP_CODE],
    ["checksum", 16, 16],
    ["id", 32, 16],
    ["sequence", 48, 16],
    ["mtu", 48, 16],
  ]),
  icmpv6: th(58, IP6, [
    ["type", 0, 8, ICMPV6_TYPE],
    ["code", 8, 8],
    ["checksum", 16, 16],
    ["id", 32, 16],
    ["sequence", 48, 16],
  ]),
  tcp: th(6, 0, [
    ...TCP_FIELDS,
    ["sequence", 32, 32],
    ["ackseq", 64, 32],
    ["doff", 96, 4],
    ["flags", 104, 8, TCP_FLAG],
    ["window", 112, 16],
    ["checksum", 128, 16],
    ["urgptr", 144, 16],
  ]),
  udp: th(17, 0, [...TCP_FIELDS, ["length", 32, 16], ["checksum", 48, 16]]),
  udplite: th(136, 0, [...TCP_FIELDS, ["checksum", 48, 16]]),
  dccp: th(33, 0, TCP_FIELDS),
  sctp: th(132, 0, [...TCP_FIELDS, ["vtag", 32, 32], ["checksum", 64, 32]]),
  th: th(-1, 0, TCP_FIELDS),
};

const keys = new Map<string, Key>();
for (const [name, { base, l3, l4, fields }] of Object.entries(PROTOCOLS)) {
  for (const [field, offset, bits, type] of fields) {
    const text = `${name} ${field}`;
    keys.set(text, { text, type: type ?? integer(bits), load: { kind: "payload", base, offset, bits }, l3, l4 });
  }
}

/** Those that stand without "meta" in front when they are printed. */
const BARE: readonly string[] = ["iif", "oif", "iifname", "oifname"];
const META: readonly (readonly [string, DataType])[] = [
  ["length", INTEGER],
  ["protocol", ETHER_TYPE],
  ["nfproto", NFPROTO],
  ["l4proto", INET_PROTO],
  ["mark", MARK],
  ["iif", IFACE_INDEX],
  ["iifname", IFNAME],
  ["oif", IFACE_INDEX],
  ["oifname", IFNAME],
  ["ibrname", IFNAME],
  ["obrname", IFNAME],
  ["pkttype", PKTTYPE],
  ["skuid", UID],
  ["skgid", GID],
  ["random", INTEGER],
];
for (const [what, type] of META) {
  const text = BARE.includes(what) ? what : `meta ${what}`;
  const key: Key = { text, type, load: { kind: "meta", what }, l3: 0, l4: -1 };
  keys.set(text, key);
  keys.set(`meta ${what}`, key);
}

const CT: readonly (readonly [string, DataType, boolean])[] = [
  ["state", CT_STATE_TYPE, false],
  ["status", CT_STATUS_TYPE, false],
  ["mark", MARK, false],
  ["direction", CT_DIR, false],
  ["l3proto", NFPROTO, true],
  ["protocol", INET_PROTO, true],
  ["ip saddr", IPV4_ADDR, true],
  ["ip daddr", IPV4_ADDR, true],
  ["ip6 saddr", IPV6_ADDR, true],
  ["ip6 daddr", IPV6_ADDR, true],
  ["proto-src", INET_SERVICE, true],
  ["proto-dst", INET_SERVICE, true],
];
for (const [what, type, directed] of CT) {
  const forms = directed
    ? ([
        [-1, ""],
        [0, "original "],
        [1, "reply "],
      ] as const)
    : ([[-1, ""]] as const);
  for (const [dir, word] of forms) {
    const text = `ct ${word}${what}`;
    keys.set(text, { text, type, load: { kind: "ct", what, dir }, l3: 0, l4: -1 });
  }
}

/** Undefined for a key that is not supported. */
export function keyByText(text: string): Key | undefined {
  return keys.get(text);
}

export function isProtocol(word: string): boolean {
  return Object.hasOwn(PROTOCOLS, word);
}

/** Names of the protocol's fields, to be told in an error. */
export function fieldsOf(protocol: string): readonly string[] {
  return (PROTOCOLS[protocol]?.fields ?? []).map(([name]) => name);
}

/** A field by its place, as `@th,16,16` gives it; the known field where there is one. */
export function rawPayload(base: number, offset: number, bits: number): Key {
  if (base === BASE_TH) {
    const known = TCP_FIELDS.find(([, o, b]) => o === offset && b === bits);
    const key = known === undefined ? undefined : keys.get(`th ${known[0]}`);
    if (key !== undefined) return key;
  }
  const name = ["ll", "nh", "th"][base] ?? "";
  const text = `@${name},${offset},${bits}`;
  return { text, type: integer(bits), load: { kind: "payload", base, offset, bits }, l3: 0, l4: -1 };
}

/** `flags`: of saddr, daddr, iif, oif. */
export function fibKey(flags: readonly string[], result: "type" | "oif" | "oifname"): Key {
  const text = `fib ${flags.join(" . ")} ${result}`;
  const known = keys.get(text);
  if (known !== undefined) return known;
  const type = result === "type" ? FIB_TYPE : result === "oif" ? IFACE_INDEX : IFNAME;
  const has = (flag: string): boolean => flags.includes(flag);
  const load: Load = { kind: "fib", source: has("saddr"), iif: has("iif"), oif: has("oif"), result };
  const key: Key = { text, type, load, l3: 0, l4: -1 };
  keys.set(text, key);
  return key;
}
