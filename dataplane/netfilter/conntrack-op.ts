/** The operation conntrack.flush on a namespace: `conntrack -D -p PROTOCOL --orig-port-dst PORT [-d ADDRESS]`. */
import type { NetNs } from "../netns/netns.ts";
import { type ConntrackFlush, NetlinkError } from "../netns/rtnl-ops.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import type { Conn } from "./conn.ts";
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
  const dst = op.dst === undefined ? undefined : parseIpv4(op.dst);
  if (op.dst !== undefined && dst === undefined)
    throw new NetlinkError("EINVAL", `"${op.dst}" is not an IPv4 address`, op);
  const kept = new Set(op.except);
  const goes = ({ original, reply }: Conn): boolean =>
    original.proto === proto &&
    (original.ports & 0xffff) === op.dstPort &&
    (dst === undefined || original.dst === (dst | 0)) &&
    !kept.has(`${formatIpv4(reply.src)}:${reply.ports >>> 16}`);
  return netfilterOf(ns)?.conntrack.deleteWhere(goes) ?? 0;
}
