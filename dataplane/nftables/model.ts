/**
 * A ruleset as data: tables, chains, rules, sets. Statements and expressions are what the text says, resolved: chains and
 * sets are the objects themselves. What changes it is `ruleset.ts`; what runs it, `run.ts`.
 */
import { append } from "../netfilter/exact.ts";
import type { DataType, Value } from "./datatype.ts";
import { Elements } from "./elements.ts";
import type { Key } from "./keys.ts";
import type { NftError } from "./nft-error.ts";
import type { PayloadSpec } from "./payload-set.ts";
import type { Program } from "./program.ts";
import type { Counter, Gate, Limit, Quota } from "./stateful.ts";
import type { MssSpec } from "./tcp-mss.ts";

export type Family = "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev";
export const FAMILIES: readonly Family[] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

export type Verdict =
  | { readonly kind: "accept" | "drop" | "continue" | "return" }
  | { readonly kind: "jump" | "goto"; readonly chain: Chain };

/** What gives a value. `words` is how many registers it fills. */
export type Expr =
  | { readonly kind: "key"; readonly key: Key; readonly type: DataType }
  | { readonly kind: "value"; readonly value: Value; readonly type: DataType }
  | {
      readonly kind: "bits";
      readonly op: "&" | "|" | "^" | "<<" | ">>";
      readonly left: Expr;
      readonly right: Value;
      readonly type: DataType;
    }
  | { readonly kind: "concat"; readonly parts: readonly Expr[]; readonly type: DataType }
  | {
      readonly kind: "numgen";
      readonly random: boolean;
      readonly mod: number;
      readonly offset: number;
      next: number;
      readonly type: DataType;
    }
  | {
      readonly kind: "jhash";
      readonly of: Expr;
      readonly mod: number;
      /** Null: one that the kernel draws. */
      readonly seed: number | null;
      readonly offset: number;
      readonly type: DataType;
    }
  | { readonly kind: "symhash"; readonly mod: number; readonly offset: number; readonly type: DataType }
  | { readonly kind: "map"; readonly of: Expr; readonly set: NftSet; readonly type: DataType };

export type Op = "==" | "!=" | "<" | ">" | "<=" | ">=";

/** What a match compares with. */
export type Right =
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "range"; readonly lo: Value; readonly hi: Value }
  /** Any of these bits (or, with !=, none). */
  | { readonly kind: "flags"; readonly bits: number }
  /** These bits under a mask. */
  | { readonly kind: "masked"; readonly bits: number; readonly mask: number }
  /** A name that ends in "*". */
  | { readonly kind: "wildcard"; readonly prefix: string }
  | { readonly kind: "set"; readonly set: NftSet };

/** Where an address translation leads. Null expressions leave the address or the port. */
export type NatTo = {
  readonly addr: Expr | null;
  readonly addrMax: Value | null;
  readonly port: Expr | null;
  readonly portMax: number;
  /** One expression gives the address and the port, in two words. */
  readonly both: Expr | null;
};

export type Stmt =
  | {
      readonly kind: "match";
      readonly left: Expr;
      readonly op: Op;
      readonly right: Right;
      /** == was written. */
      readonly explicit: boolean;
      /** What follows implies it, so that it is not listed. */
      readonly implied?: true;
    }
  | { readonly kind: "vmap"; readonly of: Expr; readonly set: NftSet }
  | { readonly kind: "verdict"; readonly verdict: Verdict }
  | { readonly kind: "counter"; readonly counter: Counter; readonly name: string }
  | { readonly kind: "limit"; readonly limit: Gate; readonly name: string }
  | { readonly kind: "log"; readonly text: string }
  | {
      readonly kind: "reject";
      readonly text: string;
      /** ICMP code, or REJECT_TCP_RESET. */
      readonly with: number;
      /** The same for IPv6, a code of ICMPv6. */
      readonly with6: number;
      /** EtherType of the only packets that it answers; 0 for both families. */
      readonly l3: number;
      /** It asks for TCP itself. */
      readonly tcp: boolean;
    }
  | {
      readonly kind: "nat";
      readonly what: "dnat" | "snat" | "masquerade" | "redirect";
      /** "ip" or "ip6" where it is written. */
      readonly family: string;
      readonly to: NatTo | null;
      readonly random: boolean;
      readonly fully: boolean;
      readonly persistent: boolean;
    }
  | { readonly kind: "set"; readonly key: Key; readonly to: Expr }
  | { readonly kind: "payload"; readonly key: Key; readonly to: Expr; readonly spec: PayloadSpec }
  | ({ readonly kind: "mss" } & MssSpec)
  | { readonly kind: "notrack" }
  | { readonly kind: "nothing"; readonly text: string }
  /** Nobody listens to queues here. */
  | { readonly kind: "queue"; readonly first: number; readonly last: number; readonly flags: readonly string[] }
  /** Asks for a flowtable; packets go where they go without. */
  | { readonly kind: "flow"; readonly name: string }
  /** Never holds here; `unknown` where it is not known what it would do. */
  | { readonly kind: "never"; readonly text: string; readonly unknown: NftError | null }
  | {
      readonly kind: "dynset";
      readonly op: "add" | "update" | "delete";
      readonly set: NftSet;
      readonly key: Expr;
      readonly data: Expr | null;
      readonly timeout: number;
      readonly counter: boolean;
      readonly limit: Gate | null;
    };

export class Rule {
  readonly chain: Chain;
  readonly handle: number;
  readonly stmts: readonly Stmt[];
  readonly comment: string;
  /** What it refers to; each once for each time. */
  readonly chains: readonly Chain[];
  readonly sets: readonly NftSet[];
  /** It asks conntrack or translates addresses. */
  readonly tracks: boolean;
  /** Kept in chains of many rules. */
  program: Program | null = null;
  #text = "";
  readonly #print: (rule: Rule) => string;

  constructor(
    chain: Chain,
    handle: number,
    stmts: readonly Stmt[],
    comment: string,
    refs: { readonly chains: readonly Chain[]; readonly sets: readonly NftSet[]; readonly tracks: boolean },
    print: (rule: Rule) => string,
  ) {
    this.chain = chain;
    this.handle = handle;
    this.stmts = stmts;
    this.comment = comment;
    this.chains = refs.chains;
    this.sets = refs.sets;
    this.tracks = refs.tracks;
    this.#print = print;
  }

  /** As it is listed, with counters without their values. Made when first asked for. */
  get text(): string {
    if (this.#text === "") this.#text = this.#print(this);
    return this.#text;
  }
}

export type BaseSpec = {
  readonly type: "filter" | "nat" | "route";
  readonly hook: string;
  readonly priority: number;
  readonly devices: readonly string[];
};

export class Chain {
  readonly table: Table;
  name: string;
  readonly handle: number;
  readonly base: BaseSpec | null;
  policy: "accept" | "drop" = "accept";
  comment: string;
  rules: Rule[] = [];
  /** How many verdicts lead here. */
  uses = 0;
  /** Its number where packets walk (`chain-code.ts`); 0 while none has met it. */
  slot = 0;

  constructor(table: Table, name: string, handle: number, base: BaseSpec | null, comment: string) {
    this.table = table;
    this.name = name;
    this.handle = handle;
    this.base = base;
    this.comment = comment;
  }

  /** Puts a rule last. */
  append(rule: Rule): void {
    this.rules = append(this.rules, rule);
  }
}

export type SetSpec = {
  readonly map: boolean;
  /** The fields of the key. */
  readonly key: readonly DataType[];
  /** The fields of a map's data; "verdict" for a verdict map. Empty in a set. */
  readonly data: readonly DataType[] | "verdict";
  /** As `typeof` named both; "" where types were named. */
  readonly typeof: string;
  readonly flags: readonly string[];
  /** Milliseconds; 0 for none. */
  readonly timeout: number;
  readonly gcInterval: number;
  /** 0 for none given. */
  readonly size: number;
  readonly policy: string;
  readonly autoMerge: boolean;
  readonly counter: boolean;
  readonly comment: string;
};

export class NftSet {
  readonly table: Table;
  /** "" for one that stands in a rule. */
  readonly name: string;
  readonly handle: number;
  spec: SetSpec;
  readonly words: number;
  readonly interval: boolean;
  readonly elements: Elements;
  /** Names of interfaces that end in "*". */
  readonly wildcards: boolean;
  /** How many rules refer to it, and from which chains. */
  uses = 0;
  users: Map<Chain, number> | null = null;

  constructor(table: Table, name: string, handle: number, spec: SetSpec) {
    this.table = table;
    this.name = name;
    this.handle = handle;
    this.spec = spec;
    this.words = spec.key.reduce((n, t) => n + t.words, 0);
    this.interval = spec.flags.includes("interval");
    this.wildcards = this.interval && spec.key.length === 1 && spec.key[0]?.name === "ifname";
    const sorted = this.interval && spec.key.length === 1 && !this.wildcards;
    this.elements = new Elements(
      spec.key.map((t) => t.words),
      sorted,
    );
  }
}

/** What every object of a table has besides its name. */
export type Named = { readonly handle: number; readonly comment: string };

/** A helper of conntrack, which is listed and does nothing here. */
export type Helper = { readonly type: string; readonly protocol: string; readonly l3proto: string };

/** Where packets of known flows leave the usual way; it is listed and does nothing here. */
export type Flowtable = {
  readonly priority: number;
  readonly devices: readonly string[];
  readonly flags: readonly string[];
  readonly counter: boolean;
};

export class Table {
  readonly family: Family;
  readonly name: string;
  readonly handle: number;
  comment: string;
  dormant = false;
  readonly chains: Map<string, Chain> = new Map();
  readonly sets: Map<string, NftSet> = new Map();
  readonly counters: Map<string, Named & { readonly counter: Counter }> = new Map();
  readonly limits: Map<string, Named & { readonly limit: Limit }> = new Map();
  readonly quotas: Map<string, Named & { readonly quota: Quota }> = new Map();
  readonly helpers: Map<string, Named & Helper> = new Map();
  readonly flowtables: Map<string, Named & Flowtable> = new Map();
  /** Handles of its objects. */
  nextHandle = 1;

  constructor(family: Family, name: string, handle: number, comment: string) {
    this.family = family;
    this.name = name;
    this.handle = handle;
    this.comment = comment;
  }
}
