/**
 * The commands of nft(8): what `nft -f` reads, which is also what `nft list ruleset` prints. Each is done when it is read,
 * inside the ruleset's transaction. In a block, chains and sets come first, then elements and rules, which may lead to any
 * of them.
 */
import type { Element } from "./elements.ts";
import { Lexer, T_END, T_EOF, T_STRING, T_WORD } from "./lexer.ts";
import {
  type BaseSpec,
  type Chain,
  FAMILIES,
  type Family,
  type Flowtable,
  type Named,
  type NftSet,
  type Table,
} from "./model.ts";
import { NftError, RulesetError, UNKNOWN } from "./nft-error.ts";
import { type ObjectKind, parseObject } from "./parse-object.ts";
import { RuleParser } from "./parse-rule.ts";
import { parseElements, parseSetBlock, skipBraces } from "./parse-set.ts";
import type { RuleParts, RulePlace, Ruleset, Undo } from "./ruleset.ts";
import { Counter } from "./stateful.ts";

/** Names of priorities (nft(8), "Standard priority names"); bridges have their own. */
export const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
export const BRIDGE_PRIORITIES: Readonly<Record<string, number>> = {
  dstnat: -300,
  filter: -200,
  out: 100,
  srcnat: 300,
};

const HOOKS: Readonly<Record<Family, readonly string[]>> = {
  ip: ["prerouting", "input", "forward", "output", "postrouting"],
  ip6: ["prerouting", "input", "forward", "output", "postrouting"],
  inet: ["prerouting", "input", "forward", "output", "postrouting", "ingress"],
  bridge: ["prerouting", "input", "forward", "output", "postrouting"],
  arp: ["input", "output"],
  netdev: ["ingress", "egress"],
};
const NAT_HOOKS: readonly string[] = ["prerouting", "input", "output", "postrouting"];

/**
 * Applies a text, whole or not at all; answers how to undo it. Throws NftError. `now`: virtual milliseconds. `lenient`: rules
 * with statements or expressions that are not known match nothing, instead of failing.
 */
export function applyNft(rules: Ruleset, text: string, source: string, now: number, lenient = false): Undo {
  const parser = new Commands(rules, text, source, now, lenient);
  return rules.transaction(() => parser.run());
}

const AT_END: RulePlace = { at: "end" };
const AT_START: RulePlace = { at: "start" };

const VERBS: readonly string[] = [
  "add",
  "create",
  "insert",
  "replace",
  "delete",
  "destroy",
  "flush",
  "reset",
  "rename",
];

class Commands {
  readonly #lex: Lexer;
  readonly #rules: Ruleset;
  readonly #now: number;
  readonly #lenient: boolean;
  /** The last table that was named, which the next command most likely names too. */
  #table: Table | null = null;

  constructor(rules: Ruleset, text: string, source: string, now: number, lenient: boolean) {
    this.#lex = new Lexer(text, source);
    this.#lenient = lenient;
    this.#rules = rules;
    this.#now = now;
  }

  run(): void {
    const lex: Lexer = this.#lex;
    for (lex.ends(); lex.kind !== T_EOF; lex.ends()) {
      const at = lex.start;
      try {
        this.#command();
      } catch (error) {
        if (error instanceof RulesetError) lex.fail(error.message, at, error.code);
        throw error;
      }
      if (lex.kind !== T_END && lex.kind !== T_EOF) lex.expected("the end of the command");
    }
  }

  #command(): void {
    const lex: Lexer = this.#lex;
    if (lex.kind !== T_WORD) lex.expected("a command");
    let verb = "add";
    if (VERBS.includes(lex.value)) {
      verb = lex.value;
      lex.next();
    } else if (lex.value === "define" || lex.value === "redefine") {
      this.#define();
      return;
    } else if (lex.value === "include") lex.fail("include: files are not read here");
    else if (["list", "monitor", "export", "describe", "undefine", "import"].includes(lex.value))
      lex.fail(`${lex.value}: the command is not supported`);
    switch (verb) {
      case "add":
      case "create":
        this.#add(verb === "create");
        return;
      case "insert":
        lex.acceptWord("rule");
        this.#rule("insert");
        return;
      case "replace":
        lex.expectWord("rule");
        this.#rule("replace");
        return;
      case "delete":
      case "destroy":
        this.#delete(verb === "destroy");
        return;
      case "flush":
        this.#flush();
        return;
      case "rename": {
        lex.expectWord("chain");
        const chain = this.#chain(this.#tableRef());
        this.#rules.renameChain(chain, lex.word("a name"));
        return;
      }
      default:
        lex.fail(`${verb}: the command is not supported`);
    }
  }

  #define(): void {
    const lex: Lexer = this.#lex;
    lex.next();
    const name = lex.word("a name");
    lex.expect("=");
    const from = lex.start;
    if (lex.is("{")) skipBraces(lex);
    else while (lex.kind !== T_END && lex.kind !== T_EOF) lex.next();
    lex.defines.set(name, lex.text.slice(from, lex.start).trim());
  }

  #family(): Family {
    const lex: Lexer = this.#lex;
    const word = lex.value as Family;
    if (lex.kind !== T_WORD || !FAMILIES.includes(word)) return "ip";
    lex.next();
    return word;
  }

  #tableRef(): Table {
    const lex: Lexer = this.#lex;
    const family = this.#family();
    const at = lex.start;
    const name = lex.word("the name of a table");
    if (this.#table?.name === name && this.#table.family === family) return this.#table;
    const table = this.#rules.table(family, name);
    if (table === undefined) return lex.fail(`there is no table ${family} ${name}`, at, "ENOENT");
    this.#table = table;
    return table;
  }

  #chain(table: Table): Chain {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    const name = lex.word("the name of a chain");
    const chain = table.chains.get(name);
    if (chain === undefined) return lex.fail(`there is no chain ${name}`, at, "ENOENT");
    return chain;
  }

  #set(table: Table): NftSet {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    const name = lex.word("the name of a set");
    const set = table.sets.get(name);
    if (set === undefined) return lex.fail(`there is no set ${name}`, at, "ENOENT");
    return set;
  }

  #add(create: boolean): void {
    const lex: Lexer = this.#lex;
    const what = lex.value;
    switch (what) {
      case "table":
        lex.next();
        this.#addTable(create);
        return;
      case "chain": {
        lex.next();
        const table = this.#tableRef();
        const name = lex.word("the name of a chain");
        this.#addChain(table, name, create);
        return;
      }
      case "rule":
        lex.next();
        this.#rule("add");
        return;
      case "set":
      case "map": {
        lex.next();
        const table = this.#tableRef();
        const name = lex.word("the name of a set");
        for (const read of this.#addSet(table, name, what === "map", create)) read();
        return;
      }
      case "element": {
        lex.next();
        const set = this.#set(this.#tableRef());
        this.#elements(set, create);
        return;
      }
      case "counter":
      case "limit":
      case "quota":
      case "flowtable": {
        lex.next();
        const table = this.#tableRef();
        this.#object(table, what, create);
        return;
      }
      case "ct": {
        lex.next();
        this.#ctHelperWord();
        this.#object(this.#tableRef(), "ct helper", create);
        return;
      }
      case "synproxy":
      case "secmark":
        lex.fail(`${what}: objects of this kind are not supported`);
    }
    lex.expected("a command, or what to add");
  }

  #ctHelperWord(): void {
    const lex: Lexer = this.#lex;
    if (!lex.acceptWord("helper")) lex.fail(`ct ${lex.value}: objects of this kind are not supported`);
  }

  /** A counter, limit, quota, helper or flowtable, with its block, which may be left out where there are values to begin with. */
  #object(table: Table, what: ObjectKind, create: boolean): void {
    const lex: Lexer = this.#lex;
    const name = lex.word("a name");
    const parts = what === "flowtable" ? this.#flowtable() : parseObject(lex, what, table.family);
    const add = <T extends Named>(objects: Map<string, T>, rest: Omit<T, keyof Named>): void => {
      const { comment } = parts;
      this.#rules.addObject(table, objects, what, name, (handle) => ({ ...rest, handle, comment }) as T, create);
    };
    if ("counter" in parts && typeof parts.counter === "object") add(table.counters, { counter: parts.counter });
    else if ("limit" in parts) add(table.limits, { limit: parts.limit });
    else if ("quota" in parts) add(table.quotas, { quota: parts.quota });
    else if ("helper" in parts) add(table.helpers, parts.helper);
    else if ("flowtable" in parts) add(table.flowtables, parts.flowtable);
  }

  /** "{ hook ingress priority P; devices = { … }; counter; flags offload }". */
  #flowtable(): { readonly flowtable: Flowtable; readonly comment: string } {
    const lex: Lexer = this.#lex;
    let priority = 0;
    let devices: readonly string[] = [];
    let counter = false;
    const flags: string[] = [];
    lex.expect("{");
    for (lex.ends(); !lex.accept("}"); lex.ends()) {
      if (lex.acceptWord("hook")) {
        lex.expectWord("ingress");
        lex.expectWord("priority");
        priority = this.#priority("netdev");
      } else if (lex.isWord("devices")) devices = this.#devices();
      else if (lex.acceptWord("counter")) counter = true;
      else if (lex.acceptWord("flags")) {
        lex.expectWord("offload");
        flags.push("offload");
      } else lex.expected("hook, devices, counter or flags");
    }
    return { flowtable: { priority, devices, counter, flags }, comment: "" };
  }

  /** "devices = { a, b }". */
  #devices(): readonly string[] {
    const lex: Lexer = this.#lex;
    const devices: string[] = [];
    lex.expectWord("devices");
    lex.expect("=");
    lex.expect("{");
    do devices.push(lex.word("a device"));
    while (lex.accept(","));
    lex.expect("}");
    return devices;
  }

  #addTable(create: boolean): void {
    const lex: Lexer = this.#lex;
    const family = this.#family();
    const name = lex.word("the name of a table");
    if (!lex.is("{")) {
      this.#table = this.#rules.addTable(family, name, create);
      return;
    }
    lex.next();
    let table: Table | null = null;
    let comment = "";
    const first = lex.start;
    // flags and the comment come before what is in the table
    lex.ends();
    let dormant: boolean | undefined;
    while (lex.isWord("comment") || lex.isWord("flags")) {
      if (lex.acceptWord("comment")) comment = lex.string("the comment");
      else {
        lex.next();
        if (lex.word("a flag") !== "dormant") lex.fail("only the flag dormant is supported", first);
        dormant = true;
      }
      lex.ends();
    }
    table = this.#rules.addTable(family, name, create, comment, dormant);
    this.#table = table;
    const elements: (() => void)[] = [];
    const ruleTexts: { readonly chain: Chain; readonly at: number }[] = [];
    for (lex.ends(); !lex.accept("}"); lex.ends()) {
      const at = lex.start;
      const what = lex.word("a chain or a set");
      switch (what) {
        case "chain":
          ruleTexts.push(...this.#chainBlock(table, create));
          break;
        case "set":
        case "map":
          elements.push(...this.#addSet(table, lex.word("the name of a set"), what === "map", create));
          break;
        case "counter":
        case "limit":
        case "quota":
        case "flowtable":
          this.#object(table, what, create);
          break;
        case "ct":
          this.#ctHelperWord();
          this.#object(table, "ct helper", create);
          break;
        default:
          lex.fail(`${what}: not supported in a table`, at);
      }
    }
    const after = lex.end;
    const [kind, value, start] = [lex.kind, lex.value, lex.start];
    for (const read of elements) read();
    for (const { chain, at } of ruleTexts) {
      this.#seek(at);
      this.#addRule(chain, AT_END);
    }
    lex.end = after;
    lex.kind = kind;
    lex.value = value;
    lex.start = start;
  }

  #seek(at: number): void {
    this.#lex.end = at;
    this.#lex.next();
  }

  /** "NAME { type … ; policy … ; rules }": makes the chain and answers where its rules begin. */
  #chainBlock(table: Table, create: boolean): { readonly chain: Chain; readonly at: number }[] {
    const lex: Lexer = this.#lex;
    const name = lex.word("the name of a chain");
    const head = this.#chainHead(table);
    const chain = this.#rules.addChain(table, name, head.base, head.policy, head.comment, create);
    const out: { readonly chain: Chain; readonly at: number }[] = [];
    for (lex.ends(); !lex.is("}"); lex.ends()) {
      out.push({ chain, at: lex.start });
      this.#skipRule();
    }
    lex.next();
    return out;
  }

  #skipRule(): void {
    const lex: Lexer = this.#lex;
    while (lex.kind !== T_END && !lex.is("}")) {
      if (lex.kind === T_EOF) lex.expected('"}"');
      if (lex.is("{")) skipBraces(lex);
      else lex.next();
    }
  }

  #addChain(table: Table, name: string, create: boolean): void {
    const lex: Lexer = this.#lex;
    if (!lex.is("{")) {
      this.#rules.addChain(table, name, null, null, "", create);
      return;
    }
    const { base, policy, comment } = this.#chainHead(table);
    lex.ends();
    lex.expect("}");
    this.#rules.addChain(table, name, base, policy, comment, create);
  }

  /** From "{" to where the rules begin. */
  #chainHead(table: Table): { base: BaseSpec | null; policy: "accept" | "drop" | null; comment: string } {
    const lex: Lexer = this.#lex;
    lex.expect("{");
    let base: BaseSpec | null = null;
    let policy: "accept" | "drop" | null = null;
    let comment = "";
    for (lex.ends(); ; lex.ends()) {
      if (lex.isWord("type")) base = this.#base(table);
      else if (lex.isWord("policy")) {
        lex.next();
        const at = lex.start;
        const word = lex.word("accept or drop");
        if (word !== "accept" && word !== "drop") return lex.fail(`policy "${word}" is neither accept nor drop`, at);
        if (base === null && table.chains.size === 0) lex.fail("a policy is for chains that hang on a hook", at);
        policy = word;
      } else if (lex.isWord("comment")) {
        lex.next();
        comment = lex.string("the comment");
      } else break;
    }
    return { base, policy, comment };
  }

  #base(table: Table): BaseSpec {
    const lex: Lexer = this.#lex;
    lex.next();
    const typeAt = lex.start;
    const type = lex.word("filter, nat or route");
    if (type !== "filter" && type !== "nat" && type !== "route")
      return lex.fail(`"${type}" is no type of chain`, typeAt);
    lex.expectWord("hook");
    const hookAt = lex.start;
    const hook = lex.word("a hook");
    if (!HOOKS[table.family].includes(hook))
      lex.fail(`family ${table.family} has no hook ${hook}`, hookAt, "EOPNOTSUPP");
    if (type === "nat" && !NAT_HOOKS.includes(hook)) lex.fail(`there is no NAT at hook ${hook}`, hookAt, "EOPNOTSUPP");
    if (type === "route" && hook !== "output")
      lex.fail("chains of type route are for hook output", hookAt, "EOPNOTSUPP");
    const devices: string[] = [];
    if (lex.acceptWord("device")) devices.push(lex.word("a device"));
    else if (lex.isWord("devices")) devices.push(...this.#devices());
    lex.expectWord("priority");
    return { type, hook, priority: this.#priority(table.family), devices };
  }

  /** A number, a name, or a name and a distance: "filter - 10", "dstnat+5". */
  #priority(family: Family): number {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    if (lex.accept("-")) return -lex.number("a priority");
    if (lex.kind === T_WORD && /^\d/.test(lex.value)) return lex.number("a priority");
    const word = lex.kind === T_STRING || lex.kind === T_WORD ? lex.value : lex.expected("a priority");
    lex.next();
    const [, name = "", joined] = /^([a-z]+)(-\d+)?$/.exec(word) ?? [];
    const base = (family === "bridge" ? BRIDGE_PRIORITIES : PRIORITIES)[name];
    if (base === undefined) return lex.fail(`"${word}" is no priority of family ${family}`, at);
    if (joined !== undefined) return base + Number(joined);
    if (lex.accept("-")) return base - lex.number("a number");
    if (lex.accept("+")) return base + lex.number("a number");
    return base;
  }

  /** Answers what reads the elements of the block. */
  #addSet(table: Table, name: string, map: boolean, create: boolean): (() => void)[] {
    const lex: Lexer = this.#lex;
    const { spec, elementsAt } = parseSetBlock(lex, map);
    const set = this.#rules.addSet(table, name, spec, create);
    return elementsAt.map((at) => () => {
      const [end, kind, value, start] = [lex.end, lex.kind, lex.value, lex.start];
      this.#seek(at);
      this.#elements(set, false);
      lex.end = end;
      lex.kind = kind;
      lex.value = value;
      lex.start = start;
    });
  }

  #elements(set: NftSet, create: boolean): void {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    for (const e of parseElements(lex, set.table, set.spec)) {
      this.#checkElement(set, e, at);
      const timeout = e.timeout || set.spec.timeout;
      const left = e.expires || timeout;
      e.timeout = timeout;
      e.expires = left === 0 ? 0 : this.#now + left;
      const counter = set.spec.counter && e.counter === null ? parseEmptyCounter() : e.counter;
      this.#rules.addElement(set, counter === e.counter ? e : { ...e, counter }, create);
    }
  }

  #checkElement(set: NftSet, e: Element, at: number): void {
    const { spec } = set;
    if (e.end !== null && !set.interval)
      this.#lex.fail(`set ${set.name} has no flag interval, and this is a range`, at);
    if (e.timeout > 0 && spec.timeout === 0 && !spec.flags.includes("timeout"))
      this.#lex.fail(`set ${set.name} has no flag timeout`, at);
  }

  #rule(verb: "add" | "insert" | "replace"): void {
    const lex: Lexer = this.#lex;
    const chain = this.#chain(this.#tableRef());
    let place: RulePlace = verb === "insert" ? AT_START : AT_END;
    const before = verb === "insert";
    if (lex.isWord("handle") || lex.isWord("position")) {
      lex.next();
      const handle = lex.number("a handle");
      place = { at: verb === "replace" ? "replace" : before ? "before" : "after", handle };
    } else if (lex.acceptWord("index")) {
      place = { at: before ? "beforeIndex" : "afterIndex", index: lex.number("an index") };
    } else if (verb === "replace") lex.expected("handle");
    this.#addRule(chain, place);
  }

  #addRule(chain: Chain, place: RulePlace): void {
    const at = this.#lex.start;
    const parts = this.#ruleParts(chain);
    try {
      this.#rules.addRule(chain, place, parts);
    } catch (error) {
      if (error instanceof RulesetError) this.#lex.fail(error.message, at, error.code);
      throw error;
    }
  }

  #ruleParts(chain: Chain): RuleParts {
    const lex: Lexer = this.#lex;
    const at = lex.start;
    try {
      return new RuleParser(lex, this.#rules, chain).parse();
    } catch (unknown) {
      if (!this.#lenient || !(unknown instanceof NftError) || unknown.code !== UNKNOWN) throw unknown;
      this.#seek(at);
      this.#skipRule();
      const text = lex.text.slice(at, lex.start).trim();
      return { stmts: [{ kind: "never", text, unknown }], comment: "", chains: [], sets: [], tracks: false };
    }
  }

  /** `destroy` is content where there is nothing. */
  #delete(destroy: boolean): void {
    const lex: Lexer = this.#lex;
    const what = lex.word("what to delete");
    const rules = this.#rules;
    if (what === "table") {
      const family = this.#family();
      const at = lex.start;
      if (lex.isWord("handle")) lex.fail("tables are deleted by name", at);
      const name = lex.word("the name of a table");
      const table = rules.table(family, name);
      this.#table = null;
      if (table !== undefined) rules.delTable(table);
      else if (!destroy) lex.fail(`there is no table ${family} ${name}`, at, "ENOENT");
      return;
    }
    const table = this.#tableRef();
    const at = lex.start;
    switch (what) {
      case "chain": {
        const chain = this.#named(table.chains);
        if (chain !== undefined) rules.delChain(chain);
        else if (!destroy) lex.fail("there is no such chain", at, "ENOENT");
        return;
      }
      case "rule": {
        const chain = this.#chain(table);
        lex.expectWord("handle");
        rules.delRule(chain, lex.number("a handle"));
        return;
      }
      case "set":
      case "map": {
        const set = this.#named(table.sets);
        if (set !== undefined) rules.delSet(set);
        else if (!destroy) lex.fail("there is no such set", at, "ENOENT");
        return;
      }
      case "element": {
        const set = this.#set(table);
        // a map's element is named by its key; data behind it may be left out
        const from = lex.start;
        for (const e of this.#keys(set, from)) rules.delElement(set, e.key, e.end, destroy);
        return;
      }
      case "counter":
      case "limit":
      case "quota":
      case "flowtable":
      case "ct": {
        if (what === "ct") this.#ctHelperWord();
        const objects: Map<string, Named> = {
          counter: table.counters,
          limit: table.limits,
          quota: table.quotas,
          flowtable: table.flowtables,
          ct: table.helpers,
        }[what];
        const name = lex.word("a name");
        if (objects.has(name)) rules.delObject(objects, name);
        else if (!destroy) lex.fail(`there is no ${what} ${name}`, at, "ENOENT");
        return;
      }
      default:
        lex.fail(`${what}: deleting it is not supported`, at);
    }
  }

  #keys(set: NftSet, from: number): readonly Element[] {
    const lex: Lexer = this.#lex;
    const { spec } = set;
    if (!spec.map || hasData(lex.text, from)) return parseElements(lex, set.table, spec);
    return parseElements(lex, set.table, { ...spec, map: false });
  }

  /** By name, or by "handle N". */
  #named<T extends { readonly handle: number }>(objects: ReadonlyMap<string, T>): T | undefined {
    const lex: Lexer = this.#lex;
    if (lex.acceptWord("handle")) {
      const handle = lex.number("a handle");
      return [...objects.values()].find((o) => o.handle === handle);
    }
    return objects.get(lex.word("a name"));
  }

  #flush(): void {
    const lex: Lexer = this.#lex;
    const what = lex.word("what to flush");
    const rules = this.#rules;
    switch (what) {
      case "ruleset": {
        const only = FAMILIES.includes(lex.value as Family) && lex.kind === T_WORD ? this.#family() : null;
        this.#table = null;
        for (const table of [...rules.tables.values()])
          if (only === null || table.family === only) rules.delTable(table);
        return;
      }
      case "table":
        for (const chain of this.#tableRef().chains.values()) rules.flushChain(chain);
        return;
      case "chain":
        rules.flushChain(this.#chain(this.#tableRef()));
        return;
      case "set":
      case "map":
        rules.flushSet(this.#set(this.#tableRef()));
        return;
      default:
        lex.fail(`${what}: flushing it is not supported`);
    }
  }
}

function parseEmptyCounter(): Counter {
  return new Counter();
}

/** Whether the first element in the braces has data behind its key. */
function hasData(text: string, from: number): boolean {
  const to = text.slice(from, from + 512).search(/[},]/);
  return /\s:\s/.test(text.slice(from, to < 0 ? from + 512 : from + to));
}
