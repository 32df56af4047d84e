/** TTL, and HL of IPv6 (xt_HL.c): time to live, or hop limit, set or moved. */
import { setTtlOf, ttlOf } from "../header.ts";
import type { Options } from "../options.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

type Change = { readonly verb: "set" | "dec" | "inc"; readonly value: number };
export type TtlTarget = Change & { readonly kind: "TTL" };
export type HlTarget = Change & { readonly kind: "HL" };

function parse(o: Options, prefix: string): Change {
  const option = o.one([`${prefix}-set`, `${prefix}-dec`, `${prefix}-inc`]);
  const verb = option.slice(prefix.length + 1) as Change["verb"];
  return { verb, value: o.parse(option, o.need(option), verb === "set" ? 0 : 1, 255) };
}

function run(t: Change, p: NfPacket): number {
  const old = ttlOf(p);
  const moved = t.verb === "inc" ? Math.min(255, old + t.value) : Math.max(0, old - t.value);
  const now = t.verb === "set" ? t.value : moved;
  if (now !== old) setTtlOf(p, now);
  return CONTINUE;
}

export const ttlTarget: TargetModule<TtlTarget> = {
  name: "TTL",
  options: { "--ttl-set": { args: 1 }, "--ttl-dec": { args: 1 }, "--ttl-inc": { args: 1 } },
  tables: ["mangle"],
  parse: (o) => ({ kind: "TTL", ...parse(o, "--ttl") }),
  print: (t) => ` --ttl-${t.verb} ${t.value}`,
  run,
};

export const hlTarget: TargetModule<HlTarget> = {
  name: "HL",
  options: { "--hl-set": { args: 1 }, "--hl-dec": { args: 1 }, "--hl-inc": { args: 1 } },
  tables: ["mangle"],
  parse: (o) => ({ kind: "HL", ...parse(o, "--hl") }),
  print: (t) => ` --hl-${t.verb} ${t.value}`,
  run,
};
