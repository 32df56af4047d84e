/** `-m mark` (xt_mark.c) and `-m connmark` (xt_connmark.c): bits of the packet's, or its connection's, mark. */
import { hex, type Options, opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

type Masked = { readonly value: number; readonly mask: number; readonly not: boolean };
export type MarkMatch = { readonly kind: "mark" } & Masked;
export type ConnmarkMatch = { readonly kind: "connmark" } & Masked;

function parse(o: Options): Masked {
  return { ...o.masked("--mark"), not: o.not("--mark") };
}

function print(m: Masked): string {
  return opt(m.not, "--mark", m.mask === 0xffffffff ? hex(m.value) : `${hex(m.value)}/${hex(m.mask)}`);
}

export const markMatch: MatchModule<MarkMatch> = {
  name: "mark",
  options: { "--mark": { args: 1, not: true } },
  parse: (o) => ({ kind: "mark", ...parse(o) }),
  print,
  test: (m, p) => (((p.skb.mark & m.mask) ^ m.value) === 0) !== m.not,
};

export const connmarkMatch: MatchModule<ConnmarkMatch> = {
  name: "connmark",
  options: { "--mark": { args: 1, not: true } },
  tracks: true,
  parse: (o) => ({ kind: "connmark", ...parse(o) }),
  print,
  test: (m, p) => p.conn !== null && (((p.conn.mark & m.mask) ^ m.value) === 0) !== m.not,
};
