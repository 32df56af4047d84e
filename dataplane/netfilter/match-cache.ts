/**
 * Matches by the options that they were read from: the same `-m udp --dport 80` of many rules is one object, which stays in
 * the processor's cache while a packet walks from rule to rule. What differs from rule to rule anyway, or remembers
 * something for its rule, is not kept.
 */
import type { MatchModule } from "./match/module.ts";
import { type Match, matchOp, remembers } from "./match/registry.ts";
import type { Options } from "./options.ts";

const LIMIT = 4096;
const matches = new Map<string, Match>();

export function parseMatch(module: MatchModule<Match>, options: Options): Match {
  if (module.name === "comment") return module.parse(options);
  const key = `${options.six ? 6 : 4} ${module.name} ${options.proto}${options.given}`;
  const known = matches.get(key);
  if (known !== undefined) return known;
  const match = module.parse(options);
  if (matches.size < LIMIT && !remembers(match)) matches.set(key, match);
  return match;
}

/** What a rule with one match asks, and that match's number (`matchOp`), each as a list of its own. */
type Single = { readonly asked: readonly Match[]; readonly ops: readonly number[] };
const singles = new WeakMap<Match, Single>();

export function single(match: Match): Single {
  let s = singles.get(match);
  if (s === undefined) {
    s = { asked: [match], ops: [matchOp(match)] };
    singles.set(match, s);
  }
  return s;
}
