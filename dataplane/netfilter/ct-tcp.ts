/**
 * TCP connections (nf_conntrack_proto_tcp.c): a state for both ends together, moved by SYN, SYN-ACK, FIN, ACK and RST of
 * either direction, and windows by which segments that cannot belong to the connection are INVALID.
 *
 * Left out: SACK blocks in the window check, sequence adjustment (no helper changes payloads here), challenge ACKs after a
 * SYN in an open connection, flow offload.
 */
import type { Skb } from "../skb/skb.ts";
import { i32 } from "../wire/bytes.ts";
import * as tcp from "../wire/tcp.ts";
import {
  type Conn,
  DIR_ORIGINAL,
  DIR_REPLY,
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  swapPorts,
  type TcpSide,
  type TcpSides,
} from "./conn.ts";
import { CT_INVALID, CT_KILL, CT_OK, CT_REPEAT, type CtProto, extend, PORTS_LEN } from "./ct-proto.ts";
import type { CtTimeouts } from "./ct-timeouts.ts";

export const TCP_NONE = 0;
export const TCP_SYN_SENT = 1;
export const TCP_SYN_RECV = 2;
export const TCP_ESTABLISHED = 3;
export const TCP_FIN_WAIT = 4;
export const TCP_CLOSE_WAIT = 5;
export const TCP_LAST_ACK = 6;
export const TCP_TIME_WAIT = 7;
export const TCP_CLOSE = 8;
export const TCP_SYN_SENT2 = 9;
const INVALID = 10;
const IGNORE = 11;

export const TCP_STATES: readonly string[] = [
  "NONE",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSE",
  "SYN_SENT2",
];

/** Kinds of segment. */
const SYN = 0;
const SYNACK = 1;
const FIN = 2;
const ACK = 3;
const RST = 4;
const NO_FLAG = 5;

const LETTERS = "-srEFWLTC2!.";

/** A row of ten states, a letter each: "!" is INVALID, "." is ignored. */
function row(text: string): readonly number[] {
  return [...text].map((c) => LETTERS.indexOf(c));
}

/** Next state, by direction, kind of segment and state: NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT … SYN_SENT2. */
const NEXT: readonly (readonly (readonly number[])[])[] = [
  [
    row("ss.....ss2"), // SYN
    row("!!r!!!!!!r"), // SYN-ACK
    row("!!FFLLLTC!"), // FIN
    row("E!EEWWTTC!"), // ACK
    row("!CCCCCCCCC"), // RST
    row("!!!!!!!!!!"),
  ],
  [row("!2!!!!!s!2"), row("!r.......r"), row("!!FFLLLTC!"), row("!.rEWWTTC."), row("!CCCCCCCCC"), row("!!!!!!!!!!")],
];

/** Flags of a side. */
const LIBERAL = 1;
const CLOSE_INIT = 2;
const SCALE_SENT = 4;

function kindOf(flags: number): number {
  if ((flags & tcp.RST) !== 0) return RST;
  if ((flags & tcp.SYN) !== 0) return (flags & tcp.ACK) !== 0 ? SYNACK : SYN;
  if ((flags & tcp.FIN) !== 0) return FIN;
  return (flags & tcp.ACK) !== 0 ? ACK : NO_FLAG;
}

/** Combinations of flags that a stack sends; ECE, CWR and PSH may be there too. */
function validFlags(flags: number): boolean {
  const f = flags & ~(tcp.ECE | tcp.CWR | tcp.PSH);
  switch (f) {
    case tcp.SYN:
    case tcp.SYN | tcp.URG:
    case tcp.SYN | tcp.ACK:
    case tcp.RST:
    case tcp.RST | tcp.ACK:
    case tcp.FIN | tcp.ACK:
    case tcp.FIN | tcp.ACK | tcp.URG:
    case tcp.ACK:
    case tcp.ACK | tcp.URG:
      return true;
    default:
      return false;
  }
}

function wellFormed(skb: Skb): boolean {
  const head = tcp.dataOffset(skb.buf, skb.transport);
  return head >= tcp.HEADER_LEN && head <= skb.end - skb.transport && validFlags(tcp.flags(skb.buf, skb.transport));
}

/** The sequence number after the segment. */
function endOf(skb: Skb, flags: number): number {
  const payload = skb.end - skb.transport - tcp.dataOffset(skb.buf, skb.transport);
  const extra = ((flags & tcp.SYN) !== 0 ? 1 : 0) + ((flags & tcp.FIN) !== 0 ? 1 : 0);
  return (tcp.seq(skb.buf, skb.transport) + payload + extra) >>> 0;
}

function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

function after(a: number, b: number): boolean {
  return before(b, a);
}

function side(): TcpSide {
  return { end: 0, maxEnd: 0, maxWin: 0, scale: 0, flags: 0 };
}

/** Reads the window scale of a SYN. */
function readOptions(s: TcpSide, skb: Skb): void {
  const scale = tcp.windowScale(skb.buf, skb.transport);
  s.scale = scale < 0 ? 0 : Math.min(14, scale);
  s.flags = scale < 0 ? 0 : SCALE_SENT;
}

export const tcpProto: CtProto = {
  name: "tcp",
  headerLen: tcp.HEADER_LEN,
  tupleLen: PORTS_LEN,
  ports: (b, at) => i32(b, at),
  invert: swapPorts,

  begins(conn, skb) {
    if (!wellFormed(skb)) return false;
    const flags = tcp.flags(skb.buf, skb.transport);
    const next = NEXT[DIR_ORIGINAL]?.[kindOf(flags)]?.[TCP_NONE] ?? INVALID;
    if (next >= INVALID) return false;
    const sender = side();
    const receiver = side();
    sender.end = endOf(skb, flags);
    sender.maxWin = Math.max(1, tcp.window(skb.buf, skb.transport));
    sender.maxEnd = sender.end;
    if (next === TCP_SYN_SENT) {
      readOptions(sender, skb);
    } else {
      // Picked up in the middle: windows are not known.
      sender.maxEnd = (sender.end + sender.maxWin) >>> 0;
      sender.flags = LIBERAL;
      receiver.flags = LIBERAL;
    }
    conn.state = TCP_NONE;
    conn.tcp = {
      sides: [sender, receiver],
      lastDir: DIR_ORIGINAL,
      lastIndex: NO_FLAG,
      lastSeq: 0,
      lastAck: 0,
      lastEnd: 0,
      lastWin: 0,
      retrans: 0,
    };
    return true;
  },

  packet(conn, dir, skb, clock, t) {
    const tr = conn.tcp;
    if (tr === null || !wellFormed(skb)) return CT_INVALID;
    const b = skb.buf;
    const th = skb.transport;
    const flags = tcp.flags(b, th);
    const kind = kindOf(flags);
    const old = conn.state;
    let next = NEXT[dir]?.[kind]?.[old] ?? INVALID;
    if (old === TCP_NONE && next !== TCP_SYN_SENT && !t.loose) return CT_INVALID;
    if (next === TCP_SYN_SENT && old >= TCP_TIME_WAIT) {
      // The ports are used again: the old connection is over, if it was closed in order.
      const closed = ((tr.sides[0].flags | tr.sides[1].flags) & CLOSE_INIT) !== 0;
      if (closed || (tr.lastDir === dir && tr.lastIndex === RST)) return CT_REPEAT;
      next = IGNORE;
    }
    if (next === IGNORE) {
      if (kind === SYNACK && tr.lastIndex === SYN && tr.lastDir !== dir && tcp.ack(b, th) === tr.lastEnd) {
        // The other end answers a SYN that was ignored: both restarted while we did not see it.
        const restarted = tr.sides[1 - dir] as TcpSide;
        restarted.end = tr.lastEnd;
        restarted.maxEnd = tr.lastEnd;
        restarted.maxWin = Math.max(1, tr.lastWin);
        next = TCP_SYN_RECV;
      } else {
        remember(tr, dir, kind, skb, flags);
        return CT_OK;
      }
    }
    if (next === INVALID) return CT_INVALID;
    if (next === TCP_SYN_RECV && dir === DIR_REPLY && kind === ACK && old === TCP_SYN_SENT2) next = TCP_ESTABLISHED;
    if (next === TCP_CLOSE && kind === RST && !validReset(tr, dir, skb)) return CT_INVALID;
    if (!inWindow(tr, dir, kind, skb, flags, t)) return CT_INVALID;
    conn.state = next;
    if (old !== next && next === TCP_FIN_WAIT) (tr.sides[dir] as TcpSide).flags |= CLOSE_INIT;
    if ((conn.status & IPS_SEEN_REPLY) === 0) {
      if (kind === RST) return CT_KILL;
    } else if ((conn.status & IPS_ASSURED) === 0 && next === TCP_ESTABLISHED) {
      if (old === TCP_SYN_RECV || old === TCP_ESTABLISHED) conn.status |= IPS_ASSURED;
    }
    extend(conn, clock, lifetime(conn, tr, next, t));
    return CT_OK;
  },

  stateName: (conn) => TCP_STATES[conn.state] ?? "NONE",
};

function lifetime(conn: Conn, tr: TcpSides, state: number, t: CtTimeouts): number {
  const ms = t.tcp[state] ?? 0;
  if (tr.retrans >= t.maxRetrans && ms > t.tcpRetrans) return t.tcpRetrans;
  if (tr.lastWin === 0 && ms > t.tcpRetrans && state !== TCP_CLOSE) return t.tcpRetrans;
  if (state === TCP_ESTABLISHED && (conn.status & IPS_SEEN_REPLY) === 0) return Math.min(ms, t.tcpUnacknowledged);
  return ms;
}

function remember(tr: TcpSides, dir: number, kind: number, skb: Skb, flags: number): void {
  tr.lastIndex = kind;
  tr.lastDir = dir;
  tr.lastSeq = tcp.seq(skb.buf, skb.transport);
  tr.lastAck = tcp.ack(skb.buf, skb.transport);
  tr.lastEnd = endOf(skb, flags);
  tr.lastWin = tcp.window(skb.buf, skb.transport);
}

/** A reset must not lie before what its receiver has acknowledged already. */
function validReset(tr: TcpSides, dir: number, skb: Skb): boolean {
  const sender = tr.sides[dir] as TcpSide;
  const receiver = tr.sides[1 - dir] as TcpSide;
  if (sender.maxWin === 0 || ((sender.flags | receiver.flags) & LIBERAL) !== 0) return true;
  const seq = tcp.seq(skb.buf, skb.transport);
  return seq === 0 || !before(seq, (sender.end - receiver.maxWin - 1) >>> 0);
}

/** tcp_in_window, after Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter". */
function inWindow(tr: TcpSides, dir: number, kind: number, skb: Skb, flags: number, t: CtTimeouts): boolean {
  const sender = tr.sides[dir] as TcpSide;
  const receiver = tr.sides[1 - dir] as TcpSide;
  const b = skb.buf;
  const th = skb.transport;
  let seq = tcp.seq(b, th);
  let end = endOf(skb, flags);
  let ack = tcp.ack(b, th);
  const syn = (flags & tcp.SYN) !== 0;
  const rawWin = tcp.window(b, th);
  if (sender.maxWin === 0) {
    // The first segment of this side.
    if (syn) {
      sender.end = end;
      sender.maxEnd = end;
      sender.maxWin = Math.max(1, rawWin);
      const liberal = sender.flags & LIBERAL;
      readOptions(sender, skb);
      if ((sender.flags & SCALE_SENT) === 0 || (receiver.flags & SCALE_SENT) === 0) {
        sender.scale = 0;
        receiver.scale = 0;
      }
      sender.flags |= liberal;
      if ((flags & tcp.ACK) === 0) return true;
    } else {
      sender.end = end;
      sender.maxWin = rawWin === 0 ? 1 : rawWin;
      sender.maxEnd = (end + sender.maxWin) >>> 0;
      if (receiver.maxWin === 0) {
        receiver.end = ack;
        receiver.maxEnd = ack;
      }
    }
  } else if (syn && dir === DIR_ORIGINAL && kind === SYN && tr.lastIndex !== ACK) {
    // A SYN sent again, perhaps with another sequence number.
    sender.end = end;
    sender.maxEnd = end;
    sender.maxWin = Math.max(1, rawWin);
    readOptions(sender, skb);
  }
  if ((flags & tcp.ACK) === 0) ack = receiver.end;
  else if (kind === RST && ack === 0) ack = receiver.end;
  if (kind === RST && seq === 0) {
    seq = sender.end;
    end = sender.end;
  }
  const win = syn ? rawWin : rawWin * 2 ** sender.scale;
  const ok =
    !after(seq, (sender.maxEnd + 1) >>> 0) &&
    !before(end, (sender.end - receiver.maxWin - 1) >>> 0) &&
    !after(ack, receiver.end) &&
    !before(ack, (receiver.end - Math.max(sender.maxWin, 66_000) - 1) >>> 0);
  if (!ok && !t.liberal && ((sender.flags | receiver.flags) & LIBERAL) === 0) return false;
  const reach = (ack + win) >>> 0;
  sender.maxWin = Math.max(sender.maxWin, win);
  if (after(end, sender.end)) sender.end = end;
  if (after(reach, receiver.maxEnd) || receiver.maxWin === 0) receiver.maxEnd = win === 0 ? (reach + 1) >>> 0 : reach;
  if (kind === ACK && tr.lastDir === dir && tr.lastSeq === seq && tr.lastAck === ack && tr.lastEnd === end) {
    if (tr.lastWin === rawWin) tr.retrans++;
  } else {
    tr.retrans = 0;
  }
  remember(tr, dir, kind, skb, flags);
  return true;
}
