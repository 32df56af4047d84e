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

/** Those of a list that still live, with a packet's own, if it has one, which need not be in the table yet. */
export function countedWith(list: readonly Counted[], own: Conn | null, now: number): readonly Counted[] {
  const living = list.filter((c) => c.conn === own || lives(c, now));
  if (own !== null && !living.some((c) => c.conn === own && c.id === own.id)) living.push({ conn: own, id: own.id });
  return living;
}
