/** Whether rules can read what they ask of a packet's transport header. */
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import * as sctp from "../wire/sctp.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { hasPorts } from "./match/ports.ts";
import type { NfPacket } from "./packet.ts";

/** Whether a packet's ports, and all of its transport header, can be read: else matches on ports may drop it (hotdrop). */
export function hasWholeHeader(p: NfPacket): boolean {
  let need = 0;
  switch (p.proto) {
    case PROTO_TCP:
      need = tcp.HEADER_LEN;
      break;
    case PROTO_UDP:
      need = udp.HEADER_LEN;
      break;
    case PROTO_SCTP:
      need = sctp.HEADER_LEN;
      break;
    default:
      if (!hasPorts(p.proto)) return true;
      need = 4;
  }
  return p.fragment === 0 && p.end - p.transport >= need;
}
