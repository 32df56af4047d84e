/** `-m udp` (net/netfilter/xt_tcpudp.c). */

import { PROTO_UDP } from "../../wire/ipv4.ts";
import { HEADER_LEN } from "../../wire/udp.ts";
import type { MatchModule } from "./module.ts";
import { PORT_OPTIONS, type Ports, parsePorts, printPorts, testPorts } from "./ports.ts";

export type UdpMatch = { readonly kind: "udp" } & Ports;

export const udpMatch: MatchModule<UdpMatch> = {
  name: "udp",
  options: PORT_OPTIONS,
  parse(o) {
    o.needProto([PROTO_UDP], "-p udp");
    return { kind: "udp", ...parsePorts(o) };
  },
  print: printPorts,
  test: (m, p) => testPorts(m, p, HEADER_LEN),
};
