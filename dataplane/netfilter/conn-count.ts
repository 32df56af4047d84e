/** Connections that are counted (nf_conncount.c): those that ended, or that TCP has closed, are not. */
import { PROTO_TCP } from "../wire/ipv4.ts";
import type { Conn } from "./conn.ts";
import { IPS_DYING } from "./conn.ts";
import { TCP_CLOSE, TCP_TIME_WAIT } from "./ct-tcp.ts";

/** A connection that was counted. Its number tells it from another one in its place. */
export type Counted = { readonly conn: Conn; readonly id: number };

function lives({ conn, id }: Counted, now: number): boolean {
  if (conn.id !== id || !conn.confirmed || (conn.status & IPS_DYING) !== 0 || conn.expires <= now) return false;
  return conn.proto !== PROTO_TCP || (conn.state !== TCP_TIME_WAIT && conn.state !== TCP_CLOSE);
}

/**
 * A list after a packet was counted, whose own connection, if it has one, need not be in the table yet. As in Linux the list is
 * looked through up to that one only: those behind it are not missed before a connection that is not in the list comes.
 */
export function countedWith(list: readonly Counted[], own: Conn | null, now: number): readonly Counted[] {
  const at = own === null ? -1 : list.findIndex((c) => c.conn === own && c.id === own.id);
  if (at >= 0) return [...list.slice(0, at).filter((c) => lives(c, now)), ...list.slice(at)];
  const living = list.filter((c) => lives(c, now));
  return own === null ? living : [...living, { conn: own, id: own.id }];
}
