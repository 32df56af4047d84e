/**
 * `-m addrtype` (xt_addrtype.c): what the routing tables say an address is. Of IPv6 it is another question: where several
 * types are named, what an address is by its octets must be all of them, and what its route is, one.
 */
import type { NetDev } from "../../dev/netdev.ts";
import { isKey6, isMulticastKey6, isUnspecifiedKey6 } from "../../wire/ip-key.ts";
import { ipv4Of } from "../../wire/ipv4-addr.ts";
import { opt } from "../options.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";

export type AddrtypeMatch = {
  readonly kind: "addrtype";
  /** Bits by RTN_*; 0 asks nothing. */
  readonly src: number;
  readonly notSrc: boolean;
  readonly dst: number;
  readonly notDst: boolean;
  readonly limitIn: boolean;
  readonly limitOut: boolean;
};

/** By the number of RTN_*. */
const TYPES: readonly string[] = [
  "UNSPEC",
  "UNICAST",
  "LOCAL",
  "BROADCAST",
  "ANYCAST",
  "MULTICAST",
  "BLACKHOLE",
  "UNREACHABLE",
  "PROHIBIT",
  "THROW",
  "NAT",
  "XRESOLVE",
];
const UNSPEC = 0;
const UNICAST = 1;
const LOCAL = 2;
const BROADCAST = 3;
const ANYCAST = 4;
const MULTICAST = 5;
const BLACKHOLE = 6;
const UNREACHABLE = 7;
const PROHIBIT = 8;

function printTypes(bits: number): string {
  return TYPES.filter((_, i) => (bits & (1 << i)) !== 0).join(",");
}

/** inet_addr_type and inet_dev_addr_type: RTN_* of an address, of a device where one is given. */
export function typeOf(p: NfPacket, address: number, dev: NetDev | null): number {
  if (isKey6(address)) return typeOf6(p, address, dev);
  if (address === 0 || address === -1) return BROADCAST;
  if (address >>> 28 === 14) return MULTICAST;
  const addr = ipv4Of(address);
  if (dev !== null) {
    const route = p.ns.fib.lookup(addr, dev);
    return route?.type === "local" ? LOCAL : route?.type === "broadcast" ? BROADCAST : UNICAST;
  }
  switch (p.ns.fib.dst(addr).type) {
    case "local":
      return LOCAL;
    case "broadcast":
      return BROADCAST;
    default:
      return UNICAST;
  }
}

/** The same of an IPv6 address (nft_fib6_eval_type). */
function typeOf6(p: NfPacket, key: number, dev: NetDev | null): number {
  if (dev?.addrs6.some((a) => a.address === key)) return LOCAL;
  switch (p.ns.fib.dst(ipv4Of(key)).type) {
    case "local":
      if (dev === null) return LOCAL;
      break;
    case "blackhole":
      return BLACKHOLE;
    case "prohibit":
      return PROHIBIT;
    case "unreachable":
    case "none":
      return UNREACHABLE;
  }
  if (isMulticastKey6(key)) return MULTICAST;
  return isUnspecifiedKey6(key) ? UNSPEC : UNICAST;
}

/** The type as a whole route lookup sees it, for those that an address alone does not tell. */
function routeType(p: NfPacket, address: number): number {
  const type = p.ns.fib.dst(ipv4Of(address)).type;
  const at = TYPES.indexOf(type.toUpperCase());
  return at > MULTICAST ? at : type === "none" ? UNREACHABLE : UNICAST;
}

/** match_type6. */
function matches6(p: NfPacket, key: number, wanted: number, dev: NetDev | null): boolean {
  const multicast = isMulticastKey6(key);
  const none = isUnspecifiedKey6(key);
  if (asks(wanted, MULTICAST) && !multicast) return false;
  if (asks(wanted, UNICAST) && (multicast || none)) return false;
  if (asks(wanted, UNSPEC) && !none) return false;
  const byRoute = wanted & ((1 << LOCAL) | (1 << ANYCAST) | (1 << UNREACHABLE));
  if (byRoute === 0) return true;
  const { type } = p.ns.fib.dst(ipv4Of(key));
  const local = dev === null ? type === "local" : dev.addrs6.some((a) => a.address === key);
  const unreachable = type === "unreachable" || type === "blackhole" || type === "prohibit" || type === "none";
  return (byRoute & ((local ? 1 << LOCAL : 0) | (unreachable ? 1 << UNREACHABLE : 0))) !== 0;
}

function asks(wanted: number, type: number): boolean {
  return (wanted & (1 << type)) !== 0;
}

function matches(p: NfPacket, address: number, wanted: number, dev: NetDev | null): boolean {
  if (isKey6(address)) return matches6(p, address, wanted, dev);
  let type = typeOf(p, address, dev);
  if (type === UNICAST && wanted >>> (MULTICAST + 1) !== 0) type = routeType(p, address);
  return (wanted & (1 << type)) !== 0;
}

export const addrtypeMatch: MatchModule<AddrtypeMatch> = {
  name: "addrtype",
  options: {
    "--src-type": { args: 1, not: true },
    "--dst-type": { args: 1, not: true },
    "--limit-iface-in": { args: 0 },
    "--limit-iface-out": { args: 0 },
  },
  parse(o) {
    const types = (name: string): number => {
      let bits = 0;
      for (const word of o.text(name)?.split(",") ?? []) {
        const at = TYPES.indexOf(word.toUpperCase());
        if (at < 0) o.fail(`option ${name}: "${word}" is not an address type`);
        if (o.six && (at === BROADCAST || at === BLACKHOLE || at > UNREACHABLE))
          o.fail(`option ${name}: ip6tables has no type ${word}`);
        bits |= 1 << at;
      }
      return bits;
    };
    if (!o.has("--src-type") && !o.has("--dst-type")) o.fail("--src-type or --dst-type is required");
    const limitIn = o.has("--limit-iface-in");
    const limitOut = o.has("--limit-iface-out");
    if (limitIn && limitOut) o.fail("--limit-iface-in and --limit-iface-out exclude each other");
    return {
      kind: "addrtype",
      src: types("--src-type"),
      notSrc: o.not("--src-type"),
      dst: types("--dst-type"),
      notDst: o.not("--dst-type"),
      limitIn,
      limitOut,
    };
  },
  print(m) {
    return (
      (m.src === 0 ? "" : opt(m.notSrc, "--src-type", printTypes(m.src))) +
      (m.dst === 0 ? "" : opt(m.notDst, "--dst-type", printTypes(m.dst))) +
      (m.limitIn ? " --limit-iface-in" : "") +
      (m.limitOut ? " --limit-iface-out" : "")
    );
  },
  test(m, p) {
    const dev = m.limitIn ? p.input : m.limitOut ? p.output : null;
    if (m.src !== 0 && matches(p, p.src, m.src, dev) === m.notSrc) return false;
    return m.dst === 0 || matches(p, p.dst, m.dst, dev) !== m.notDst;
  },
};
