/** `-m tcpmss` (xt_tcpmss.c): the maximum segment size that a SYN offers; without the option it does not match. */
import { PROTO_TCP } from "../../wire/ipv4.ts";
import * as tcp from "../../wire/tcp.ts";
import { opt, portRange } from "../options.ts";
import type { MatchModule } from "./module.ts";
import type { PortRange } from "./ports.ts";

export type TcpmssMatch = { readonly kind: "tcpmss"; readonly range: PortRange; readonly not: boolean };

export const tcpmssMatch: MatchModule<TcpmssMatch> = {
  name: "tcpmss",
  options: { "--mss": { args: 1, not: true } },
  parse(o) {
    o.needProto([PROTO_TCP], "-p tcp");
    o.need("--mss");
    return { kind: "tcpmss", range: o.ports("--mss") ?? { min: 0, max: 0xffff }, not: o.not("--mss") };
  },
  print: (m) => opt(m.not, "--mss", portRange(m.range)),
  test(m, p) {
    if (p.fragment !== 0) return false;
    if (tcp.check(p.b, p.transport, p.end) !== 0) {
      p.hotdrop = true;
      return false;
    }
    if (tcp.findOption(p.b, p.transport, tcp.OPT_MSS) < 0) return m.not;
    const mss = tcp.mss(p.b, p.transport);
    return (mss >= m.range.min && mss <= m.range.max) !== m.not;
  },
};
