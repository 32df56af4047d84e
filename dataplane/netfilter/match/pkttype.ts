/** `-m pkttype` (xt_pkttype.c): who the frame was for. */
import { PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST } from "../../skb/skb.ts";
import { isMulticast4 } from "../../wire/ipv4-addr.ts";
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type PkttypeMatch = {
  readonly kind: "pkttype";
  readonly type: "unicast" | "broadcast" | "multicast";
  readonly not: boolean;
};

export const pkttypeMatch: MatchModule<PkttypeMatch> = {
  name: "pkttype",
  options: { "--pkt-type": { args: 1, not: true } },
  parse(o) {
    const type = o.need("--pkt-type").toLowerCase();
    if (type !== "unicast" && type !== "broadcast" && type !== "multicast") {
      return o.fail(`option --pkt-type: "${type}" is not unicast, broadcast or multicast`);
    }
    return { kind: "pkttype", type, not: o.not("--pkt-type") };
  },
  print: (m) => opt(m.not, "--pkt-type", m.type),
  test(m, p) {
    const wanted = m.type === "unicast" ? PACKET_HOST : m.type === "broadcast" ? PACKET_BROADCAST : PACKET_MULTICAST;
    // What this host sends has no type of its own: its address tells.
    const own = p.input === null && isMulticast4(p.dst) ? PACKET_MULTICAST : p.skb.pktType;
    return (own === wanted) !== m.not;
  },
};
