/** `-m multiport` (xt_multiport.c): up to fifteen ports, a range counting for two. */
import { u16 } from "../../wire/bytes.ts";
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../../wire/ipv4.ts";
import { opt, portRange } from "../options.ts";
import type { MatchModule } from "./module.ts";
import type { PortRange } from "./ports.ts";

export type MultiportMatch = {
  readonly kind: "multiport";
  /** "--ports" takes either side. */
  readonly side: "--sports" | "--dports" | "--ports";
  readonly ports: readonly PortRange[];
  readonly not: boolean;
};

const MAX = 15;
const PROTOCOLS = [PROTO_TCP, PROTO_UDP, PROTO_SCTP, 33, 136];

export const multiportMatch: MatchModule<MultiportMatch> = {
  name: "multiport",
  options: {
    "--sports": { args: 1, not: true },
    "--source-ports": { args: 1, not: true, as: "--sports" },
    "--dports": { args: 1, not: true },
    "--destination-ports": { args: 1, not: true, as: "--dports" },
    "--ports": { args: 1, not: true },
  },
  parse(o) {
    const side = o.one(["--sports", "--dports", "--ports"]) as MultiportMatch["side"];
    o.needProto(PROTOCOLS, "-p tcp, udp, udplite, sctp or dccp");
    const ports = o
      .need(side)
      .split(",")
      .map((text) => {
        const [from = "", to] = text.split(":");
        const min = o.port(side, from);
        const max = to === undefined ? min : o.port(side, to);
        if (max < min) o.fail(`option ${side}: ${text} ends before it begins`);
        return { min, max };
      });
    const count = ports.reduce((n, r) => n + (r.min === r.max ? 1 : 2), 0);
    if (count > MAX) o.fail(`option ${side}: ${count} ports, ${MAX} are the most`);
    return { kind: "multiport", side, ports, not: o.not(side) };
  },
  print: (m) => opt(m.not, m.side, m.ports.map(portRange).join(",")),
  test(m, p) {
    if (p.fragment !== 0) return false;
    if (p.end - p.transport < 4) {
      p.hotdrop = true;
      return false;
    }
    const sport = u16(p.b, p.transport);
    const dport = u16(p.b, p.transport + 2);
    for (const r of m.ports) {
      if (m.side !== "--dports" && sport >= r.min && sport <= r.max) return !m.not;
      if (m.side !== "--sports" && dport >= r.min && dport <= r.max) return !m.not;
    }
    return m.not;
  },
};
