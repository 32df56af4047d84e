/** The operation conntrack.flush on a namespace: `conntrack -D -p PROTOCOL --orig-port-dst PORT`. */
import type { NetNs } from "../netns/netns.ts";
import type { ConntrackFlush } from "../netns/rtnl-ops.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { netfilterOf } from "./restore-op.ts";

const NUMBERS: Readonly<Record<ConntrackFlush["protocol"], number>> = {
  tcp: ipv4.PROTO_TCP,
  udp: ipv4.PROTO_UDP,
  sctp: ipv4.PROTO_SCTP,
};

/** Forgets the connections; answers how many there were. There are none of IPv6. */
export function flushConntrack(ns: NetNs, op: ConntrackFlush): number {
  if (op.family !== "ipv4") return 0;
  const proto = NUMBERS[op.protocol];
  const conntrack = netfilterOf(ns)?.conntrack;
  return conntrack?.deleteWhere((c) => c.original.proto === proto && (c.original.ports & 0xffff) === op.dstPort) ?? 0;
}
