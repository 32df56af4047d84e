/** CT --notrack and NOTRACK (xt_CT.c): the packet gets no connection. Left out: zones, helpers, events, timeouts. */
import { IP_CT_UNTRACKED } from "../conntrack-entry.ts";
import { NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING } from "../hooks.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type CtTarget = { readonly kind: "CT" };
export type NotrackTarget = { readonly kind: "NOTRACK" };

const HOOKS = (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_OUT);

function notrack(p: NfPacket): number {
  if (p.skb.ct === null) p.skb.ctInfo = IP_CT_UNTRACKED;
  return CONTINUE;
}

export const ctTarget: TargetModule<CtTarget> = {
  name: "CT",
  options: { "--notrack": { args: 0 } },
  tables: ["raw"],
  hooks: HOOKS,
  parse(o) {
    if (!o.has("--notrack")) o.fail("only --notrack is supported");
    return { kind: "CT" };
  },
  print: () => " --notrack",
  run: (_t, p) => notrack(p),
};

export const notrackTarget: TargetModule<NotrackTarget> = {
  name: "NOTRACK",
  options: {},
  tables: ["raw"],
  hooks: HOOKS,
  parse: () => ({ kind: "NOTRACK" }),
  print: () => "",
  run: (_t, p) => notrack(p),
};
