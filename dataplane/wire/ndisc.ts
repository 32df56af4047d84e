/**
 * Neighbor discovery for IPv6 (RFC 4861; the kernel's net/ipv6/ndisc.c), inside ICMPv6.
 *
 *    0          8                24
 *    | ICMPv6   | target address | options: type, length / 8, value …    (solicitation and advertisement)
 *
 *    0          8                24                    40
 *    | ICMPv6   | target address | destination address | options …                         (redirect)
 *
 * Router solicitation and advertisement can be checked and named; their fields and prefix options are left out.
 */

import { copy, setU8, setU32, setU48, u8, u32, u48 } from "./bytes.ts";
import { DropReason, type DropReasonCode, NOT_DROPPED } from "./drop-reason.ts";
import * as icmpv6 from "./icmpv6.ts";
import * as ipv6 from "./ipv6.ts";
import { ADDR_LEN, formatIpv6, type Ipv6Addr, ipv6At, isMulticast6 } from "./ipv6-addr.ts";
import { formatMac, type Mac } from "./mac-addr.ts";

/** Octets from the start of the ICMPv6 header. */
export const FLAGS = 4;
export const TARGET = 8;
export const OPTIONS = 24;
/** A solicitation or advertisement without options. */
export const HEADER_LEN = 24;
/** One link-layer address option. */
export const LLA_OPTION_LEN = 8;

/** ICMPv6 types; those of multicast listeners (RFC 2710) come before, and one more behind (RFC 3810). */
export const MLD_FIRST = 130;
export const MLD2_REPORT = 143;
export const ROUTER_SOLICITATION = 133;
export const ROUTER_ADVERTISEMENT = 134;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;
export const REDIRECT = 137;

/** Bits of an advertisement's flags word. */
export const FLAG_ROUTER = 0x8000_0000;
export const FLAG_SOLICITED = 0x4000_0000;
export const FLAG_OVERRIDE = 0x2000_0000;

/** Option types. */
export const OPT_SOURCE_LLA = 1;
export const OPT_TARGET_LLA = 2;
export const OPT_REDIRECTED = 4;
/** Where a redirect says which destination it is about, and its length without options. */
export const DESTINATION = 24;
export const REDIRECT_LEN = 40;
/** In front of the packet in the option that quotes it. */
const QUOTE_HEAD = 8;

/** Discovery is believed only from the link itself, which a hop limit that no router has touched proves. */
export const HOP_LIMIT = 255;

/** A copy; on the hot path read the octets at TARGET in place. */
export function target(b: Uint8Array, off: number): Ipv6Addr {
  return ipv6At(b, off + TARGET);
}

export function isRouter(b: Uint8Array, off: number): boolean {
  return (u32(b, off + FLAGS) & FLAG_ROUTER) !== 0;
}

export function isSolicited(b: Uint8Array, off: number): boolean {
  return (u32(b, off + FLAGS) & FLAG_SOLICITED) !== 0;
}

export function isOverride(b: Uint8Array, off: number): boolean {
  return (u32(b, off + FLAGS) & FLAG_OVERRIDE) !== 0;
}

/** The link-layer address option of that type, or -1 if there is none. */
export function linkLayerAddr(b: Uint8Array, off: number, end: number, option: number): number {
  for (let at = off + OPTIONS; at + 8 <= end; ) {
    const len = u8(b, at + 1) << 3;
    if (len === 0) return -1;
    if (u8(b, at) === option && at + len <= end) return u48(b, at + 2);
    at += len;
  }
  return -1;
}

/**
 * Writes a message with one link-layer address option (none if `lla` is negative), ICMPv6 checksum 0, and
 * returns its length.
 */
export function write(
  b: Uint8Array,
  off: number,
  type: number,
  flags: number,
  target: Ipv6Addr,
  option: number,
  lla: number,
): number {
  icmpv6.write(b, off, type, 0, flags);
  copy(b, off + TARGET, target, 0, ADDR_LEN);
  if (lla < 0) return HEADER_LEN;
  setU8(b, off + OPTIONS, option);
  setU8(b, off + OPTIONS + 1, 1);
  setU48(b, off + OPTIONS + 2, lla);
  return HEADER_LEN + LLA_OPTION_LEN;
}

/** "ICMP6 redirect, fd00::3 to fe80::9" of a redirect that is whole. */
export function formatRedirect(b: Uint8Array, off: number): string {
  return `ICMP6 redirect, ${formatIpv6(ipv6At(b, off + DESTINATION))} to ${formatIpv6(target(b, off))}`;
}

/** How many octets of a packet a redirect quotes: whole eights, as many as fit the least MTU of IPv6. */
export function redirectQuote(packet: number, lla: number): number {
  const most = ipv6.MIN_MTU - ipv6.HEADER_LEN - REDIRECT_LEN - (lla < 0 ? 0 : LLA_OPTION_LEN);
  return (Math.min(most, packet + QUOTE_HEAD) & ~7) - QUOTE_HEAD;
}

/**
 * Writes a redirect with the target's link-layer address (none if `lla` is negative) and `quote` octets of the packet at
 * `at` of `from`, ICMPv6 checksum 0, and returns its length.
 */
export function writeRedirect(
  b: Uint8Array,
  off: number,
  target: Ipv6Addr,
  destination: Ipv6Addr,
  lla: number,
  from: Uint8Array,
  at: number,
  quote: number,
): number {
  write(b, off, REDIRECT, 0, target, 0, -1);
  copy(b, off + DESTINATION, destination, 0, ADDR_LEN);
  let end = off + REDIRECT_LEN;
  if (lla >= 0) {
    setU8(b, end, OPT_TARGET_LLA);
    setU8(b, end + 1, 1);
    setU48(b, end + 2, lla);
    end += LLA_OPTION_LEN;
  }
  setU8(b, end, OPT_REDIRECTED);
  setU8(b, end + 1, (quote + QUOTE_HEAD) >> 3);
  setU48(b, end + 2, 0);
  copy(b, end + QUOTE_HEAD, from, at, quote);
  return end + QUOTE_HEAD + quote - off;
}

function optionsOk(b: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    if (at + 2 > end) return false;
    const len = u8(b, at + 1) << 3;
    if (len === 0 || at + len > end) return false;
    at += len;
  }
  return true;
}

/** `hopLimit` is that of the IPv6 header. */
export function check(b: Uint8Array, off: number, end: number, hopLimit: number): DropReasonCode {
  if (end - off < icmpv6.HEADER_LEN) return DropReason.PKT_TOO_SMALL;
  if (hopLimit !== HOP_LIMIT) return DropReason.IPV6_NDISC_HOP_LIMIT;
  if (icmpv6.code(b, off) !== 0) return DropReason.IPV6_NDISC_BAD_CODE;
  const type = icmpv6.type(b, off);
  if (type !== NEIGHBOUR_SOLICITATION && type !== NEIGHBOUR_ADVERTISEMENT) return NOT_DROPPED;
  if (end - off < HEADER_LEN) return DropReason.PKT_TOO_SMALL;
  if (isMulticast6(b, off + TARGET)) return DropReason.NOT_SPECIFIED; // the kernel names no reason
  return optionsOk(b, off + OPTIONS, end) ? NOT_DROPPED : DropReason.IPV6_NDISC_BAD_OPTIONS;
}

/** A neighbor solicitation or advertisement. */
export type Repr = {
  readonly kind: "solicitation" | "advertisement";
  readonly target: Ipv6Addr;
  readonly router: boolean;
  readonly solicited: boolean;
  readonly override: boolean;
  /** Source of a solicitation, target of an advertisement. */
  readonly linkLayerAddr: Mac | undefined;
};

export function parse(b: Uint8Array, off: number, end: number): Repr | undefined {
  if (check(b, off, end, HOP_LIMIT) !== NOT_DROPPED) return undefined;
  const type = icmpv6.type(b, off);
  if (type !== NEIGHBOUR_SOLICITATION && type !== NEIGHBOUR_ADVERTISEMENT) return undefined;
  const asks = type === NEIGHBOUR_SOLICITATION;
  const lla = linkLayerAddr(b, off, end, asks ? OPT_SOURCE_LLA : OPT_TARGET_LLA);
  return {
    kind: asks ? "solicitation" : "advertisement",
    target: target(b, off),
    router: !asks && isRouter(b, off),
    solicited: !asks && isSolicited(b, off),
    override: !asks && isOverride(b, off),
    linkLayerAddr: lla < 0 ? undefined : (lla as Mac),
  };
}

/** Leaves the checksum 0 for icmpv6.fillChecksum. */
export function emit(r: Repr, b: Uint8Array, off: number): number {
  const asks = r.kind === "solicitation";
  const len = write(
    b,
    off,
    asks ? NEIGHBOUR_SOLICITATION : NEIGHBOUR_ADVERTISEMENT,
    0,
    r.target,
    asks ? OPT_SOURCE_LLA : OPT_TARGET_LLA,
    r.linkLayerAddr ?? -1,
  );
  const flags = (r.router ? FLAG_ROUTER : 0) + (r.solicited ? FLAG_SOLICITED : 0) + (r.override ? FLAG_OVERRIDE : 0);
  setU32(b, off + FLAGS, asks ? 0 : flags);
  return len;
}

export function format(r: Repr): string {
  const lla = r.linkLayerAddr === undefined ? "" : ` ${formatMac(r.linkLayerAddr)}`;
  if (r.kind === "solicitation") {
    return `ICMP6 neighbor solicitation, who has ${formatIpv6(r.target)}${lla === "" ? "" : `, source link-address${lla}`}`;
  }
  const flags = [r.router ? "router" : "", r.solicited ? "solicited" : "", r.override ? "override" : ""]
    .filter((f) => f !== "")
    .join(", ");
  return `ICMP6 neighbor advertisement, tgt is ${formatIpv6(r.target)}${lla === "" ? "" : ` at${lla}`}${flags === "" ? "" : `, flags [${flags}]`}`;
}
