/** The operation conntrack.flush on a namespace: `conntrack -D -p PROTOCOL --orig-port-dst PORT [-d ADDRESS]`. */
import type { NetNs } from "../netns/netns.ts";
import { type ConntrackFlush, NetlinkError } from "../netns/rtnl-ops.ts";
import { formatIpPort, isKey6, parseIp } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Conn } from "./conn.ts";
import { netfilter6Of, netfilterOf } from "./restore-op.ts";

const NUMBERS: Readonly<Record<ConntrackFlush["protocol"], number>> = {
  tcp: ipv4.PROTO_TCP,
  udp: ipv4.PROTO_UDP,
  sctp: ipv4.PROTO_SCTP,
};

/** Forgets the connections; answers how many there were. */
export function flushConntrack(ns: NetNs, op: ConntrackFlush): number {
  const six = op.family === "ipv6";
  const proto = NUMBERS[op.protocol];
  const dst = op.dst === undefined ? undefined : parseIp(op.dst);
  if (op.dst !== undefined && (dst === undefined || isKey6(dst) !== six))
    throw new NetlinkError("EINVAL", `"${op.dst}" is not an IPv${six ? 6 : 4} address`, op);
  const kept = new Set(op.except);
  const goes = ({ original, reply }: Conn): boolean =>
    original.proto === proto &&
    isKey6(original.dst) === six &&
    (original.ports & 0xffff) === op.dstPort &&
    (dst === undefined || original.dst === (dst | 0)) &&
    !kept.has(formatIpPort(reply.src, reply.ports >>> 16));
  return (netfilterOf(ns) ?? netfilter6Of(ns))?.conntrack.deleteWhere(goes) ?? 0;
}
