/**
 * Rules as data that nobody changes: a Rule may stand in many chains of many namespaces. What a namespace adds (counters,
 * where a jump leads) is in `table.ts`.
 *
 * The part of a rule that every rule has (struct ipt_ip) is flat in the Rule, so that a walk over thousands of them touches
 * one object each; addresses are signed 32-bit integers there. The rest is a list of matches and one target, plain data with
 * a `kind` each.
 */
import type { Match } from "./match/registry.ts";
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
};

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
  readonly matches: readonly Match[];
  /** Whether the header is not asked anything but perhaps the destination. */
  readonly plain: boolean;
  /** Null: the rule only counts. */
  readonly target: Target | null;
  /** Whether the rule makes connections be tracked. */
  readonly tracks: boolean;
  readonly #print: (rule: Rule) => string;
  #text = "";

  constructor(
    ip: IpSpec,
    matches: readonly Match[],
    target: Target | null,
    tracks: boolean,
    print: (rule: Rule) => string,
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
    const asked = ip.proto !== 0 || ip.srcMask !== 0 || ip.input !== "" || ip.output !== "" || ip.fragment;
    this.plain = !asked && ip.invert === 0;
    this.matches = matches;
    this.target = target;
    this.tracks = tracks;
    this.#print = print;
  }

  /** As iptables-save prints the rule, without `-A CHAIN`. Printed when first asked for. */
  get text(): string {
    if (this.#text === "") this.#text = this.#print(this);
    return this.#text;
  }
}

export type Policy = "ACCEPT" | "DROP";

const NO_JUMPS: ReadonlyMap<string, number> = new Map();

export class Chain {
  readonly name: string;
  /** Null for a chain that a user made. */
  readonly policy: Policy | null;
  readonly rules: readonly Rule[];
  /** The line of each rule in the text that brought it. */
  readonly lines: readonly number[];
  /** How many rules make connections be tracked. */
  readonly tracking: number;
  /** The chains that rules lead to, and how often. */
  readonly jumps: ReadonlyMap<string, number>;

  constructor(name: string, policy: Policy | null, rules: readonly Rule[], lines: readonly number[]) {
    this.name = name;
    this.policy = policy;
    this.rules = rules;
    this.lines = lines;
    let tracking = 0;
    let jumps: Map<string, number> | null = null;
    for (const rule of rules) {
      if (rule.tracks) tracking++;
      const target = rule.target;
      if (target === null || target.kind !== "jump") continue;
      jumps ??= new Map();
      jumps.set(target.chain, (jumps.get(target.chain) ?? 0) + 1);
    }
    this.tracking = tracking;
    this.jumps = jumps ?? NO_JUMPS;
  }
}
