/**
 * Rules as data that nobody changes: a Rule may stand in many chains of many namespaces. What a namespace adds (counters,
 * where a jump leads) is in `table.ts`.
 *
 * The part of a rule that every rule has (struct ipt_ip) is flat in the Rule, so that a walk over thousands of them touches
 * one object each; addresses are signed 32-bit integers there. The rest is a list of matches and one target, plain data with
 * a `kind` each.
 */

import type { Network6 } from "./address.ts";
import type { ChainIndex } from "./chain-index.ts";
import { type Match, matchOp } from "./match/registry.ts";
import { single } from "./match-cache.ts";
import type { Target } from "./target/registry.ts";

/** Bits of `Rule.invert` (IPT_INV_*), and what else of the header a rule asks. */
export const INV_SRC = 1;
export const INV_DST = 2;
export const INV_IN = 4;
export const INV_OUT = 8;
export const INV_PROTO = 16;
export const INV_FRAG = 32;

export type IpSpec = {
  readonly src: number;
  readonly srcMask: number;
  readonly dst: number;
  readonly dstMask: number;
  /** 0 is any. */
  readonly proto: number;
  /** Name of the interface, "" for any; a name that ends in + is a prefix. */
  readonly input: string;
  readonly output: string;
  /** Only second and further fragments. */
  readonly fragment: boolean;
  readonly invert: number;
  /** Networks of IPv6 that the addresses must be in, or not; then those above are 0. */
  readonly six?: SixSpec | null;
};

export type SixSpec = {
  readonly src: Network6 | null;
  readonly notSrc: boolean;
  readonly dst: Network6 | null;
  readonly notDst: boolean;
};

/** What a rule does, as a number: a walk looks at it for every rule that matches. */
export const DO_NOTHING = 0;
export const DO_ACCEPT = 1;
export const DO_DROP = 2;
export const DO_RETURN = 3;
export const DO_JUMP = 4;
export const DO_GOTO = 5;
export const DO_TARGET = 6;
export type Action = 0 | 1 | 2 | 3 | 4 | 5 | 6;

function actionOf(t: Target | null): Action {
  if (t === null) return DO_NOTHING;
  switch (t.kind) {
    case "ACCEPT":
      return DO_ACCEPT;
    case "DROP":
      return DO_DROP;
    case "RETURN":
      return DO_RETURN;
    case "jump":
      return t.goto ? DO_GOTO : DO_JUMP;
    default:
      return DO_TARGET;
  }
}

const NO_OPS: readonly number[] = [];
const NO_MATCHES: readonly Match[] = [];

export class Rule {
  readonly src: number;
  readonly srcMask: number;
  readonly dst: number;
  readonly dstMask: number;
  readonly proto: number;
  readonly invert: number;
  readonly fragment: boolean;
  readonly input: string;
  readonly output: string;
  readonly six: SixSpec | null;
  readonly matches: readonly Match[];
  /** The number of each match (matchOp); those that always match are left out, here and in `asked`. */
  readonly ops: readonly number[];
  readonly asked: readonly Match[];
  /** Whether the header is not asked anything but perhaps the destination. */
  readonly plain: boolean;
  /** Null: the rule only counts. */
  readonly target: Target | null;
  readonly action: Action;
  /** Where `action` leads, for jumps. */
  readonly chain: string;
  /** Whether the rule makes connections be tracked. */
  readonly tracks: boolean;
  readonly #print: (rule: Rule) => string;
  #text = "";

  /** `like`: a rule with the same matches; what is known of them need not be found out again. */
  constructor(
    ip: IpSpec,
    matches: readonly Match[],
    target: Target | null,
    tracks: boolean,
    print: (rule: Rule) => string,
    like: Rule | null = null,
  ) {
    this.src = ip.src;
    this.srcMask = ip.srcMask;
    this.dst = ip.dst;
    this.dstMask = ip.dstMask;
    this.proto = ip.proto;
    this.invert = ip.invert;
    this.fragment = ip.fragment;
    this.input = ip.input;
    this.output = ip.output;
    this.six = ip.six ?? null;
    const more =
      this.six !== null || ip.proto !== 0 || ip.srcMask !== 0 || ip.input !== "" || ip.output !== "" || ip.fragment;
    this.plain = !more && ip.invert === 0;
    this.matches = matches;
    if (like === null) {
      const asked = matches.filter((m) => m.kind !== "comment");
      const [only, second] = asked;
      const one = only !== undefined && second === undefined ? single(only) : null;
      this.asked = asked.length === 0 ? NO_MATCHES : (one?.asked ?? asked);
      this.ops = asked.length === 0 ? NO_OPS : (one?.ops ?? asked.map(matchOp));
    } else {
      this.asked = like.asked;
      this.ops = like.ops;
    }
    this.target = target;
    this.action = actionOf(target);
    this.chain = target !== null && target.kind === "jump" ? target.chain : "";
    this.tracks = tracks;
    this.#print = print;
  }

  /** This rule with other addresses, and a target, which may make connections be tracked. */
  with(ends: Pick<IpSpec, "src" | "srcMask" | "dst" | "dstMask" | "invert">, target: Target, tracks: boolean): Rule {
    const { proto, input, output, fragment } = this;
    const { src, srcMask, dst, dstMask, invert } = ends;
    const ip = { src, srcMask, dst, dstMask, proto, input, output, fragment, invert };
    return new Rule(ip, this.matches, target, this.tracks || tracks, this.#print, this);
  }

  /** As iptables-save prints the rule, without `-A CHAIN`. Printed when first asked for. */
  get text(): string {
    if (this.#text === "") this.#text = this.#print(this);
    return this.#text;
  }
}

/** A chain shorter than this is walked rule by rule. */
const INDEX_MIN = 8;

export type Policy = "ACCEPT" | "DROP";

export class Chain {
  readonly name: string;
  /** Null for a chain that a user made. */
  readonly policy: Policy | null;
  readonly rules: readonly Rule[];
  /** The line of each rule in the text that brought it. */
  readonly lines: readonly number[];
  /** How many rules make connections be tracked. */
  readonly tracking: number;
  /** Made when the first packet meets the chain (`indexOf`); null where the chain is walked rule by rule. */
  index: ChainIndex | null | undefined;

  /** `old`: a chain that this one is nearly like; what is known of it need not be found out again. */
  constructor(
    name: string,
    policy: Policy | null,
    rules: readonly Rule[],
    lines: readonly number[],
    old: Chain | null = null,
  ) {
    this.name = name;
    this.policy = policy;
    this.rules = rules;
    this.lines = lines;
    this.index = rules.length < INDEX_MIN ? null : undefined;
    if (old === null || rules.length < INDEX_MIN) {
      this.tracking = tracking(rules, 0, rules.length);
      return;
    }
    const { from, end, oldEnd } = difference(old.rules, rules);
    this.tracking = old.tracking - tracking(old.rules, from, oldEnd) + tracking(rules, from, end);
    this.index = old.index?.edited(from, oldEnd - from, rules.slice(from, end)) ?? undefined;
  }
}

function tracking(rules: readonly Rule[], from: number, end: number): number {
  let n = 0;
  for (let i = from; i < end; i++) if ((rules[i] as Rule).tracks) n++;
  return n;
}

function countJumps(into: Map<string, number>, rules: readonly Rule[], from: number, end: number, sign: number): void {
  for (let i = from; i < end; i++) {
    const { chain } = rules[i] as Rule;
    if (chain !== "") into.set(chain, (into.get(chain) ?? 0) + sign);
  }
}

/** Where two lists differ: from `from` to before `end`, in the old one to before `oldEnd`. */
export type Difference = { readonly from: number; readonly end: number; readonly oldEnd: number };

/** How many rules at the beginning and at the end are known to be the same in both lists. */
export type Kept = { readonly head: number; readonly tail: number };
const NOTHING_KEPT: Kept = { head: 0, tail: 0 };

/** The last long lists that were compared: a change asks several times. Lists never change. */
let compared: { readonly old: readonly Rule[]; readonly now: readonly Rule[]; readonly by: Difference } | null = null;

export function difference(old: readonly Rule[], now: readonly Rule[], kept: Kept = NOTHING_KEPT): Difference {
  if (compared !== null && compared.old === old && compared.now === now) return compared.by;
  const short = Math.min(old.length, now.length);
  let from = kept.head;
  while (from < short && old[from] === now[from]) from++;
  const tail = Math.min(kept.tail, short - from);
  let end = now.length - tail;
  let oldEnd = old.length - tail;
  while (end > from && oldEnd > from && old[oldEnd - 1] === now[end - 1]) {
    end--;
    oldEnd--;
  }
  const by = { from, end, oldEnd };
  if (short >= COMPARED_MIN) compared = { old, now, by };
  return by;
}

/** Shorter lists are compared again each time. */
const COMPARED_MIN = 64;

/** How many more jumps lead to each chain, after one list of rules takes the place of another. */
export function jumpChanges(old: readonly Rule[], now: readonly Rule[], kept?: Kept): ReadonlyMap<string, number> {
  const { from, end, oldEnd } = difference(old, now, kept);
  const changes = new Map<string, number>();
  countJumps(changes, now, from, end, 1);
  countJumps(changes, old, from, oldEnd, -1);
  return changes;
}
