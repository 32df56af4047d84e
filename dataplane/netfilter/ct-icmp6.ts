/** ICMPv6 queries (nf_conntrack_proto_icmpv6.c): an echo request and its reply, a node information query and its answer. */
import { u8, u16 } from "../wire/bytes.ts";
import { ECHO_REPLY, ECHO_REQUEST, HEADER_LEN } from "../wire/icmpv6.ts";
import { CT_OK, type CtProto, extend } from "./ct-proto.ts";

const NI_QUERY = 139;
const NI_REPLY = 140;
/** A tuple that no packet has: there is no answer to such a message. */
const NONE = 0xffff;

function inverse(type: number): number {
  switch (type) {
    case ECHO_REQUEST:
      return ECHO_REPLY;
    case ECHO_REPLY:
      return ECHO_REQUEST;
    case NI_QUERY:
      return NI_REPLY;
    case NI_REPLY:
      return NI_QUERY;
    default:
      return -1;
  }
}

export const icmp6Proto: CtProto = {
  name: "icmpv6",
  headerLen: HEADER_LEN,
  tupleLen: HEADER_LEN,
  ports: (b, at) => (u16(b, at + 4) << 16) | u16(b, at),
  invert(ports) {
    const type = inverse((ports >>> 8) & 0xff);
    return type < 0 ? (ports & ~0xffff) | NONE : (ports & ~0xff00) | (type << 8);
  },
  begins(_conn, skb) {
    const type = u8(skb.buf, skb.transport);
    return type === ECHO_REQUEST || type === NI_QUERY;
  },
  packet(conn, _dir, _skb, clock, t) {
    extend(conn, clock, t.icmp6);
    return CT_OK;
  },
};
