/**
 * `-m rpfilter` (ipt_rpfilter.c, ip6t_rpfilter.c): whether an answer would leave by the interface that the packet came in by,
 * or with --loose by any. Left out: --validmark is read and printed, and there are no policy rules that a mark could choose.
 */
import { isKey6, isMulticastKey6 } from "../../wire/ip-key.ts";
import { ipv4Of } from "../../wire/ipv4-addr.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";

export type RpfilterMatch = {
  readonly kind: "rpfilter";
  readonly loose: boolean;
  readonly validmark: boolean;
  readonly acceptLocal: boolean;
  readonly invert: boolean;
};

function isMulticast(key: number): boolean {
  return isKey6(key) ? isMulticastKey6(key) : key >>> 28 === 14;
}

/** 224.0.0.0/24. */
function isLocalMulticast(key: number): boolean {
  return key >>> 8 === 0xe00000;
}

function passes(m: RpfilterMatch, p: NfPacket): boolean {
  if (p.input?.driver.kind === "loopback") return true;
  // Nobody has an address yet who sends from 0.0.0.0, as DHCP does.
  if (isMulticast(p.dst) && p.src === 0) return isLocalMulticast(p.dst);
  const back = p.ns.fib.dst(ipv4Of(p.src));
  if (back.type !== "unicast" && !(back.type === "local" && m.acceptLocal)) return false;
  return m.loose || back.dev === p.input;
}

export const rpfilterMatch: MatchModule<RpfilterMatch> = {
  name: "rpfilter",
  options: {
    "--loose": { args: 0 },
    "--validmark": { args: 0 },
    "--accept-local": { args: 0 },
    "--invert": { args: 0 },
  },
  parse: (o) => ({
    kind: "rpfilter",
    loose: o.has("--loose"),
    validmark: o.has("--validmark"),
    acceptLocal: o.has("--accept-local"),
    invert: o.has("--invert"),
  }),
  print: (m) =>
    (m.loose ? " --loose" : "") +
    (m.validmark ? " --validmark" : "") +
    (m.acceptLocal ? " --accept-local" : "") +
    (m.invert ? " --invert" : ""),
  test: (m, p) => passes(m, p) !== m.invert,
};
