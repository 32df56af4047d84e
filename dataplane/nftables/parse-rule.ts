/** A rule: its statements, one after another, to the end of the line. */
import { exact } from "../netfilter/exact.ts";
import { ETH_P_ARP } from "../wire/ethernet.ts";
import type { DataType } from "./datatype.ts";
import type { Element } from "./elements.ts";
import { ASKS_TCP, needsTcp, withoutImplied } from "./implied-match.ts";
import { knownMatch } from "./known-matches.ts";
import { type Lexer, T_END, T_EOF, T_STRING, T_WORD } from "./lexer.ts";
import type { Chain, Expr, NftSet, Op, Right, SetSpec, Stmt, Table, Verdict } from "./model.ts";
import { UNKNOWN } from "./nft-error.ts";
import { parseFlow, parseHelper, parsePriority, parseQueue, parseSocket, stands } from "./parse-action.ts";
import { anonymousSpec, parseAnonymous } from "./parse-anonymous.ts";
import { beginsExpr, parseExpr, typesOf } from "./parse-expr.ts";
import { type InRule, parseNat } from "./parse-nat.ts";
import { parseCounter, parseGate, parseLimit, parseQuota, parseVerdict } from "./parse-part.ts";
import { parseReject } from "./parse-reject.ts";
import { parseFlags, parseKey, parseSpan, parseTime, parseValue } from "./parse-value.ts";
import { payloadSpec } from "./payload-set.ts";
import { Protocols } from "./protocols.ts";
import type { RuleParts, Ruleset } from "./ruleset.ts";
import { ConnCount, type Gate } from "./stateful.ts";

const OPS: Readonly<Record<string, Op>> = { eq: "==", ne: "!=", lt: "<", gt: ">", le: "<=", ge: ">=" };
const OP_SYMBOLS: readonly string[] = ["==", "!=", "<", ">", "<=", ">="];

/** How statements begin of which the first word does not say what they are. */
const CT_COUNT: readonly string[] = ["ct", "count"];
const CT_HELPER_SET: readonly string[] = ["ct", "helper", "set"];
const META_PRIORITY_SET: readonly string[] = ["meta", "priority", "set"];
const MAXSEG_SET: readonly string[] = ["tcp", "option", "maxseg", "size", "set"];
export class RuleParser {
  readonly #lex: Lexer;
  readonly #rules: Ruleset;
  readonly #table: Table;
  readonly #chain: Chain;
  readonly #stmts: Stmt[] = [];
  readonly #chains: Chain[] = [];
  readonly #sets: NftSet[] = [];
  readonly #protocols: Protocols;
  #tracks = false;

  constructor(lex: Lexer, rules: Ruleset, chain: Chain) {
    this.#lex = lex;
    this.#rules = rules;
    this.#table = chain.table;
    this.#chain = chain;
    this.#protocols = new Protocols(chain.table.family);
  }

  parse(): RuleParts {
    const lex: Lexer = this.#lex;
    let comment = "";
    while (lex.kind !== T_END && lex.kind !== T_EOF && !lex.is("}")) {
      if (lex.acceptWord("comment")) {
        comment = lex.kept("a comment");
        break;
      }
      this.#statement();
    }
    if (lex.kind !== T_END && lex.kind !== T_EOF && !lex.is("}")) lex.expected("the end of the rule");
    if (this.#stmts.length === 0) lex.expected("a statement");
    return {
      stmts: exact(withoutImplied(this.#stmts, this.#table.family)),
      comment,
      chains: exact(this.#chains),
      sets: exact(this.#sets),
      tracks: this.#tracks,
    };
  }

  #statement(): void {
    const lex: Lexer = this.#lex;
    if (lex.kind !== T_WORD) {
      if (lex.is("@")) {
        this.#matching();
        return;
      }
      lex.expected("a statement");
    }
    const word = lex.value;
    switch (word) {
      case "accept":
      case "drop":
      case "continue":
      case "return":
      case "jump":
      case "goto":
        this.#stmts.push({ kind: "verdict", verdict: this.#ruleVerdict() });
        return;
      case "counter":
        lex.next();
        this.#counter();
        return;
      case "limit":
        lex.next();
        this.#limit();
        return;
      case "log":
        lex.next();
        this.#log();
        return;
      case "reject":
        if (this.#protocols.network === ETH_P_ARP) lex.fail("reject: nothing answers ARP with an error");
        lex.next();
        this.#stmts.push(parseReject(lex, this.#table.family, this.#protocols));
        // before all else, unless the rule has asked for the protocol itself
        if (needsTcp(this.#stmts) && this.#protocols.transport < 0) this.#stmts.unshift(ASKS_TCP);
        return;
      case "dnat":
      case "snat":
      case "masquerade":
      case "redirect":
        lex.next();
        this.#stmts.push(parseNat(this.#inRule(), word));
        this.#tracks = true;
        return;
      case "notrack":
        lex.next();
        this.#stmts.push({ kind: "notrack" });
        this.#tracks = true;
        return;
      case "add":
      case "update":
      case "delete":
        lex.next();
        this.#dynset(word);
        return;
      case "quota":
        lex.next();
        this.#quota();
        return;
      case "queue":
        lex.next();
        this.#stmts.push(parseQueue(lex));
        return;
      case "flow":
        lex.next();
        this.#stmts.push(parseFlow(lex, this.#table));
        this.#tracks = true;
        return;
      case "socket":
        lex.next();
        this.#stmts.push(parseSocket(lex));
        return;
      case "tproxy":
      case "synproxy":
      case "dup":
      case "fwd":
      case "meter":
      case "exthdr":
      case "osf":
      case "rt":
      case "ipsec":
        lex.fail(`${word}: the statement is not supported`, lex.start, UNKNOWN);
    }
    if (stands(lex, CT_COUNT)) {
      this.#stmts.push({ kind: "limit", limit: parseGate(lex) as Gate, name: "" });
      this.#tracks = true;
      return;
    }
    if (stands(lex, CT_HELPER_SET)) {
      this.#stmts.push(parseHelper(lex, this.#table));
      this.#tracks = true;
      return;
    }
    if (stands(lex, META_PRIORITY_SET)) {
      this.#stmts.push(parsePriority(lex));
      return;
    }
    if (!beginsExpr(lex)) lex.fail(`"${word}" begins no statement that is supported`, lex.start, UNKNOWN);
    this.#matching();
  }

  #ruleVerdict(): Verdict {
    const verdict = parseVerdict(this.#lex, this.#table);
    if ("chain" in verdict) this.#chains.push(verdict.chain);
    return verdict;
  }

  /** What begins with an expression: a comparison, a verdict map, or a setting. */
  #matching(): void {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    if (stands(lex, MAXSEG_SET)) {
      this.#mss();
      return;
    }
    const left = this.#expr();
    if (lex.acceptWord("vmap")) {
      const set = lex.is("{") ? this.#anonymous(left, true, "verdict") : this.#named(true);
      if (set.spec.data !== "verdict") lex.fail(`set ${set.name} is no map of verdicts`, at);
      this.#sameKey(left, set, at);
      this.#use(set);
      this.#stmts.push({ kind: "vmap", of: left, set });
      return;
    }
    if (lex.acceptWord("set")) {
      this.#setting(left, at);
      return;
    }
    this.#compare(left, at);
  }

  #expr(): Expr {
    const expr = parseExpr(this.#lex, this.#protocols);
    this.#note(expr);
    return expr;
  }

  /** Whether conntrack is needed. */
  #note(expr: Expr): void {
    switch (expr.kind) {
      case "key":
        if (expr.key.load.kind === "ct") this.#tracks = true;
        return;
      case "bits":
        this.#note(expr.left);
        return;
      case "concat":
        for (const part of expr.parts) this.#note(part);
        return;
      case "jhash":
      case "map":
        this.#note(expr.of);
    }
  }

  #use(set: NftSet): void {
    this.#sets.push(set);
    if (set.name === "" && set.spec.data === "verdict") {
      for (const e of set.elements) this.#refer(e);
      if (set.elements.catchAll !== null) this.#refer(set.elements.catchAll);
    }
  }

  /** The elements of a set in the rule come and go with the rule: its chains are the rule's. */
  #refer(e: Element): void {
    if (e.data !== null && "kind" in e.data && "chain" in e.data) this.#chains.push(e.data.chain);
  }

  #named(map: boolean): NftSet {
    const lex: Lexer = this.#lex;
    lex.expect("@");
    const at = lex.start;
    const name = lex.word("the name of a set");
    const set = this.#table.sets.get(name);
    if (set === undefined) return lex.fail(`there is no ${map ? "map" : "set"} ${name}`, at, "ENOENT");
    if (set.spec.map !== map) lex.fail(`${name} is ${map ? "a set, no map" : "a map, no set"}`, at);
    return set;
  }

  #anonymous(left: Expr, map: boolean, data: SetSpec["data"]): NftSet {
    const lex: Lexer = this.#lex;
    const spec = anonymousSpec(map, typesOf(left), data);
    const handle = this.#table.nextHandle++;
    return parseAnonymous(lex, this.#table, spec, handle);
  }

  #sameKey(left: Expr, set: NftSet, at: number): void {
    const have = typesOf(left);
    const want = set.spec.key;
    const fits =
      have.length === want.length &&
      have.every(
        (t, i) => t.words === want[i]?.words && (t.name === want[i]?.name || isNumber(t) || isNumber(want[i])),
      );
    if (fits) return;
    const names = (types: readonly DataType[]): string => types.map((t) => t.name).join(" . ");
    this.#lex.fail(`the expression is of type ${names(have)}, the set's key of ${names(want)}`, at);
  }

  #compare(left: Expr, at: number): void {
    const lex: Lexer = this.#lex;
    let op: Op = "==";
    let explicit = false;
    if (OP_SYMBOLS.includes(lex.value) && lex.is(lex.value)) {
      op = lex.value as Op;
      explicit = true;
      lex.next();
    } else if (lex.kind === T_WORD && OPS[lex.value] !== undefined) {
      op = OPS[lex.value] as Op;
      explicit = true;
      lex.next();
    }
    const right = this.#right(left, op, explicit, at);
    const match = knownMatch({ kind: "match", left, op, right, explicit: explicit && op === "==" });
    this.#protocols.learn(match);
    this.#stmts.push(match);
  }

  #right(left: Expr, op: Op, explicit: boolean, at: number): Right {
    const lex: Lexer = this.#lex;
    if (lex.is("{")) {
      const set = this.#anonymous(left, false, []);
      this.#use(set);
      return { kind: "set", set };
    }
    if (lex.is("@")) {
      const set = this.#named(false);
      this.#sameKey(left, set, at);
      this.#use(set);
      return { kind: "set", set };
    }
    const types = typesOf(left);
    const type = types[0] as DataType;
    if (types.length > 1) {
      const { key, end } = parseKey(lex, types);
      if (end !== null) lex.fail("a concatenation is compared with single values, or with a set", at);
      return { kind: "value", value: key };
    }
    if (type.name === "ifname" && /\*$/.test(lex.value) && (lex.kind === T_STRING || lex.kind === T_WORD)) {
      const prefix = lex.value.slice(0, -1);
      lex.next();
      return { kind: "wildcard", prefix };
    }
    if (isFib(left) && (lex.isWord("exists") || lex.isWord("missing"))) {
      // an interface there is, or none: numbers 0 and more, or 0
      const missing = lex.value === "missing";
      lex.next();
      return { kind: "value", value: [missing ? MISSING : EXISTS] };
    }
    if (type.bitmask) return this.#flags(left, explicit, type);
    const { lo, hi } = parseSpan(lex, type);
    if (hi === null) return { kind: "value", value: lo };
    if (op !== "==" && op !== "!=") lex.fail("a range is compared with == or !=", at);
    return { kind: "range", lo, hi };
  }

  #flags(left: Expr, explicit: boolean, type: DataType): Right {
    const lex: Lexer = this.#lex;
    let bits = parseValue(lex, type)[0] ?? 0;
    while (lex.accept("|") || lex.accept(",")) bits |= parseValue(lex, type)[0] ?? 0;
    if (lex.accept("/")) {
      const mask = parseFlags(lex, type)[0] ?? 0;
      return { kind: "masked", bits, mask };
    }
    // a bare test of flags asks whether one of them is there; == and != compare them all
    if (left.kind === "key" && !explicit) return { kind: "flags", bits };
    return { kind: "value", value: [bits] };
  }

  #setting(left: Expr, at: number): void {
    const lex: Lexer = this.#lex;
    if (left.kind !== "key") lex.fail("this cannot be set", at, UNKNOWN);
    const { key } = left;
    const what = key.text;
    const spec = payloadSpec(key);
    if (spec !== null) {
      const to = { kind: "value", value: parseValue(lex, key.type), type: key.type } as const;
      this.#stmts.push({ kind: "payload", key, to, spec });
      return;
    }
    if (what !== "meta mark" && what !== "ct mark") lex.fail(`${what}: setting it is not supported`, at, UNKNOWN);
    if (what === "ct mark") this.#tracks = true;
    this.#stmts.push({ kind: "set", key, to: this.#source(key.type) });
  }

  /** A constant, or an expression that may go through a map. */
  #source(type: DataType): Expr {
    const lex: Lexer = this.#lex;
    if (!beginsExpr(lex)) return { kind: "value", value: parseValue(lex, type), type };
    return this.#mapped(this.#expr(), [type]);
  }

  /** `data`: of the map, where one follows; null reads what the elements are. */
  #mapped(of: Expr, data: readonly DataType[]): Expr {
    const lex: Lexer = this.#lex;
    if (!lex.acceptWord("map")) return of;
    const at = lex.start;
    const set = lex.is("{") ? this.#anonymous(of, true, data) : this.#named(true);
    if (set.spec.data === "verdict") return lex.fail(`map ${set.name} holds verdicts`, at);
    this.#sameKey(of, set, at);
    this.#use(set);
    return { kind: "map", of, set, type: set.spec.data[0] as DataType };
  }

  /** The object of the table that is named at the lexer. */
  #object<T>(what: string, objects: ReadonlyMap<string, T>): readonly [name: string, object: T] {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    const name = lex.word(`the name of a ${what}`);
    const known = objects.get(name);
    if (known === undefined) lex.fail(`there is no ${what} ${name}`, at, "ENOENT");
    return [name, known];
  }

  #counter(): void {
    const lex: Lexer = this.#lex;
    if (!lex.acceptWord("name")) this.#stmts.push({ kind: "counter", counter: parseCounter(lex), name: "" });
    else {
      const [name, { counter }] = this.#object("counter", this.#table.counters);
      this.#stmts.push({ kind: "counter", counter, name });
    }
  }

  #limit(): void {
    const lex: Lexer = this.#lex;
    if (!lex.acceptWord("name")) this.#stmts.push({ kind: "limit", limit: parseLimit(lex), name: "" });
    else {
      const [name, { limit }] = this.#object("limit", this.#table.limits);
      this.#stmts.push({ kind: "limit", limit, name });
    }
  }

  #quota(): void {
    const lex: Lexer = this.#lex;
    if (!lex.acceptWord("name")) this.#stmts.push({ kind: "limit", limit: parseQuota(lex), name: "" });
    else {
      const [name, { quota }] = this.#object("quota", this.#table.quotas);
      this.#stmts.push({ kind: "limit", limit: quota, name });
    }
  }

  #log(): void {
    const lex: Lexer = this.#lex;
    const given: { level?: string; [option: string]: string | undefined } = {};
    for (;;) {
      const word = lex.value;
      if (lex.kind !== T_WORD || !["prefix", "level", "flags", "group", "snaplen", "queue-threshold"].includes(word))
        break;
      lex.next();
      if (word === "prefix") given[word] = `"${lex.string("the prefix")}"`;
      else if (word === "flags") {
        const list = [lex.word("flags")];
        if (list[0] === "tcp" || list[0] === "ip") list.push(lex.word("what of it"));
        while (lex.accept(",")) list.push(lex.word("what of it"));
        given[word] = list.length > 1 ? `${list[0]} ${list.slice(1).join(",")}` : (list[0] ?? "");
      } else if (word === "level") given[word] = lex.word("a level");
      else given[word] = String(lex.number("a number"));
    }
    if (given.level === "warn" || given.level === "warning") given.level = "";
    const parts = ["prefix", "group", "snaplen", "queue-threshold", "level", "flags"].flatMap((name) =>
      given[name] ? [`${name} ${given[name]}`] : [],
    );
    this.#stmts.push({ kind: "log", text: ["log", ...parts].join(" ") });
  }

  #inRule(): InRule {
    return {
      lex: this.#lex,
      chain: this.#chain,
      protocols: this.#protocols,
      stmts: this.#stmts,
      expression: (data) => this.#mapped(this.#expr(), data),
    };
  }

  #mss(): void {
    const lex: Lexer = this.#lex;
    for (let i = 0; i < 5; i++) lex.next();
    if (lex.acceptWord("rt")) {
      lex.expectWord("mtu");
      this.#stmts.push({ kind: "mss", size: null });
      return;
    }
    this.#stmts.push({ kind: "mss", size: lex.number("a size, or rt mtu") });
  }

  #dynset(op: "add" | "update" | "delete"): void {
    const lex: Lexer = this.#lex;
    lex.expect("@");
    const at = lex.start;
    const name = lex.word("the name of a set");
    const set = this.#table.sets.get(name);
    if (set === undefined) lex.fail(`there is no set ${name}`, at, "ENOENT");
    if (set.interval) lex.fail(`set ${name} holds intervals: packets cannot add to it`, at);
    lex.expect("{");
    const key = this.#expr();
    this.#sameKey(key, set, at);
    const timeout = lex.acceptWord("timeout") ? parseTime(lex) : 0;
    if (timeout > 0 && set.spec.timeout === 0 && !set.spec.flags.includes("timeout"))
      lex.fail(`set ${name} has no flag timeout`, at);
    const counter = lex.acceptWord("counter");
    const limit = parseGate(lex);
    if (limit instanceof ConnCount) this.#tracks = true;
    let data: Expr | null = null;
    if (set.spec.map) {
      if (set.spec.data === "verdict") lex.fail(`map ${name} holds verdicts: packets cannot add to it`, at);
      lex.expect(":");
      data = this.#source(set.spec.data[0] as DataType);
    }
    lex.expect("}");
    this.#rules.makeDynamic(set);
    this.#use(set);
    this.#stmts.push({ kind: "dynset", op, set, key, data, timeout, counter, limit });
  }
}

/** Values that stand for "exists" and "missing" of `fib … oif`. */
export const EXISTS = -2;
export const MISSING = -1;
function isNumber(t: DataType | undefined): boolean {
  return t?.name === "integer" || t?.name === "mark";
}

function isFib(e: Expr): boolean {
  return e.kind === "key" && e.key.load.kind === "fib" && e.key.load.result !== "type";
}
