/**
 * Connections in ctnetlink (linux/netfilter/nfnetlink_conntrack.h), as far as forgetting those to a port needs it: all are
 * dumped, and each that matches is deleted by the very tuple that was read.
 *
 *     nfgenmsg                  family 1 | version 1 | 0 2
 *     CTA_TUPLE_ORIG, _REPLY    CTA_TUPLE_IP (source, destination), CTA_TUPLE_PROTO (number 1, ports 2 each, big-endian)
 */
import { type AttrStream, parseAttributes } from "netlink/dist/structs.js";
import { type ConntrackFlush, NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { AF_INET, AF_INET6, formatAddress } from "./ip-text.ts";
import type { NetlinkSocket } from "./netlink-socket.ts";

export const NETLINK_NETFILTER = 12;
const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const HEADER_LEN = 4;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_TUPLE_IP = 1;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

function header(out: AttrStream, family: number): void {
  out.emit(Buffer.of(family, 0, 0, 0));
}

/** One direction of a connection; addresses as octets. */
type Tuple = {
  readonly src: Buffer;
  readonly dst: Buffer;
  readonly proto: number;
  readonly srcPort: number;
  readonly dstPort: number;
};

function readTuple(data: Buffer): Tuple {
  let src: Buffer = Buffer.alloc(0);
  let dst: Buffer = Buffer.alloc(0);
  let [proto, srcPort, dstPort] = [-1, -1, -1];
  parseAttributes(data, ({ type, data: part }) => {
    parseAttributes(part, ({ type: field, data: value }) => {
      if (type === CTA_TUPLE_IP) {
        if (field === CTA_IP_V4_SRC || field === CTA_IP_V6_SRC) src = value;
        else if (field === CTA_IP_V4_DST || field === CTA_IP_V6_DST) dst = value;
      } else if (type === CTA_TUPLE_PROTO) {
        if (field === CTA_PROTO_NUM) proto = value[0] ?? -1;
        else if (field === CTA_PROTO_SRC_PORT) srcPort = value.readUInt16BE();
        else if (field === CTA_PROTO_DST_PORT) dstPort = value.readUInt16BE();
      }
    });
  });
  return { src, dst, proto, srcPort, dstPort };
}

/** The original tuple, as it came, of an entry that matches. */
function matching(data: Buffer, op: ConntrackFlush): Buffer | undefined {
  let [original, reply]: [Buffer | undefined, Buffer | undefined] = [undefined, undefined];
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: tuple }) => {
    if (type === CTA_TUPLE_ORIG) original = tuple;
    else if (type === CTA_TUPLE_REPLY) reply = tuple;
  });
  if (original === undefined || reply === undefined) return undefined;
  const { proto, dstPort, dst } = readTuple(original);
  if (proto !== PROTOCOLS[op.protocol] || dstPort !== op.dstPort) return undefined;
  if (op.dst !== undefined && formatAddress(dst) !== op.dst) return undefined;
  const from = readTuple(reply);
  const text = formatAddress(from.src);
  const server = `${text.includes(":") ? `[${text}]` : text}:${from.srcPort}`;
  return op.except?.includes(server) === true ? undefined : original;
}

export function flushConntrack(socket: NetlinkSocket, op: ConntrackFlush): void {
  const family = op.family === "ipv4" ? AF_INET : AF_INET6;
  const what = `connections to ${op.protocol} port ${op.dstPort} in ${op.netns}`;
  for (const { data } of socket.dump(CT_GET, (out) => header(out, family), what)) {
    const tuple = matching(data, op);
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
