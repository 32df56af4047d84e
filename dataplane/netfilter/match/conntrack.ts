/** `-m conntrack` (xt_conntrack.c, revision 3) and `-m state` (xt_state.c): what the connection of a packet is. */
import { formatMasked, formatNetwork6, holds6, type Network6, parseAddress, parseNetwork6 } from "../address.ts";
import {
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_EXPECTED,
  IPS_NAT_MASK,
  IPS_SEEN_REPLY,
  remaining,
  type Tuple,
} from "../conn.ts";
import { IP_CT_ESTABLISHED, IP_CT_ESTABLISHED_REPLY, IP_CT_NEW, IP_CT_UNTRACKED } from "../conntrack-entry.ts";
import { type Options, opt, portRange } from "../options.ts";
import type { NfPacket } from "../packet.ts";
import { parseProtocol } from "../services.ts";
import type { MatchModule } from "./module.ts";
import type { PortRange } from "./ports.ts";

/** Bits of a state set, in the order in which they are printed; those of NAT come behind. */
const STATE_INVALID = 1;
const STATE_NEW = 2;
const STATE_RELATED = 4;
const STATE_ESTABLISHED = 8;
const STATE_UNTRACKED = 16;
const STATES: readonly string[] = ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"];

const STATUSES: readonly (readonly [string, number])[] = [
  ["NONE", 0],
  ["EXPECTED", IPS_EXPECTED],
  ["SEEN_REPLY", IPS_SEEN_REPLY],
  ["ASSURED", IPS_ASSURED],
  ["CONFIRMED", IPS_CONFIRMED],
];

const ADDRS = ["--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"] as const;
const PORTS = ["--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport"] as const;

type Address = {
  readonly option: (typeof ADDRS)[number];
  readonly addr: number;
  readonly mask: number;
  /** In a rule of ip6tables; then those above are 0. */
  readonly six: Network6 | null;
  readonly not: boolean;
};
type Port = { readonly option: (typeof PORTS)[number]; readonly range: PortRange; readonly not: boolean };

export type ConntrackMatch = {
  readonly kind: "conntrack";
  /** 0 asks nothing. */
  readonly states: number;
  readonly notStates: boolean;
  /** -1 asks nothing. */
  readonly proto: number;
  readonly notProto: boolean;
  readonly addresses: readonly Address[];
  readonly ports: readonly Port[];
  readonly status: readonly string[];
  readonly notStatus: boolean;
  /** Seconds left. */
  readonly expire: PortRange | null;
  readonly notExpire: boolean;
  readonly dir: "" | "ORIGINAL" | "REPLY";
  /** Nothing but the state is asked. */
  readonly stateOnly: boolean;
};
export type StateMatch = { readonly kind: "state"; readonly states: number; readonly not: boolean };

/** The state of the packet as one bit. */
export function stateOf(p: NfPacket): number {
  const info = p.skb.ctInfo;
  if (p.conn === null) return info === IP_CT_UNTRACKED ? STATE_UNTRACKED : STATE_INVALID;
  return info === IP_CT_ESTABLISHED || info === IP_CT_ESTABLISHED_REPLY
    ? STATE_ESTABLISHED
    : info === IP_CT_NEW
      ? STATE_NEW
      : STATE_RELATED;
}

export function stateName(bit: number): string {
  return STATES[31 - Math.clz32(bit)] ?? "";
}

function parseStates(o: Options, name: string, count: number): number {
  let bits = 0;
  for (const word of o.text(name)?.split(",") ?? []) {
    const at = STATES.indexOf(word.toUpperCase());
    if (at < 0 || at >= count) o.fail(`option ${name}: "${word}" is not a connection state`);
    bits |= 1 << at;
  }
  return bits;
}

function printStates(bits: number): string {
  return STATES.filter((_, i) => (bits & (1 << i)) !== 0).join(",");
}

function tupleOf(p: NfPacket, option: string): Tuple | null {
  if (p.conn === null) return null;
  return option.startsWith("--ctorig") ? p.conn.original : p.conn.reply;
}

function addressText(a: Address): string {
  if (a.six !== null) {
    const text = formatNetwork6(a.six);
    return opt(a.not, a.option, a.six.len === 128 ? text.slice(0, text.indexOf("/")) : text);
  }
  return opt(a.not, a.option, formatMasked(a.addr, a.mask));
}

/** All states that the packet is in. */
export function stateBits(p: NfPacket): number {
  const bits = stateOf(p);
  // A connection that was translated is in a state more (IPS_SRC_NAT and IPS_DST_NAT stand one bit lower).
  return p.conn === null ? bits : bits | ((p.conn.status & IPS_NAT_MASK) << 1);
}

/** Whether the packet is in one of the states that are asked. */
export function testState(m: { readonly states: number; readonly notStates: boolean }, p: NfPacket): boolean {
  return ((m.states & stateBits(p)) !== 0) !== m.notStates;
}

const NOT = { args: 1, not: true } as const;

export const conntrackMatch: MatchModule<ConntrackMatch> = {
  name: "conntrack",
  options: {
    "--ctstate": NOT,
    "--ctproto": NOT,
    ...Object.fromEntries(ADDRS.map((a) => [a, NOT])),
    ...Object.fromEntries(PORTS.map((a) => [a, NOT])),
    "--ctstatus": NOT,
    "--ctexpire": NOT,
    "--ctdir": { args: 1 },
  },
  tracks: true,
  parse(o) {
    const protoText = o.text("--ctproto");
    const proto = protoText === undefined ? -1 : parseProtocol(protoText);
    if (proto === undefined) return o.fail(`option --ctproto: "${protoText}" is not a protocol`);
    const status = o.text("--ctstatus")?.toUpperCase().split(",") ?? [];
    for (const s of status) {
      if (!STATUSES.some(([name]) => name === s)) o.fail(`option --ctstatus: "${s}" is not a status`);
    }
    const dir = o.text("--ctdir")?.toUpperCase() ?? "";
    if (dir !== "" && dir !== "ORIGINAL" && dir !== "REPLY")
      return o.fail(`option --ctdir: "${dir}" is not a direction`);
    const expire = o.text("--ctexpire")?.split(":");
    const others = ["--ctproto", ...ADDRS, ...PORTS, "--ctstatus", "--ctexpire", "--ctdir"];
    return {
      stateOnly: o.has("--ctstate") && !others.some((name) => o.has(name)),
      kind: "conntrack",
      states: parseStates(o, "--ctstate", 7),
      notStates: o.not("--ctstate"),
      proto,
      notProto: o.not("--ctproto"),
      addresses: ADDRS.filter((a) => o.has(a)).map((option) => {
        const text = o.need(option);
        const bad = (): never => o.fail(`option ${option}: "${text}" is not an address`);
        const not = o.not(option);
        if (o.six) return { option, addr: 0, mask: 0, six: parseNetwork6(text) ?? bad(), not };
        return { option, ...(parseAddress(text) ?? bad()), six: null, not };
      }),
      ports: PORTS.filter((a) => o.has(a)).map((option) => ({
        option,
        range: o.ports(option) ?? { min: 0, max: 0xffff },
        not: o.not(option),
      })),
      status,
      notStatus: o.not("--ctstatus"),
      expire:
        expire === undefined
          ? null
          : {
              min: o.parse("--ctexpire", expire[0] ?? "", 0, 0xffffffff),
              max: o.parse("--ctexpire", expire[1] ?? expire[0] ?? "", 0, 0xffffffff),
            },
      notExpire: o.not("--ctexpire"),
      dir,
    };
  },
  print(m) {
    return (
      (m.states === 0 ? "" : opt(m.notStates, "--ctstate", printStates(m.states))) +
      (m.proto < 0 ? "" : opt(m.notProto, "--ctproto", m.proto)) +
      m.addresses.map(addressText).join("") +
      m.ports.map((p) => opt(p.not, p.option, portRange(p.range))).join("") +
      (m.status.length === 0 ? "" : opt(m.notStatus, "--ctstatus", m.status.join(","))) +
      (m.expire === null ? "" : opt(m.notExpire, "--ctexpire", portRange(m.expire))) +
      (m.dir === "" ? "" : ` --ctdir ${m.dir}`)
    );
  },
  test(m, p) {
    const conn = p.conn;
    if (m.states !== 0 && !testState(m, p)) return false;
    // A packet without a connection fails all but a question about its state.
    if (m.stateOnly) return true;
    if (conn === null) return false;
    if (m.dir !== "" && p.skb.ctInfo >= IP_CT_ESTABLISHED_REPLY !== (m.dir === "REPLY")) return false;
    if (m.proto >= 0 && (conn.proto === m.proto) === m.notProto) return false;
    for (const a of m.addresses) {
      const tuple = tupleOf(p, a.option) as Tuple;
      const addr = a.option === "--ctorigsrc" || a.option === "--ctreplsrc" ? tuple.src : tuple.dst;
      const holds = a.six === null ? ((addr ^ a.addr) & a.mask) === 0 : holds6(a.six, addr);
      if (holds === a.not) return false;
    }
    for (const q of m.ports) {
      const tuple = tupleOf(p, q.option) as Tuple;
      const source = q.option === "--ctorigsrcport" || q.option === "--ctreplsrcport";
      const port = source ? tuple.ports >>> 16 : tuple.ports & 0xffff;
      if ((port >= q.range.min && port <= q.range.max) === q.not) return false;
    }
    if (m.status.length !== 0 && hasStatus(conn.status, m.status) === m.notStatus) return false;
    if (m.expire !== null) {
      const left = Math.floor(remaining(conn, p.ns.world.loop.time) / 1000);
      if ((left >= m.expire.min && left <= m.expire.max) === m.notExpire) return false;
    }
    return true;
  },
};

function hasStatus(status: number, names: readonly string[]): boolean {
  for (const [name, bit] of STATUSES) {
    if (names.includes(name) && (bit === 0 ? status === 0 : (status & bit) !== 0)) return true;
  }
  return false;
}

export const stateMatch: MatchModule<StateMatch> = {
  name: "state",
  options: { "--state": NOT },
  tracks: true,
  parse(o) {
    o.need("--state");
    return { kind: "state", states: parseStates(o, "--state", 5), not: o.not("--state") };
  },
  print: (m) => opt(m.not, "--state", printStates(m.states)),
  test: (m, p) => ((m.states & stateOf(p)) !== 0) !== m.not,
};
