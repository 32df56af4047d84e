/** TOS and DSCP (xt_DSCP.c): bits of the type of service, or of the traffic class. */
import { setTosOf, tosOf } from "../header.ts";
import { dscpClass } from "../match/dscp.ts";
import { parseTos, printTos } from "../match/tos.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type TosTarget = { readonly kind: "TOS"; readonly value: number; readonly mask: number };
export type DscpTarget = { readonly kind: "DSCP"; readonly value: number };

const DSCP_MASK = 0xfc;

/** Clears the mask, then flips the value. */
function change(p: NfPacket, value: number, mask: number): number {
  const old = tosOf(p);
  const now = ((old & ~mask) ^ value) & 0xff;
  if (now !== old) setTosOf(p, now);
  return CONTINUE;
}

export const tosTarget: TargetModule<TosTarget> = {
  name: "TOS",
  options: {
    "--set-tos": { args: 1 },
    "--and-tos": { args: 1 },
    "--or-tos": { args: 1 },
    "--xor-tos": { args: 1 },
  },
  tables: ["mangle"],
  parse(o) {
    const option = o.one(["--set-tos", "--and-tos", "--or-tos", "--xor-tos"]);
    if (option === "--set-tos") return { kind: "TOS", ...parseTos(o, option) };
    const bits = o.parse(option, o.need(option), 0, 0xff);
    if (option === "--and-tos") return { kind: "TOS", value: 0, mask: ~bits & 0xff };
    return { kind: "TOS", value: bits, mask: option === "--or-tos" ? bits : 0 };
  },
  print: (t) => printTos("--set-tos", t.value, t.mask),
  run: (t, p) => change(p, t.value, t.mask),
};

export const dscpTarget: TargetModule<DscpTarget> = {
  name: "DSCP",
  options: { "--set-dscp": { args: 1 }, "--set-dscp-class": { args: 1 } },
  tables: ["mangle"],
  parse(o) {
    const option = o.one(["--set-dscp", "--set-dscp-class"]);
    const text = o.need(option);
    return { kind: "DSCP", value: option === "--set-dscp" ? o.parse(option, text, 0, 63) : dscpClass(o, option, text) };
  },
  print: (t) => ` --set-dscp 0x${t.value.toString(16).padStart(2, "0")}`,
  run: (t, p) => change(p, t.value << 2, DSCP_MASK),
};
