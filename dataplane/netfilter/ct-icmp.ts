/** ICMP queries (nf_conntrack_proto_icmp.c): an echo, timestamp, information or mask request and its reply. */
import { u8, u16 } from "../wire/bytes.ts";
import { HEADER_LEN } from "../wire/icmpv4.ts";
import { CT_OK, type CtProto, extend } from "./ct-proto.ts";

/** The answer to each type, and of it: type plus 1, 0 for none. */
const INVERSE: readonly number[] = (() => {
  const table = new Array<number>(256).fill(0);
  for (const [request, reply] of [
    [8, 0],
    [13, 14],
    [15, 16],
    [17, 18],
  ] as const) {
    table[request] = reply + 1;
    table[reply] = request + 1;
  }
  return table;
})();

/** A tuple that no packet has: there is no answer to such a message. */
const NONE = 0xffff;

export const icmpProto: CtProto = {
  name: "icmp",
  headerLen: HEADER_LEN,
  tupleLen: HEADER_LEN,
  ports: (b, at) => (u16(b, at + 4) << 16) | u16(b, at),
  invert(ports) {
    const type = INVERSE[(ports >>> 8) & 0xff] ?? 0;
    if (type === 0) return (ports & ~0xffff) | NONE;
    return (ports & ~0xff00) | ((type - 1) << 8);
  },
  begins(_conn, skb) {
    const type = u8(skb.buf, skb.transport);
    return type === 8 || type === 13 || type === 15 || type === 17;
  },
  packet(conn, _dir, _skb, clock, t) {
    extend(conn, clock, t.icmp);
    return CT_OK;
  },
};
