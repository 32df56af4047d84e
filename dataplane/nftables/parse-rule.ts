/** A rule: its statements, one after another, to the end of the line. */
import { exact } from "../netfilter/exact.ts";
import { REJECT_TCP_RESET } from "../netfilter/hooks.ts";
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import { type DataType, ICMP_CODES, INET_PROTO, INET_SERVICE, IPV4_ADDR, IPV6_ADDR, type Value } from "./datatype.ts";
import type { Element } from "./elements.ts";
import type { Key } from "./keys.ts";
import { knownMatch } from "./known-matches.ts";
import { type Lexer, T_END, T_EOF, T_STRING, T_WORD } from "./lexer.ts";
import {
  type Chain,
  type Expr,
  type Family,
  type NatTo,
  NftSet,
  type Op,
  type Right,
  type SetSpec,
  type Stmt,
  type Table,
  type Verdict,
} from "./model.ts";
import { UNKNOWN } from "./nft-error.ts";
import { parseFlow, parseHelper, parsePriority, parseQueue, parseSocket, stands } from "./parse-action.ts";
import { beginsExpr, parseExpr, typesOf } from "./parse-expr.ts";
import { parseCounter, parseGate, parseLimit, parseQuota, parseVerdict } from "./parse-part.ts";
import { parseElements } from "./parse-set.ts";
import { parseFlags, parseKey, parseSpan, parseTime, parseValue } from "./parse-value.ts";
import { payloadSpec } from "./payload-set.ts";
import { Protocols, toldBy } from "./protocols.ts";
import type { RuleParts, Ruleset } from "./ruleset.ts";
import { ConnCount, type Gate } from "./stateful.ts";

const OPS: Readonly<Record<string, Op>> = { eq: "==", ne: "!=", lt: "<", gt: ">", le: "<=", ge: ">=" };
const OP_SYMBOLS: readonly string[] = ["==", "!=", "<", ">", "<=", ">="];

/** How statements begin of which the first word does not say what they are. */
const CT_COUNT: readonly string[] = ["ct", "count"];
const CT_HELPER_SET: readonly string[] = ["ct", "helper", "set"];
const META_PRIORITY_SET: readonly string[] = ["meta", "priority", "set"];
const MAXSEG_SET: readonly string[] = ["tcp", "option", "maxseg", "size", "set"];
/** Flags of a set in a rule. */
const CONSTANT: readonly string[] = ["constant"];
const CONSTANT_INTERVAL: readonly string[] = ["constant", "interval"];

export function anonymousSpec(map: boolean, key: readonly DataType[], data: SetSpec["data"]): SetSpec {
  return {
    map,
    key,
    data,
    typeof: "",
    flags: CONSTANT,
    timeout: 0,
    gcInterval: 0,
    size: 0,
    policy: "",
    autoMerge: false,
    counter: false,
    comment: "",
  };
}

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
      stmts: exact(withoutDependencies(this.#stmts, this.#table.family)),
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
        this.#reject();
        return;
      case "dnat":
      case "snat":
      case "masquerade":
      case "redirect":
        lex.next();
        this.#nat(word);
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

  #counter(): void {
    const lex: Lexer = this.#lex;
    if (lex.acceptWord("name")) {
      const at = lex.start;
      const name = lex.word("the name of a counter");
      const known = this.#table.counters.get(name);
      if (known === undefined) lex.fail(`there is no counter ${name}`, at, "ENOENT");
      this.#stmts.push({ kind: "counter", counter: known.counter, name });
      return;
    }
    this.#stmts.push({ kind: "counter", counter: parseCounter(lex), name: "" });
  }

  #limit(): void {
    const lex: Lexer = this.#lex;
    if (lex.acceptWord("name")) {
      const at = lex.start;
      const name = lex.word("the name of a limit");
      const known = this.#table.limits.get(name);
      if (known === undefined) lex.fail(`there is no limit ${name}`, at, "ENOENT");
      this.#stmts.push({ kind: "limit", limit: known.limit, name });
      return;
    }
    this.#stmts.push({ kind: "limit", limit: parseLimit(lex), name: "" });
  }

  #quota(): void {
    const lex: Lexer = this.#lex;
    if (lex.acceptWord("name")) {
      const at = lex.start;
      const name = lex.word("the name of a quota");
      const known = this.#table.quotas.get(name);
      if (known === undefined) lex.fail(`there is no quota ${name}`, at, "ENOENT");
      this.#stmts.push({ kind: "limit", limit: known.quota, name });
      return;
    }
    this.#stmts.push({ kind: "limit", limit: parseQuota(lex), name: "" });
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

  #reject(): void {
    const lex: Lexer = this.#lex;
    const { transport, version } = this.#protocols;
    if (!lex.acceptWord("with")) {
      const { PORT_UNREACH: code } = icmpv6;
      this.#stmts.push({ kind: "reject", text: "reject", with: icmpv4.PORT_UNREACH, with6: code, l3: 0, tcp: false });
      return;
    }
    const at = lex.start;
    const family = lex.word("icmp, icmpv6, icmpx or tcp");
    if (family === "tcp") {
      lex.expectWord("reset");
      if (transport >= 0 && transport !== PROTO_TCP)
        lex.fail(
          `reject: found "tcp", expected icmp, icmpv6 or icmpx: the packets are ${INET_PROTO.print([transport])}`,
          at,
        );
      const reset = REJECT_TCP_RESET;
      const text = "reject with tcp reset";
      this.#stmts.push({ kind: "reject", text, with: reset, with6: reset, l3: 0, tcp: true });
      return;
    }
    lex.acceptWord("type");
    const codeAt = lex.start;
    const name = lex.word("a code");
    const found = REJECT_CODES[family]?.find(([word, code]) => word === name || String(code) === name);
    if (REJECT_CODES[family] === undefined) lex.fail(`reject: "${family}" is not icmp, icmpv6, icmpx or tcp`, at);
    const fits = { "": family, ip: "icmp", ip6: "icmpv6" }[version];
    if (family !== fits && (family !== "icmpx" || this.#table.family === version))
      lex.fail(`reject: found "${family}", expected ${fits} or tcp: the rule's packets are ${version}`, at);
    if (found === undefined) lex.fail(`reject: "${name}" is no code of ${family}`, codeAt);
    const own = { ip: "icmp", ip6: "icmpv6", inet: "icmpx", bridge: "icmpx" }[this.#table.family as string];
    const plain = family === own && found[0] === "port-unreachable";
    this.#stmts.push({
      kind: "reject",
      text: plain ? "reject" : `reject with ${family} ${found[0]}`,
      with: found[2],
      with6: found[3],
      l3: family === "icmp" ? ETH_P_IP : family === "icmpv6" ? ETH_P_IPV6 : 0,
      tcp: false,
    });
  }

  #nat(what: "dnat" | "snat" | "masquerade" | "redirect"): void {
    const lex: Lexer = this.#lex;
    const { base } = this.#chain;
    if (base !== null && base.type !== "nat") lex.fail(`${what} is for chains of type nat, and this is ${base.type}`);
    const hooks = { dnat: DESTINATION, redirect: DESTINATION, snat: SOURCE, masquerade: ["postrouting"] }[what];
    if (base !== null && !hooks.includes(base.hook))
      lex.fail(`${what} is for ${hooks.join(" and ")}, not for ${base.hook}`);
    this.#tracks = true;
    const addressed = what === "dnat" || what === "snat";
    const written = addressed ? this.#natFamily(what) : "";
    const pair = written !== "" && lex.acceptWord("addr");
    if (pair) {
      lex.expect(".");
      lex.expectWord("port");
    }
    if (lex.acceptWord("prefix")) lex.fail("nat: prefixes are not supported", lex.start, UNKNOWN);
    const at = lex.start;
    const hasTo = lex.acceptWord("to") || lex.is(":");
    if (!hasTo && addressed) lex.expected("to");
    if (written !== "" && lex.is(":")) lex.expected("an address");
    const version = written || this.#protocols.version;
    if (version === "" && addressed && !lex.is(":"))
      lex.fail(`${what}: found "to", expected ip or ip6 before it: packets of both may come`, at);
    const to = hasTo ? this.#natTo(what, version === "ip6" ? IPV6_ADDR : IPV4_ADDR) : null;
    // what has both an address and a port says the family; a table of one family says it for all else
    const told = to !== null && (to.both !== null || (to.addr !== null && addressed && this.#table.family === "inet"));
    const family = told ? version : "";
    const flags = new Set<string>();
    while (lex.kind === T_WORD && ["random", "fully-random", "persistent"].includes(lex.value)) {
      flags.add(lex.value);
      lex.next();
      lex.accept(",");
    }
    this.#stmts.push({
      kind: "nat",
      what,
      family,
      to,
      random: flags.has("random"),
      fully: flags.has("fully-random"),
      persistent: flags.has("persistent"),
    });
  }

  /** "ip" or "ip6" where it is written behind the statement. */
  #natFamily(what: string): "" | "ip" | "ip6" {
    const lex: Lexer = this.#lex;
    if (!lex.isWord("ip") && !lex.isWord("ip6")) return "";
    const family = lex.value === "ip" ? "ip" : "ip6";
    const { version } = this.#protocols;
    if (version !== "" && version !== family)
      lex.fail(`${what}: found "${family}", expected ${version}, as the rule's packets are ${version}`);
    lex.next();
    return family;
  }

  #natTo(what: string, guess: DataType): NatTo {
    const lex: Lexer = this.#lex;
    let addr: Expr | null = null;
    let addrMax: Value | null = null;
    if (!lex.is(":")) {
      if (beginsExpr(lex)) {
        const data = what === "redirect" || what === "masquerade" ? [INET_SERVICE] : [guess, INET_SERVICE];
        const at = lex.start;
        const of = this.#mapped(this.#expr(), data);
        if (of.type.name !== data[0]?.name)
          lex.fail(`${what}: found an expression of type ${of.type.name}, expected ${data[0]?.name}`, at);
        if (of.kind === "map" && of.set.spec.data.length === 2)
          return { addr: null, addrMax: null, port: null, portMax: 0, both: of };
        addr = of;
      } else {
        const bracketed = lex.accept("[");
        const { lo, hi } = bracketed ? { lo: parseValue(lex, guess), hi: null } : parseSpan(lex, guess);
        if (bracketed) lex.expect("]");
        addr = { kind: "value", value: lo, type: guess };
        addrMax = hi;
      }
    }
    let port: Expr | null = null;
    let portMax = 0;
    if (lex.accept(":")) {
      const at = lex.start;
      if (beginsExpr(lex)) port = this.#mapped(this.#expr(), [INET_SERVICE]);
      else {
        const { lo, hi } = parseSpan(lex, INET_SERVICE);
        port = { kind: "value", value: lo, type: INET_SERVICE };
        portMax = hi?.[0] ?? 0;
      }
      if (!this.#stmts.some(givesTransport)) lex.fail("a port needs a match of the transport protocol before it", at);
    }
    return { addr, addrMax, port, portMax, both: null };
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
const DESTINATION: readonly string[] = ["prerouting", "output"];
const SOURCE: readonly string[] = ["postrouting", "input"];

/** Names, the numbers that may stand for them, and the codes of ICMP and of ICMPv6 that they are answered with. */
const REJECT_CODES: Readonly<Record<string, readonly (readonly [string, number, number, number])[]>> = {
  icmp: ICMP_CODES.map(([word, code]) => [word, code, code, 0] as const),
  icmpx: [
    ["port-unreachable", 1, icmpv4.PORT_UNREACH, icmpv6.PORT_UNREACH],
    ["admin-prohibited", 3, icmpv4.PKT_FILTERED, icmpv6.ADM_PROHIBITED],
    ["no-route", 0, icmpv4.NET_UNREACH, icmpv6.NOROUTE],
    ["host-unreachable", 2, icmpv4.HOST_UNREACH, icmpv6.ADDR_UNREACH],
  ],
  icmpv6: [
    ["no-route", 0, 0, icmpv6.NOROUTE],
    ["admin-prohibited", 1, 0, icmpv6.ADM_PROHIBITED],
    ["addr-unreachable", 3, 0, icmpv6.ADDR_UNREACH],
    ["port-unreachable", 4, 0, icmpv6.PORT_UNREACH],
    ["policy-fail", 5, 0, icmpv6.POLICY_FAIL],
    ["reject-route", 6, 0, icmpv6.REJECT_ROUTE],
  ],
};

function isNumber(t: DataType | undefined): boolean {
  return t?.name === "integer" || t?.name === "mark";
}

function isFib(e: Expr): boolean {
  return e.kind === "key" && e.key.load.kind === "fib" && e.key.load.result !== "type";
}

/** Whether a statement says which transport protocol a packet has. */
function givesTransport(s: Stmt): boolean {
  const of = s.kind === "match" ? s.left : s.kind === "vmap" ? s.of : null;
  if (of === null) return false;
  const parts = of.kind === "concat" ? of.parts : [of];
  return parts.some((e) => e.kind === "key" && (e.key.l4 > 0 || e.key.type === INET_PROTO));
}

/** The set or map in braces at the lexer. */
export function parseAnonymous(lex: Lexer, table: Table, spec: SetSpec, handle: number): NftSet {
  const from = lex.start;
  // whether it holds intervals is known when its elements are; a map's data may be shorter than it could
  const elements = parseElements(lex, table, spec);
  const ranged = elements.some((e) => e.end !== null);
  const data = spec.data === "verdict" ? spec.data : dataFields(elements, spec.data);
  const flags = ranged ? CONSTANT_INTERVAL : CONSTANT;
  const same = data === spec.data && flags === spec.flags;
  const set = new NftSet(table, "", handle, same ? spec : { ...spec, data, flags });
  try {
    for (const e of elements) {
      if (set.elements.catchAll === null && e.key.length === 0) set.elements.catchAll = e;
      else if (set.interval && spec.key.length === 1 && !set.wildcards) addMerging(set, e);
      else if (set.elements.get(e.key, e.end) === null) set.elements.add(e);
    }
  } catch (error) {
    lex.fail((error as Error).message, from, "EEXIST");
  }
  return set;
}

/** A set in a rule takes elements that overlap, as one. */
function addMerging(set: NftSet, e: Element): void {
  const met = set.elements.overlapping(e.key, e.end);
  if (met.length === 0) {
    set.elements.add(e);
    return;
  }
  if (set.spec.map) throw new Error("the interval overlaps with an existing one");
  for (const other of met) set.elements.remove(other);
  set.elements.add(mergedWith(e, met));
}

function mergedWith(e: Element, met: readonly Element[]): Element {
  const before = (a: Value, b: Value): boolean => {
    for (let i = 0; i < a.length; i++) {
      const d = ((a[i] ?? 0) >>> 0) - ((b[i] ?? 0) >>> 0);
      if (d !== 0) return d < 0;
    }
    return false;
  };
  const all = [e, ...met];
  const key = all.map((o) => o.key).reduce((a, b) => (before(b, a) ? b : a));
  const end = all.map((o) => o.end ?? o.key).reduce((a, b) => (before(a, b) ? b : a));
  return { ...e, key, end };
}

/** Those of the possible fields that the data of a map have. */
function dataFields(elements: readonly Element[], types: readonly DataType[]): readonly DataType[] {
  const data = elements[0]?.data;
  if (data === undefined || data === null || "kind" in data) return types;
  let words = 0;
  for (let i = 0; i < types.length - 1; i++) {
    words += types[i]?.words ?? 0;
    if (words === data.length) return types.slice(0, i + 1);
  }
  return types;
}

/**
 * Leaves out a match of the protocol that a later field asks for itself, as nft does when it lists: "ip protocol tcp tcp
 * dport 80" is "tcp dport 80".
 */
function withoutDependencies(stmts: readonly Stmt[], family: Family): readonly Stmt[] {
  if (stmts.length < 2 || !stmts.some(asksProtocol)) return stmts;
  return stmts.flatMap((s, i): readonly Stmt[] => {
    if (s.kind !== "match" || s.left.kind !== "key" || s.right.kind !== "value") return [s];
    const { l3, l4 } = toldBy(s);
    const asks = (k: Key): boolean => (l4 < 0 ? k.l3 === l3 : k.l4 === l4);
    if ((l3 === 0 && l4 < 0) || !stmts.slice(i + 1).some((o) => fieldKeys(o).some(asks))) return [s];
    const { text, l3: version } = s.left.key;
    // a header of one family says more than the field does where packets of both may come
    if (version !== 0 && family !== (version === ETH_P_IP ? "ip" : "ip6")) return [s];
    // and the header of IPv6 may name another that stands between
    return text === "ip6 nexthdr" ? [{ ...s, implied: true }] : [];
  });
}

const PROTOCOL_KEYS: readonly string[] = [
  "meta l4proto",
  "ip protocol",
  "ip6 nexthdr",
  "meta nfproto",
  "ether type",
  "meta protocol",
];

function asksProtocol(s: Stmt): boolean {
  return s.kind === "match" && s.left.kind === "key" && PROTOCOL_KEYS.includes(s.left.key.text);
}

function fieldKeys(s: Stmt): readonly Key[] {
  const of = s.kind === "match" ? s.left : s.kind === "vmap" ? s.of : null;
  if (of === null) return [];
  const one = (e: Expr): readonly Key[] =>
    e.kind === "key" ? [e.key] : e.kind === "bits" ? one(e.left) : e.kind === "concat" ? e.parts.flatMap(one) : [];
  return one(of);
}
