/** `-m ttl` of iptables and `-m hl` of ip6tables (xt_hl.c): how far a packet may still go. */
import { ttl } from "../../wire/ipv4.ts";
import { hopLimit } from "../../wire/ipv6.ts";
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

type HopsMatch<Name extends string> = {
  readonly kind: Name;
  readonly verb: "eq" | "lt" | "gt";
  readonly value: number;
  readonly not: boolean;
};
export type TtlMatch = HopsMatch<"ttl">;
export type HlMatch = HopsMatch<"hl">;

function hops<Name extends "ttl" | "hl">(
  kind: Name,
  read: (b: Uint8Array, at: number) => number,
): MatchModule<HopsMatch<Name>> {
  const verbs = { [`--${kind}-eq`]: "eq", [`--${kind}-lt`]: "lt", [`--${kind}-gt`]: "gt" } as const;
  return {
    name: kind,
    options: {
      [`--${kind}-eq`]: { args: 1, not: true },
      [`--${kind}`]: { args: 1, not: true, as: `--${kind}-eq` },
      [`--${kind}-lt`]: { args: 1 },
      [`--${kind}-gt`]: { args: 1 },
    },
    parse(o) {
      const option = o.one(Object.keys(verbs));
      const value = o.parse(option, o.need(option), 0, 255);
      return { kind, verb: verbs[option] ?? "eq", value, not: o.not(option) };
    },
    print: (m) => opt(m.not, `--${kind}-${m.verb}`, m.value),
    test(m, p) {
      const n = read(p.b, p.network);
      if (m.verb === "lt") return n < m.value;
      if (m.verb === "gt") return n > m.value;
      return (n === m.value) !== m.not;
    },
  };
}

export const ttlMatch: MatchModule<TtlMatch> = hops("ttl", ttl);
export const hlMatch: MatchModule<HlMatch> = hops("hl", hopLimit);
