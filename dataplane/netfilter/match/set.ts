/** `-m set` (xt_set.c): whether addresses and ports of the packet are in an ipset. */
import { u16 } from "../../wire/bytes.ts";
import * as ipv4 from "../../wire/ipv4.ts";
import type { IpSet } from "../ipset.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";

export type SetMatch = {
  readonly kind: "set";
  readonly set: string;
  /** One a dimension: which side of the packet. */
  readonly sides: readonly ("src" | "dst")[];
  readonly not: boolean;
};

function portOf(p: NfPacket, side: "src" | "dst"): number {
  const ported = p.proto === ipv4.PROTO_TCP || p.proto === ipv4.PROTO_UDP || p.proto === ipv4.PROTO_SCTP;
  if (!ported || p.fragment !== 0 || p.end - p.transport < 4) return -1;
  return u16(p.b, p.transport + (side === "src" ? 0 : 2));
}

/** A set with more dimensions than the rule has words never matches; words too many are not looked at. */
export function holds(set: IpSet, m: SetMatch, p: NfPacket): boolean {
  if (set.type === "list:set") return listHolds(set, m, p);
  const { dimensions, type } = set;
  if (m.sides.length < dimensions) return false;
  const ported = type === "bitmap:port" || dimensions > 1;
  const port = ported ? portOf(p, m.sides[type === "bitmap:port" ? 0 : 1] ?? "dst") : 0;
  if (port < 0) return false;
  const a = m.sides[0] === "src" ? p.src : p.dst;
  const b = m.sides[2] === "src" ? p.src : p.dst;
  return set.has(a, ported ? (p.proto << 16) | port : 0, b, p.ns.world.loop.time);
}

function listHolds(list: IpSet, m: SetMatch, p: NfPacket): boolean {
  for (const member of list.members) if (holds(member, m, p)) return true;
  return false;
}

export const setMatch: MatchModule<SetMatch> = {
  name: "set",
  options: { "--match-set": { args: 2, not: true } },
  parse(o) {
    const text = o.need("--match-set", 1);
    const sides = text.split(",").map((side) => {
      if (side !== "src" && side !== "dst") return o.fail(`option --match-set: "${side}" is neither src nor dst`);
      return side;
    });
    return { kind: "set", set: o.need("--match-set"), sides, not: o.not("--match-set") };
  },
  print: (m) => `${m.not ? " !" : ""} --match-set ${m.set} ${m.sides.join(",")}`,
  test(m, p) {
    const set = p.state.sets.get(m.set);
    return set !== undefined && holds(set, m, p) !== m.not;
  },
};
