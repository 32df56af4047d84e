/**
 * SCTP associations (nf_conntrack_proto_sctp.c): a state for both ends, moved by the chunk that stands first. Left out:
 * verification tags, chunks after the first, secondary paths (heartbeats begin a connection of their own).
 */
import { i32 } from "../wire/bytes.ts";
import * as sctp from "../wire/sctp.ts";
import { DIR_REPLY, IPS_ASSURED, swapPorts } from "./conn.ts";
import { CT_INVALID, CT_OK, type CtProto, extend } from "./ct-proto.ts";

const NONE = 0;
const CLOSED = 1;
const COOKIE_WAIT = 2;
const COOKIE_ECHOED = 3;
const ESTABLISHED = 4;
const SHUTDOWN_SENT = 5;
const SHUTDOWN_RECD = 6;
const SHUTDOWN_ACK_SENT = 7;
const HEARTBEAT_SENT = 8;

const NAMES: readonly string[] = [
  "NONE",
  "CLOSED",
  "COOKIE_WAIT",
  "COOKIE_ECHOED",
  "ESTABLISHED",
  "SHUTDOWN_SENT",
  "SHUTDOWN_RECD",
  "SHUTDOWN_ACK_SENT",
  "HEARTBEAT_SENT",
];

/** The state after a chunk; CLOSED for what ends an association, NONE for what is not valid. */
function next(state: number, chunk: number, dir: number): number {
  const reply = dir === DIR_REPLY;
  if (reply && state === NONE) return NONE;
  switch (chunk) {
    case sctp.INIT:
      if (reply) return state;
      return state === NONE || state === CLOSED || state === HEARTBEAT_SENT ? COOKIE_WAIT : state;
    case sctp.INIT_ACK:
      return reply && state === CLOSED ? COOKIE_WAIT : state === NONE ? CLOSED : state;
    case sctp.ABORT:
      return CLOSED;
    case sctp.SHUTDOWN:
      if (state === ESTABLISHED) return reply ? SHUTDOWN_RECD : SHUTDOWN_SENT;
      return state === NONE ? CLOSED : state;
    case sctp.SHUTDOWN_ACK:
      return state === NONE || state >= SHUTDOWN_SENT ? SHUTDOWN_ACK_SENT : state;
    case sctp.COOKIE_ECHO:
      return !reply && state === COOKIE_WAIT ? COOKIE_ECHOED : state === NONE ? CLOSED : state;
    case sctp.COOKIE_ACK:
      return reply && state === COOKIE_ECHOED ? ESTABLISHED : state === NONE ? CLOSED : state;
    case sctp.SHUTDOWN_COMPLETE:
      return state === SHUTDOWN_ACK_SENT || state === NONE ? CLOSED : state;
    case sctp.HEARTBEAT:
      return state === NONE ? HEARTBEAT_SENT : state;
    case sctp.HEARTBEAT_ACK:
      return state === HEARTBEAT_SENT && reply ? ESTABLISHED : state === NONE ? CLOSED : state;
    default:
      // DATA, SACK and the rest belong to an open association.
      return state === NONE ? CLOSED : state;
  }
}

export const sctpProto: CtProto = {
  name: "sctp",
  headerLen: sctp.HEADER_LEN,
  ports: (b, at) => i32(b, at),
  invert: swapPorts,
  begins(_conn, skb) {
    if (sctp.check(skb.buf, skb.transport, skb.end) !== 0) return false;
    const to = next(NONE, sctp.chunkType(skb.buf, skb.transport), 0);
    return to !== NONE && to !== CLOSED;
  },
  packet(conn, dir, skb, now, t) {
    if (sctp.check(skb.buf, skb.transport, skb.end) !== 0) return CT_INVALID;
    const old = conn.state;
    const to = next(old, sctp.chunkType(skb.buf, skb.transport), dir);
    if (to === NONE) return CT_INVALID;
    conn.state = to;
    if (to === ESTABLISHED && old !== ESTABLISHED && dir === DIR_REPLY) conn.status |= IPS_ASSURED;
    extend(conn, now, t.sctp[to] ?? 0);
    return CT_OK;
  },
  stateName: (conn) => NAMES[conn.state] ?? "NONE",
};
