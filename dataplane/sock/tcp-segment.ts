/** Building TCP segments with the options that Linux sends: MSS, SACK permitted, timestamps, window scale (in that order). */
import { defaultTtl } from "../ip6/either.ts";
import type { NetNs } from "../netns/netns.ts";
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { setU8, setU16, setU32 } from "../wire/bytes.ts";
import { fold } from "../wire/checksum.ts";
import { headerLenOf, pseudo, writeHeader } from "../wire/ip-header.ts";
import type { IpKey } from "../wire/ip-key.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";

/** Octets of options in a SYN, and in every other segment while timestamps are on. */
const SYN_OPTIONS = 20;
const TIMESTAMP_OPTIONS = 12;

/** What a segment says besides its payload. `mss` > 0 makes it a SYN with all options. */
export type SegmentHead = {
  readonly local: IpKey;
  readonly localPort: number;
  readonly remote: IpKey;
  readonly remotePort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  readonly window: number;
  readonly mss: number;
  /** Offered window scale, or -1 to leave it out. */
  readonly scale: number;
  readonly sack: boolean;
  /** TSval and TSecr, or null. */
  readonly timestamps: readonly [number, number] | null;
};

/** A segment ready for `localOutEither`, but for `skb.dst`. */
export function buildSegment(
  ns: NetNs,
  head: SegmentHead,
  id: number,
  data: Uint8Array,
  from: number,
  len: number,
): Skb {
  const syn = head.mss > 0;
  const options = syn ? SYN_OPTIONS : head.timestamps !== null ? TIMESTAMP_OPTIONS : 0;
  const hlen = tcp.HEADER_LEN + (syn ? synLength(head) : options);
  const total = headerLenOf(head.remote) + hlen + len;
  const skb = ns.world.pool.alloc(total);
  const b = skb.buf;
  const th = skb.data + headerLenOf(head.remote);
  skb.network = skb.data;
  skb.transport = th;
  skb.end = skb.data + total;
  tcp.write(b, th, head.localPort, head.remotePort, head.seq, head.ack, hlen, head.flags, head.window);
  if (syn) writeSynOptions(b, th + tcp.HEADER_LEN, head);
  else if (head.timestamps !== null) {
    setU16(b, th + tcp.HEADER_LEN, 0x0101);
    writeTimestamps(b, th + tcp.HEADER_LEN + 2, head.timestamps);
  }
  b.set(data.subarray(from, from + len), th + hlen);
  tcp.setChecksum(b, th, fold(pseudo(head.local, head.remote, PROTO_TCP, hlen + len)));
  skb.csum = CHECKSUM_PARTIAL;
  skb.csumStart = th;
  skb.csumOffset = tcp.CHECKSUM;
  const ttl = defaultTtl(ns, head.remote);
  writeHeader(b, skb.data, total, PROTO_TCP, ttl, head.local, head.remote, 0, id, true);
  return skb;
}

/** MSS 4; SACK permitted 2 and timestamps 10, each padded with NOPs where the other is missing; NOP and window scale 4. */
function synLength(head: SegmentHead): number {
  return (
    4 + (head.sack || head.timestamps !== null ? (head.timestamps !== null ? 12 : 4) : 0) + (head.scale >= 0 ? 4 : 0)
  );
}

function writeSynOptions(b: Uint8Array, off: number, head: SegmentHead): void {
  let at = off;
  setU8(b, at, tcp.OPT_MSS);
  setU8(b, at + 1, 4);
  setU16(b, at + 2, head.mss);
  at += 4;
  if (head.sack || head.timestamps !== null) {
    if (!head.sack || head.timestamps === null) {
      setU16(b, at, 0x0101);
      if (head.sack) setU16(b, at + 2, 0x0402);
      at += head.sack ? 4 : 2;
    } else {
      setU16(b, at, 0x0402);
      at += 2;
    }
    if (head.timestamps !== null) {
      writeTimestamps(b, at, head.timestamps);
      at += 10;
    }
  }
  if (head.scale >= 0) {
    setU8(b, at, tcp.OPT_NOP);
    setU8(b, at + 1, tcp.OPT_WINDOW_SCALE);
    setU8(b, at + 2, 3);
    setU8(b, at + 3, head.scale);
  }
}

function writeTimestamps(b: Uint8Array, off: number, [value, echo]: readonly [number, number]): void {
  setU8(b, off, tcp.OPT_TIMESTAMPS);
  setU8(b, off + 1, 10);
  setU32(b, off + 2, value);
  setU32(b, off + 6, echo);
}
