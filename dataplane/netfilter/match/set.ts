/** `-m set` (xt_set.c): whether addresses and ports of the packet are in an ipset. */
import { u16 } from "../../wire/bytes.ts";
import * as ipv4 from "../../wire/ipv4.ts";
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
    if (set === undefined) return false;
    const address = m.sides[0] === "src" ? p.src : p.dst;
    const port = set.type === "hash:ip,port" ? portOf(p, m.sides[1] ?? "dst") : 0;
    return (port >= 0 && set.has(address, p.proto, port)) !== m.not;
  },
};
