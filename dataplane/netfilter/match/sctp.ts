/** `-m sctp` (xt_sctp.c): ports, and which chunks the packet holds. Left out: chunk flags (`DATA:ube`). */

import { u8, u16 } from "../../wire/bytes.ts";
import { PROTO_SCTP } from "../../wire/ipv4.ts";
import * as sctp from "../../wire/sctp.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";
import { PORT_OPTIONS, type Ports, parsePorts, printPorts, testPorts } from "./ports.ts";

export type SctpMatch = {
  readonly kind: "sctp";
  readonly mode: "" | "all" | "any" | "only";
  readonly chunks: readonly number[];
  readonly notChunks: boolean;
} & Ports;

const CHUNKS: readonly (readonly [string, number])[] = [
  ["DATA", 0],
  ["INIT", 1],
  ["INIT_ACK", 2],
  ["SACK", 3],
  ["HEARTBEAT", 4],
  ["HEARTBEAT_ACK", 5],
  ["ABORT", 6],
  ["SHUTDOWN", 7],
  ["SHUTDOWN_ACK", 8],
  ["ERROR", 9],
  ["COOKIE_ECHO", 10],
  ["COOKIE_ACK", 11],
  ["ECN_ECNE", 12],
  ["ECN_CWR", 13],
  ["SHUTDOWN_COMPLETE", 14],
  ["I_DATA", 64],
  ["RE_CONFIG", 130],
  ["PAD", 132],
  ["ASCONF", 193],
  ["ASCONF_ACK", 128],
  ["FORWARD_TSN", 192],
  ["I_FORWARD_TSN", 194],
];

export const sctpMatch: MatchModule<SctpMatch> = {
  name: "sctp",
  options: { ...PORT_OPTIONS, "--chunk-types": { args: 2, not: true } },
  parse(o) {
    o.needProto([PROTO_SCTP], "-p sctp");
    const mode = o.text("--chunk-types", 0)?.toLowerCase() ?? "";
    if (mode !== "" && mode !== "all" && mode !== "any" && mode !== "only") {
      return o.fail(`option --chunk-types: "${mode}" is not all, any or only`);
    }
    const text = o.text("--chunk-types", 1);
    const chunks = (text?.split(",") ?? []).flatMap((word) => {
      const name = word.toUpperCase();
      if (name === "ALL") return CHUNKS.map(([, n]) => n);
      if (name === "NONE") return [];
      return CHUNKS.find(([c]) => c === name)?.[1] ?? o.fail(`option --chunk-types: "${word}" is not a chunk type`);
    });
    return { kind: "sctp", ...parsePorts(o), mode, chunks, notChunks: o.not("--chunk-types") };
  },
  print(m) {
    if (m.mode === "") return printPorts(m);
    const all = CHUNKS.every(([, n]) => m.chunks.includes(n));
    const names = CHUNKS.filter(([, n]) => m.chunks.includes(n)).map(([name]) => name);
    const text = all ? "ALL" : names.length === 0 ? "NONE" : names.join(",");
    return `${printPorts(m)}${m.notChunks ? " !" : ""} --chunk-types ${m.mode} ${text}`;
  },
  test(m, p) {
    if (!testPorts(m, p, sctp.HEADER_LEN)) return false;
    return m.mode === "" || hasChunks(m, p) !== m.notChunks;
  },
};

function hasChunks(m: SctpMatch, p: NfPacket): boolean {
  const seen = new Set<number>();
  for (let at = p.transport + sctp.HEADER_LEN; at + 4 <= p.end; ) {
    const len = u16(p.b, at + 2);
    seen.add(u8(p.b, at));
    if (len < 4) break;
    at += (len + 3) & ~3;
  }
  if (m.mode === "any") return m.chunks.some((c) => seen.has(c));
  if (!m.chunks.every((c) => seen.has(c))) return false;
  return m.mode === "all" || seen.size === m.chunks.length;
}
