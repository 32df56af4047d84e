/**
 * CT and NOTRACK (xt_CT.c): the packet gets no connection, or it is tracked in a zone, in which tuples are told apart from
 * those of other zones; of both directions or of one, by number or by the packet's mark. Left out: helpers, events, timeouts.
 */
import { ZONE_MARK, ZONE_ORIGINAL, ZONE_REPLY } from "../conn.ts";
import { IP_CT_UNTRACKED } from "../conntrack-entry.ts";
import { NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING } from "../hooks.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

type Zone = {
  readonly option: string;
  /** -1 takes the packet's mark. */
  readonly id: number;
};
export type CtTarget = { readonly kind: "CT" /** Null: no connection. */; readonly zone: Zone | null };
export type NotrackTarget = { readonly kind: "NOTRACK" };

const HOOKS = (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_OUT);
const DIRECTIONS: Readonly<Record<string, number>> = {
  "--zone": ZONE_ORIGINAL | ZONE_REPLY,
  "--zone-orig": ZONE_ORIGINAL,
  "--zone-reply": ZONE_REPLY,
};

/** Anything that was said of a connection before forbids it: a zone that was given to the packet, or what it answers. */
function notrack({ skb }: NfPacket): number {
  if (skb.ct === null && skb.ctInfo === 0 && skb.ctZone === 0) skb.ctInfo = IP_CT_UNTRACKED;
  return CONTINUE;
}

export const ctTarget: TargetModule<CtTarget> = {
  name: "CT",
  options: { "--notrack": { args: 0 }, "--zone": { args: 1 }, "--zone-orig": { args: 1 }, "--zone-reply": { args: 1 } },
  tracksWhere: (t) => t.zone !== null,
  tables: ["raw"],
  hooks: HOOKS,
  parse(o) {
    const option = o.one(["--notrack", ...Object.keys(DIRECTIONS)]);
    if (option === "--notrack") return { kind: "CT", zone: null };
    const text = o.need(option);
    const id = text === "mark" ? -1 : o.parse(option, text, 0, 0xffff);
    return { kind: "CT", zone: { option, id } };
  },
  print: ({ zone }) => (zone === null ? " --notrack" : ` ${zone.option} ${zone.id < 0 ? "mark" : zone.id}`),
  run({ zone }, p) {
    if (zone === null) return notrack(p);
    const { skb } = p;
    if (skb.ct === null && skb.ctInfo !== IP_CT_UNTRACKED && skb.ctZone === 0)
      skb.ctZone = (zone.id < 0 ? ZONE_MARK : zone.id) | (DIRECTIONS[zone.option] ?? 0);
    return CONTINUE;
  },
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
