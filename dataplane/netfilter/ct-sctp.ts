/**
 * SCTP associations (nf_conntrack_proto_sctp.c): a state for both ends, moved by each chunk of a packet, and the verification
 * tag that the packets of each direction must bear (RFC 9260 section 8.5). Heartbeats begin a connection of their own, as
 * another path of an association does. Not as on Linux: where an INIT announces the very tag that a heartbeat to its sender
 * bore before, Linux lets an INIT ACK announce another.
 */
import type { Skb } from "../skb/skb.ts";
import { i32, u8, u16 } from "../wire/bytes.ts";
import * as sctp from "../wire/sctp.ts";
import { type Conn, DIR_ORIGINAL, DIR_REPLY, IPS_ASSURED, IPS_CONFIRMED, type SctpSides, swapPorts } from "./conn.ts";
import { CT_INVALID, CT_OK, type CtProto, extend, PORTS_LEN } from "./ct-proto.ts";

const NONE = 0;
const CLOSED = 1;
const ESTABLISHED = 4;
const INVALID = 9;

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

/** A letter for each state, in their order; "!" is INVALID. */
const LETTERS = "-CWEOsrAH!";

function row(text: string): readonly number[] {
  return [...text].map((letter) => LETTERS.indexOf(letter));
}

/** Next state by chunk, direction and state, NONE first. Chunks that are not here leave the state as it is. */
const NEXT: ReadonlyMap<number, readonly (readonly number[])[]> = new Map(
  (
    [
      [sctp.INIT, "CCWEOCCAW", "!CWEOsrA!"],
      [sctp.INIT_ACK, "CCWEOsrAC", "!WWEOsrA!"],
      [sctp.ABORT, "CCCCCCCCC", "!CCCCCCC!"],
      [sctp.SHUTDOWN, "CCWEssrAC", "!CWErsrA!"],
      [sctp.SHUTDOWN_ACK, "ACWEOAAAA", "!CWEOAAA!"],
      [sctp.ERROR, "CCWEOsrAC", "!CWCOsrA!"],
      [sctp.COOKIE_ECHO, "CCEEOsrAC", "!CEEOsrA!"],
      [sctp.COOKIE_ACK, "CCWOOsrAC", "!CWOOsrA!"],
      [sctp.SHUTDOWN_COMPLETE, "CCWEOsrCC", "!CWEOsrC!"],
      [sctp.HEARTBEAT, "HCWEOsrAH", "!CWEOsrAH"],
      [sctp.HEARTBEAT_ACK, "CCWEOsrAH", "!CWEOsrAO"],
    ] as const
  ).map(([chunk, original, reply]) => [chunk, [row(original), row(reply)]]),
);

function next(dir: number, state: number, chunk: number): number {
  return NEXT.get(chunk)?.[dir]?.[state] ?? state;
}

/** The head of a chunk, and what an INIT or INIT ACK has behind it. */
const CHUNK_HEAD = 4;
const INIT_LEN = 16;
/** The sender of the chunk has no tag of its own: the packet bears the receiver's (RFC 9260 section 8.5.1). */
const FLAG_T = 1;

/** Bits of chunks by type. */
function bit(...chunks: readonly number[]): number {
  return chunks.reduce((bits, chunk) => bits | (1 << chunk), 0);
}

const ALONE = bit(sctp.INIT, sctp.INIT_ACK, sctp.SHUTDOWN_COMPLETE);
const FIRST = bit(sctp.COOKIE_ACK, sctp.COOKIE_ECHO);
/** What begins no connection. */
const OUT_OF_THE_BLUE = bit(sctp.ABORT, sctp.SHUTDOWN_COMPLETE, sctp.COOKIE_ACK);
/** Chunks with rules of their own for the tag. */
const DATA = bit(sctp.DATA);
const SPECIAL = bit(
  sctp.INIT,
  sctp.SHUTDOWN_COMPLETE,
  sctp.COOKIE_ECHO,
  sctp.ABORT,
  sctp.SHUTDOWN_ACK,
  sctp.HEARTBEAT,
  sctp.HEARTBEAT_ACK,
);

function lengthAt(b: Uint8Array, at: number): number {
  return u16(b, at + 2);
}

function behind(b: Uint8Array, at: number): number {
  return at + ((lengthAt(b, at) + 3) & ~3);
}

/** The types of a packet's chunks, a bit each; -1 where chunks stand that may not stand so, or none. */
function chunksOf(skb: Skb): number {
  const b = skb.buf;
  let bits = 0;
  let alone = false;
  let count = 0;
  for (let at = skb.transport + sctp.HEADER_LEN; at + CHUNK_HEAD <= skb.end; at = behind(b, at)) {
    const type = u8(b, at);
    const known = type < 32 ? 1 << type : 0;
    if ((known & ALONE) !== 0) alone = true;
    if (lengthAt(b, at) === 0 || (count > 0 && (alone || (known & FIRST) !== 0))) return -1;
    bits |= known;
    count++;
  }
  return count === 0 ? -1 : bits;
}

/** The tag that an INIT or INIT ACK at an offset announces; null where it is cut short. */
function announced(skb: Skb, at: number): number | null {
  return at + CHUNK_HEAD + INIT_LEN > skb.end ? null : i32(skb.buf, at + CHUNK_HEAD);
}

export const sctpProto: CtProto = {
  name: "sctp",
  headerLen: sctp.HEADER_LEN,
  tupleLen: PORTS_LEN,
  ports: (b, at) => i32(b, at),
  invert: swapPorts,

  begins(conn, skb) {
    const bits = chunksOf(skb);
    if (bits < 0 || (bits & OUT_OF_THE_BLUE) !== 0) return false;
    const b = skb.buf;
    const tag = i32(b, skb.transport + sctp.VERIFICATION_TAG);
    const sides: SctpSides = { tags: [0, 0], inits: [false, false], strange: false, strangeDir: DIR_ORIGINAL };
    for (let at = skb.transport + sctp.HEADER_LEN; at + CHUNK_HEAD <= skb.end; at = behind(b, at)) {
      const chunk = u8(b, at);
      if (next(DIR_ORIGINAL, NONE, chunk) === NONE) return false;
      if (chunk === sctp.INIT) {
        const own = announced(skb, at);
        if (tag !== 0 || own === null) return false;
        sides.tags[DIR_REPLY] = own;
      } else {
        const heart = chunk === sctp.HEARTBEAT || chunk === sctp.HEARTBEAT_ACK;
        sides.tags[heart ? DIR_ORIGINAL : DIR_REPLY] = tag;
      }
    }
    conn.state = NONE;
    conn.sctp = sides;
    return true;
  },

  packet(conn, dir, skb, clock, t) {
    const { sctp: sides } = conn;
    const bits = chunksOf(skb);
    if (sides === null || bits < 0) return CT_INVALID;
    const b = skb.buf;
    const tag = i32(b, skb.transport + sctp.VERIFICATION_TAG);
    if ((bits & SPECIAL) === 0 && tag !== sides.tags[dir]) return CT_INVALID;
    let refresh = true;
    for (let at = skb.transport + sctp.HEADER_LEN; at + CHUNK_HEAD <= skb.end; at = behind(b, at)) {
      const chunk = u8(b, at);
      switch (tagOf(sides, dir, chunk, u8(b, at + 1), tag, refresh && (bits & DATA) === 0)) {
        case TAG_WRONG:
          return CT_INVALID;
        case TAG_STRANGE:
          refresh = false;
          continue;
      }
      const old = conn.state;
      const to = next(dir, old, chunk);
      if (to === INVALID) return CT_INVALID;
      if (chunk === sctp.INIT || chunk === sctp.INIT_ACK) {
        const own = announced(skb, at);
        if (own === null || !note(sides, dir, chunk, own)) return CT_INVALID;
        // An INIT sent again does not keep an entry alive.
        if (chunk === sctp.INIT && old === CLOSED && to === CLOSED && (conn.status & IPS_CONFIRMED) !== 0)
          refresh = false;
      }
      move(conn, to);
    }
    if (refresh) extend(conn, clock, t.sctp[conn.state] ?? 0);
    return CT_OK;
  },

  stateName: (conn) => NAMES[conn.state] ?? "NONE",
};

function move(conn: Conn, to: number): void {
  if (to === ESTABLISHED && conn.state !== ESTABLISHED) conn.status |= IPS_ASSURED;
  conn.state = to;
}

const TAG_RIGHT = 0;
const TAG_WRONG = 1;
/** A heartbeat with a tag that is not known yet: the packet passes, and changes nothing. */
const TAG_STRANGE = 2;

/** What the packet's tag means to one chunk (RFC 9260 section 8.5.1); `lenient` lets a heartbeat bear another. */
function tagOf(sides: SctpSides, dir: number, chunk: number, flags: number, tag: number, lenient: boolean): number {
  const { tags } = sides;
  const wanted = tags[dir] as number;
  switch (chunk) {
    case sctp.INIT:
      return tag === 0 ? TAG_RIGHT : TAG_WRONG;
    case sctp.ABORT:
    case sctp.SHUTDOWN_COMPLETE:
      return tag === ((flags & FLAG_T) === 0 ? wanted : (tags[1 - dir] as number)) ? TAG_RIGHT : TAG_WRONG;
    case sctp.COOKIE_ECHO:
      return tag === wanted ? TAG_RIGHT : TAG_WRONG;
    case sctp.COOKIE_ACK:
      sides.inits = [false, false];
      return TAG_RIGHT;
    case sctp.HEARTBEAT:
    case sctp.HEARTBEAT_ACK:
      break;
    default:
      return TAG_RIGHT;
  }
  if (wanted === 0) tags[dir] = tag;
  else if (tag === wanted) sides.strange = false;
  else if (!lenient) return TAG_WRONG;
  else if (chunk === sctp.HEARTBEAT) {
    sides.strange = true;
    sides.strangeDir = dir;
    return TAG_STRANGE;
  } else {
    // The other end answers the strange one: the association began anew while nobody looked.
    if (!sides.strange || sides.strangeDir === dir) return TAG_WRONG;
    sides.strange = false;
    tags[dir] = tag;
    tags[1 - dir] = 0;
  }
  return TAG_RIGHT;
}

/** Notes the tag that the other direction is to bear; false where it contradicts what was said before. */
function note(sides: SctpSides, dir: number, chunk: number, own: number): boolean {
  const { tags, inits } = sides;
  const other = 1 - dir;
  if (chunk === sctp.INIT) {
    if (inits[dir] && inits[other]) inits[other] = false;
    inits[dir] = true;
  } else {
    const known = tags[other] as number;
    if (!inits[other] && known !== 0 && known !== own) return false;
    // Both ends began at once.
    if (inits[dir] && inits[other] && known !== own) return false;
  }
  tags[other] = own;
  return true;
}
