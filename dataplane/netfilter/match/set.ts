/** `-m set` (xt_set.c): whether addresses and ports of the packet are in an ipset. */
import { widthOf } from "../../wire/ip-key.ts";
import * as ipv4 from "../../wire/ipv4.ts";
import type { Element, IpSet } from "../ipset.ts";
import { portOf } from "../ipset-port.ts";
import type { Options } from "../options.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";

/** One a dimension: which side of the packet. */
export type Sides = readonly ("src" | "dst")[];

export type SetMatch = {
  readonly kind: "set";
  readonly set: string;
  readonly sides: Sides;
  readonly not: boolean;
};

/** The second argument of an option that names a set. */
export function parseSides(o: Options, option: string): Sides {
  return o
    .need(option, 1)
    .split(",")
    .map((side) => {
      if (side !== "src" && side !== "dst") return o.fail(`option ${option}: "${side}" is neither src nor dst`);
      return side;
    });
}

/** The element that a packet is for a set; null where it has no such fields, or the rule has too few words. */
export function elementOf(set: IpSet, sides: Sides, p: NfPacket): Element | null {
  const { dimensions, type } = set;
  if (type === "list:set" || sides.length < dimensions) return null;
  if (type === "bitmap:port") {
    const port = bitmapPortOf(p, sides[0] ?? "dst");
    return port < 0 ? null : { service: 0, len: 0, a: port, b: 0 };
  }
  const port = dimensions > 1 ? portOf(p, sides[1] ?? "dst") : 0;
  // A set takes addresses of its own family alone.
  if (port < 0 || (widthOf(p.src) === 128) !== (set.options.six ?? false)) return null;
  const address = (side: "src" | "dst" | undefined): number => (side === "src" ? p.src : p.dst) | 0;
  const service = dimensions > 1 ? (p.proto << 16) | port : 0;
  return { service, len: widthOf(p.src), a: address(sides[0]), b: dimensions > 2 ? address(sides[2]) : 0 };
}

/** bitmap:port knows TCP and UDP alone (ip_set_get_ip_port). */
function bitmapPortOf(p: NfPacket, side: "src" | "dst"): number {
  return p.proto === ipv4.PROTO_TCP || p.proto === ipv4.PROTO_UDP ? portOf(p, side) : -1;
}

/** A set with more dimensions than the rule has words never matches; words too many are not looked at. */
export function holds(set: IpSet, m: SetMatch, p: NfPacket): boolean {
  if (set.type === "list:set") return listHolds(set, m, p);
  if (set.size === 0) return false;
  const { dimensions, type } = set;
  if (m.sides.length < dimensions) return false;
  const bitmap = type === "bitmap:port";
  const ported = bitmap || dimensions > 1;
  let port = 0;
  if (bitmap) port = bitmapPortOf(p, m.sides[0] ?? "dst");
  else if (ported) port = portOf(p, m.sides[1] ?? "dst");
  if (port < 0) return false;
  const a = m.sides[0] === "src" ? p.src : p.dst;
  const b = m.sides[2] === "src" ? p.src : p.dst;
  // a fraction of a millisecond is boxed on its way into the call: most sets have no timeouts
  const now = set.options.timeout === undefined ? 0 : p.ns.world.loop.time;
  return set.has(a, ported ? (p.proto << 16) | port : 0, b, now);
}

function listHolds(list: IpSet, m: SetMatch, p: NfPacket): boolean {
  for (const member of list.members) if (holds(member, m, p)) return true;
  return false;
}

export const setMatch: MatchModule<SetMatch> = {
  name: "set",
  options: { "--match-set": { args: 2, not: true } },
  parse(o) {
    const sides = parseSides(o, "--match-set");
    return { kind: "set", set: o.need("--match-set"), sides, not: o.not("--match-set") };
  },
  print: (m) => `${m.not ? " !" : ""} --match-set ${m.set} ${m.sides.join(",")}`,
  test(m, p) {
    const set = p.state.sets.get(m.set);
    return set !== undefined && holds(set, m, p) !== m.not;
  },
};
