/** UDP connections (nf_conntrack_proto_udp.c): a stream, kept longer, once it was answered for more than two seconds. */
import { i32, u16 } from "../wire/bytes.ts";
import { HEADER_LEN, LENGTH } from "../wire/udp.ts";
import { IPS_ASSURED, IPS_CONFIRMED, IPS_SEEN_REPLY, swapPorts } from "./conn.ts";
import { CT_INVALID, CT_OK, type CtProto, extend, PORTS_LEN } from "./ct-proto.ts";

/** Milliseconds after which an answered connection counts as a stream. */
const STREAM_AFTER = 2000;

export const udpProto: CtProto = {
  name: "udp",
  headerLen: HEADER_LEN,
  tupleLen: PORTS_LEN,
  ports: (b, at) => i32(b, at),
  invert: swapPorts,
  begins: () => true,
  packet(conn, _dir, skb, clock, t) {
    // udp_error: a datagram that says more or less than there is.
    const length = u16(skb.buf, skb.transport + LENGTH);
    if (length > skb.end - skb.transport || length < HEADER_LEN) return CT_INVALID;
    // In whole milliseconds: a fraction would make the state of every connection a box of its own.
    if ((conn.status & IPS_CONFIRMED) === 0) conn.state = Math.floor(clock.time) + STREAM_AFTER;
    if ((conn.status & IPS_SEEN_REPLY) === 0 || clock.time <= conn.state) {
      extend(conn, clock, t.udp);
    } else {
      extend(conn, clock, t.udpStream);
      conn.status |= IPS_ASSURED;
    }
    return CT_OK;
  },
};
