/**
 * NFQUEUE (xt_NFQUEUE.c): a program decides. None listens here: the packet is dropped, or with --queue-bypass accepted, as the
 * kernel does then.
 */
import { NF_ACCEPT, NF_DROP } from "../hooks.ts";
import type { Options } from "../options.ts";
import type { TargetModule } from "./module.ts";

export type NfqueueTarget = {
  readonly kind: "NFQUEUE";
  readonly first: number;
  readonly last: number;
  readonly bypass: boolean;
  readonly fanout: boolean;
};

function balance(o: Options, text: string): { first: number; last: number } {
  const [from = "", to = ""] = text.split(":");
  const [first, last] = [from, to].map((n) => o.parse("--queue-balance", n, 0, 0xffff)) as [number, number];
  if (last <= first) o.fail(`option --queue-balance: "${text}" is not a range`);
  return { first, last };
}

export const nfqueueTarget: TargetModule<NfqueueTarget> = {
  name: "NFQUEUE",
  options: {
    "--queue-num": { args: 1 },
    "--queue-balance": { args: 1 },
    "--queue-bypass": { args: 0 },
    "--queue-cpu-fanout": { args: 0 },
  },
  parse(o) {
    const one = o.number("--queue-num", 0, 0xffff);
    const several = o.text("--queue-balance");
    if (one !== undefined && several !== undefined) o.fail("--queue-num and --queue-balance exclude each other");
    const fanout = o.has("--queue-cpu-fanout");
    if (fanout && several === undefined) o.fail("option --queue-cpu-fanout needs --queue-balance");
    const range = several === undefined ? { first: one ?? 0, last: one ?? 0 } : balance(o, several);
    return { kind: "NFQUEUE", ...range, bypass: o.has("--queue-bypass"), fanout };
  },
  print: (t) =>
    (t.first === t.last ? ` --queue-num ${t.first}` : ` --queue-balance ${t.first}:${t.last}`) +
    (t.bypass ? " --queue-bypass" : "") +
    (t.fanout ? " --queue-cpu-fanout" : ""),
  run: (t) => (t.bypass ? NF_ACCEPT : NF_DROP),
};
