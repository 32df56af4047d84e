/**
 * States of connections and how long each lasts (ip_vs_proto_tcp.c, ip_vs_proto_udp.c). SCTP has one state here, which
 * lasts as long as an established association in the kernel.
 */
import * as ipv4 from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";

const NO = 0;
const ES = 1;
const SS = 2;
const SR = 3;
const FW = 4;
const TW = 5;
const CL = 6;
const CW = 7;
const LA = 8;
const LI = 9;
const SA = 10;

export const TCP_STATES: readonly string[] = [
  "NONE",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "SYNACK",
];
export const TIME_WAIT: number = TW;
export const FIN_WAIT: number = FW;

/** By event (syn, fin, ack, rst), then by state. */
const INPUT: readonly (readonly number[])[] = [
  [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
  [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
  [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
  [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
];
const OUTPUT: readonly (readonly number[])[] = [
  [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
  [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
  [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
  [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
];
/** Direct routing sees only what the client sends. */
const INPUT_ONLY: readonly (readonly number[])[] = [
  [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
  [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
  [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
  [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
];
const ACTIVE: readonly boolean[] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA].map(
  (s) => s === ES || s === SS || s === SR || s === SA,
);

/** Which way a packet goes through ipvs. */
export const IN = 0;
export const OUT = 1;
export const IN_ONLY = 2;
const TABLES = [INPUT, OUTPUT, INPUT_ONLY] as const;

/** Milliseconds by TCP state; `ipvsadm --set` changes the established and the FIN_WAIT one, and UDP's. */
export class IpvsTimeouts {
  readonly tcp: number[] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120].map((s) => s * 1000);
  udp = 300_000;
  readonly other: number = 900_000;

  of(proto: number, state: number): number {
    if (proto === ipv4.PROTO_TCP) return this.tcp[state] ?? 0;
    return proto === ipv4.PROTO_UDP ? this.udp : this.other;
  }
}

export function isActive(proto: number, state: number): boolean {
  return proto === ipv4.PROTO_TCP && ACTIVE[state] === true;
}

/** The state after a TCP packet with these flags. */
export function nextState(state: number, flags: number, way: number): number {
  let event = 2;
  if ((flags & tcp.RST) !== 0) event = 3;
  else if ((flags & tcp.SYN) !== 0) event = 0;
  else if ((flags & tcp.FIN) !== 0) event = 1;
  else if ((flags & tcp.ACK) === 0) return state;
  return TABLES[way]?.[event]?.[state] ?? state;
}
