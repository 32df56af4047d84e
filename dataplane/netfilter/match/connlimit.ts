/**
 * `-m connlimit` (xt_connlimit.c, nf_conncount.c): how many connections an address, or a network, has. A packet's own counts,
 * also before it is in the table; those that ended, or that TCP has closed, do not.
 */

import { isKey6, network6Of } from "../../wire/ip-key.ts";
import { maskOf } from "../../wire/prefix.ts";
import type { Conn } from "../conn.ts";
import { countedWith } from "../conn-count.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";

export type ConnlimitMatch = {
  readonly kind: "connlimit";
  readonly limit: number;
  /** Above the limit, rather than up to it. */
  readonly above: boolean;
  /** Bits of the address that count. */
  readonly bits: number;
  readonly side: "--connlimit-saddr" | "--connlimit-daddr";
};

/** The connections of the packet's address, with its own. */
function count(m: ConnlimitMatch, p: NfPacket, own: Conn): number {
  let lists = p.state.connections.get(m);
  if (lists === undefined) {
    lists = new Map();
    p.state.connections.set(m, lists);
  }
  const address = m.side === "--connlimit-saddr" ? p.src : p.dst;
  const key = isKey6(address) ? network6Of(address, m.bits) : address & maskOf(m.bits);
  const now = p.ns.world.loop.time;
  const list = countedWith(lists.get(key) ?? [], own, now);
  lists.set(key, list);
  return list.length;
}

export const connlimitMatch: MatchModule<ConnlimitMatch> = {
  name: "connlimit",
  options: {
    "--connlimit-upto": { args: 1 },
    "--connlimit-above": { args: 1 },
    "--connlimit-mask": { args: 1 },
    "--connlimit-saddr": { args: 0 },
    "--connlimit-daddr": { args: 0 },
  },
  tracks: true,
  parse(o) {
    const verb = o.one(["--connlimit-upto", "--connlimit-above"]);
    const width = o.six ? 128 : 32;
    return {
      kind: "connlimit",
      limit: o.parse(verb, o.need(verb), 0, 0xffffffff),
      above: verb === "--connlimit-above",
      bits: o.number("--connlimit-mask", 0, width) ?? width,
      side: o.has("--connlimit-daddr") ? "--connlimit-daddr" : "--connlimit-saddr",
    };
  },
  print: (m) => ` --connlimit-${m.above ? "above" : "upto"} ${m.limit} --connlimit-mask ${m.bits} ${m.side}`,
  test(m, p) {
    if (p.conn === null) return false;
    return count(m, p, p.conn) > m.limit === m.above;
  },
};
