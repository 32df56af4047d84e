/** Source and destination port ranges, which TCP, UDP and SCTP headers have in the same place. */
import { u16 } from "../../wire/bytes.ts";
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../../wire/ipv4.ts";
import { type OptionSpecs, type Options, opt, portRange } from "../options.ts";
import type { NfPacket } from "../packet.ts";

export type PortRange = { readonly min: number; readonly max: number };
export type Ports = {
  /** Null: any. */
  readonly sport: PortRange | null;
  readonly notSport: boolean;
  readonly dport: PortRange | null;
  readonly notDport: boolean;
};

const PROTO_DCCP = 33;
const PROTO_UDPLITE = 136;

/** Whether a protocol's header begins with two ports. */
export function hasPorts(proto: number): boolean {
  return (
    proto === PROTO_TCP ||
    proto === PROTO_UDP ||
    proto === PROTO_SCTP ||
    proto === PROTO_DCCP ||
    proto === PROTO_UDPLITE
  );
}

export const PORT_OPTIONS: OptionSpecs = {
  "--sport": { args: 1, not: true },
  "--source-port": { args: 1, not: true, as: "--sport" },
  "--dport": { args: 1, not: true },
  "--destination-port": { args: 1, not: true, as: "--dport" },
};

export function parsePorts(o: Options): Ports {
  return {
    sport: o.ports("--sport") ?? null,
    notSport: o.not("--sport"),
    dport: o.ports("--dport") ?? null,
    notDport: o.not("--dport"),
  };
}

export function printPorts(m: Ports): string {
  const s = m.sport === null ? "" : opt(m.notSport, "--sport", portRange(m.sport));
  return m.dport === null ? s : s + opt(m.notDport, "--dport", portRange(m.dport));
}

/** A header that is cut short drops the packet; a later fragment never matches. */
export function testPorts(m: Ports, p: NfPacket, headerLen: number): boolean {
  if (p.fragment !== 0) return false;
  const th = p.transport;
  if (p.end - th < headerLen) {
    p.hotdrop = true;
    return false;
  }
  const s = m.sport;
  if (s !== null) {
    const port = u16(p.b, th);
    if ((port >= s.min && port <= s.max) === m.notSport) return false;
  }
  const d = m.dport;
  if (d !== null) {
    const port = u16(p.b, th + 2);
    if ((port >= d.min && port <= d.max) === m.notDport) return false;
  }
  return true;
}
