/**
 * CHECKSUM_PARTIAL: a socket leaves the transport checksum to the device, with the pseudo-header's sum already in the
 * field. Inside a node it stays that way across veths, bridges and tunnels; a cable, a fragmentation or a capture needs
 * the finished one (skb_checksum_help).
 */
import { setU16 } from "../wire/bytes.ts";
import { finish, sum } from "../wire/checksum.ts";
import { CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, type Skb } from "./skb.ts";

/** Fills in the checksum if it is still partial. */
export function completeChecksum(skb: Skb): void {
  if (skb.csum !== CHECKSUM_PARTIAL) return;
  writeChecksum(skb.buf, skb.csumStart, skb.csumOffset, skb.end);
  skb.csum = CHECKSUM_UNNECESSARY;
}

/** Sums the octets from `start` to `end`, the checksum field included, and stores the complement at `start + offset`. */
export function writeChecksum(b: Uint8Array, start: number, offset: number, end: number): void {
  const value = finish(sum(b, start, end - start, 0));
  // UDP sends 0 as all ones (RFC 768); for TCP the two are the same number, and 0 cannot come out of a pseudo-header sum.
  setU16(b, start + offset, value === 0 ? 0xffff : value);
}
