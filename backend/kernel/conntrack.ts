/**
 * Connections in ctnetlink (linux/netfilter/nfnetlink_conntrack.h), as far as forgetting those to a port needs it: all are
 * dumped, and each that matches is deleted by the very tuple that was read.
 *
 *     nfgenmsg        family 1 | version 1 | 0 2
 *     CTA_TUPLE_ORIG  CTA_TUPLE_IP …, CTA_TUPLE_PROTO (number 1, source port 2, destination port 2, big-endian)
 */
import { type AttrStream, parseAttributes } from "netlink/dist/structs.js";
import { type ConntrackFlush, NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { AF_INET, AF_INET6 } from "./ip-text.ts";
import type { NetlinkSocket } from "./netlink-socket.ts";

export const NETLINK_NETFILTER = 12;
const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const HEADER_LEN = 4;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

function header(out: AttrStream, family: number): void {
  out.emit(Buffer.of(family, 0, 0, 0));
}

/** The original tuple of an entry that matches. */
function matching(data: Buffer, protocol: number, port: number): Buffer | undefined {
  let found: Buffer | undefined;
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: tuple }) => {
    if (type !== CTA_TUPLE_ORIG) return;
    let [number, dstPort] = [-1, -1];
    parseAttributes(tuple, ({ type: part, data: proto }) => {
      if (part !== CTA_TUPLE_PROTO) return;
      parseAttributes(proto, ({ type: field, data: value }) => {
        if (field === CTA_PROTO_NUM) number = value[0] ?? -1;
        else if (field === CTA_PROTO_DST_PORT) dstPort = value.readUInt16BE();
      });
    });
    if (number === protocol && dstPort === port) found = tuple;
  });
  return found;
}

export function flushConntrack(socket: NetlinkSocket, op: ConntrackFlush): void {
  const family = op.family === "ipv4" ? AF_INET : AF_INET6;
  const what = `connections to ${op.protocol} port ${op.dstPort} in ${op.netns}`;
  for (const { data } of socket.dump(CT_GET, (out) => header(out, family), what)) {
    const tuple = matching(data, PROTOCOLS[op.protocol], op.dstPort);
    if (tuple === undefined) continue;
    try {
      const body = (out: AttrStream): void => {
        header(out, family);
        out.push(CTA_TUPLE_ORIG, tuple);
      };
      socket.request(CT_DELETE, 0, body, what);
    } catch (error) {
      // it ended by itself meanwhile
      if (!(error instanceof NetlinkError) || error.code !== "ENOENT") throw error;
    }
  }
}
