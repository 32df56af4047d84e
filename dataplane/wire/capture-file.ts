/** What all capture files have in common: link types, packets as read, and the one error of the readers. */

/** https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype */
export const LINKTYPE_ETHERNET = 1;
/** An IP packet of either family without anything before it. */
export const LINKTYPE_RAW = 101;

export type Direction = "in" | "out";

export type CaptureInterface = {
  readonly name: string | undefined;
  readonly description: string | undefined;
  readonly linkType: number;
};

export type CapturedPacket = {
  /** Index into the capture's interfaces. */
  readonly interfaceId: number;
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint;
  readonly bytes: Uint8Array;
  /** On the wire; more than bytes.length if the capture cut the packet. */
  readonly originalLen: number;
  readonly comments: readonly string[];
  readonly direction: Direction | undefined;
};

export type Capture = {
  readonly format: "pcap" | "pcapng";
  readonly interfaces: readonly CaptureInterface[];
  readonly packets: readonly CapturedPacket[];
};

/** A capture that is cut short or corrupt: where, what stands there, what should. */
export class CaptureError extends Error {
  /** Octets from the start of the file. */
  readonly offset: number;
  readonly found: string;
  readonly expected: string;
  constructor(offset: number, found: string, expected: string, options?: ErrorOptions) {
    super(`capture: octet ${offset}: found ${found}, expected ${expected}`, options);
    this.name = "CaptureError";
    this.offset = offset;
    this.found = found;
    this.expected = expected;
  }
}

/** A time for the writers: a number is milliseconds, as clocks tell it; a bigint is nanoseconds. */
export type CaptureTime = number | bigint;

export function toNanoseconds(time: CaptureTime): bigint {
  if (typeof time === "bigint") return time;
  const whole = Math.floor(time);
  return BigInt(whole) * 1_000_000n + BigInt(Math.round((time - whole) * 1e6));
}
