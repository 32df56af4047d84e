/** Building TCP segments with the options that Linux sends: MSS, SACK permitted, timestamps, window scale (in that order). */
import type { NetNs } from "../netns/netns.ts";
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { setU8, setU16, setU32 } from "../wire/bytes.ts";
import { fold, pseudo4 } from "../wire/checksum.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import * as tcp from "../wire/tcp.ts";

/** Octets of options in a SYN, and in every other segment while timestamps are on. */
const SYN_OPTIONS = 20;
const TIMESTAMP_OPTIONS = 12;

/** What a segment says besides its payload. `mss` > 0 makes it a SYN with all options. */
export type SegmentHead = {
  readonly local: Ipv4Addr;
  readonly localPort: number;
  readonly remote: Ipv4Addr;
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

/** A segment ready for `localOut`, but for `skb.dst`. */
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
  const total = ipv4.HEADER_LEN + hlen + len;
  const skb = ns.world.pool.alloc(total);
  const b = skb.buf;
  const th = skb.data + ipv4.HEADER_LEN;
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
  tcp.setChecksum(b, th, fold(pseudo4(head.local, head.remote, ipv4.PROTO_TCP, hlen + len)));
  skb.csum = CHECKSUM_PARTIAL;
  skb.csumStart = th;
  skb.csumOffset = tcp.CHECKSUM;
  const ttl = ns.sysctls.defaultTtl;
  ipv4.write(b, skb.data, total, id, ipv4.FLAG_DF, ttl, ipv4.PROTO_TCP, head.local, head.remote, 0);
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
