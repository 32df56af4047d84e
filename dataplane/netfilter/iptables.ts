/**
 * iptables-restore(8) text applied to a namespace's tables: all of it, or nothing. What a text does is staged beside the
 * tables first, chain by chain as it touches them, so that a small text costs little however large the tables are.
 *
 * Read are: *TABLE, :CHAIN POLICY [packets:octets], -A -I -D -R -N -X -E -F -P -Z with their long names, counters before a
 * rule, comments, COMMIT. Counters in the text are skipped, as without --counters.
 */
import { carried } from "./carried-counters.ts";
import type { IpSets } from "./ipset.ts";
import { JumpGraph, leadsTo } from "./jump-graph.ts";
import { OptionError } from "./options.ts";
import { ownText } from "./own-text.ts";
import type { RuleCache } from "./rule-cache.ts";
import { readRule } from "./rule-shape.ts";
import { CHAIN_MAX, parseRule, words } from "./rule-text.ts";
import type { Chain, Rule } from "./rules.ts";
import { RulesError } from "./rules-error.ts";
import type { StagedChain } from "./staged-chain.ts";
import { StagedTable } from "./staged-table.ts";
import { ChainState, isBuiltin, TABLES, TableState } from "./table.ts";
import { targetModule } from "./target/registry.ts";
import { unknownRule } from "./unknown-rule.ts";

/** A line of a text, counted from 1. */
function lineOf(text: string, line: number): string {
  return text.split("\n", line)[line - 1] ?? "";
}

/** Where tables are, for a namespace. */
export type Tables = Map<string, TableState>;

const COMMANDS: Readonly<Record<string, string>> = {
  "-A": "-A",
  "--append": "-A",
  "-I": "-I",
  "--insert": "-I",
  "-D": "-D",
  "--delete": "-D",
  "-R": "-R",
  "--replace": "-R",
  "-N": "-N",
  "--new-chain": "-N",
  "--new": "-N",
  "-X": "-X",
  "--delete-chain": "-X",
  "-E": "-E",
  "--rename-chain": "-E",
  "-F": "-F",
  "--flush": "-F",
  "-P": "-P",
  "--policy": "-P",
  "-Z": "-Z",
  "--zero": "-Z",
};

export type RestoreOptions = {
  readonly source: string;
  readonly noflush: boolean;
  readonly cache: RuleCache;
  readonly sets: IpSets;
  /** The rules are those of ip6tables. */
  readonly six?: boolean;
  /** Rules with matches, targets or options that are not known match nothing; otherwise they are refused. */
  readonly lenient?: boolean;
  /** The text changes chains as its source left them: throws StaleEdits where another has changed one since. */
  readonly edits?: boolean;
};

/** Rules are to be put in by their place in a chain that is not as their writer left it. */
export class StaleEdits extends Error {
  override readonly name: string = "StaleEdits";
}

/** Reads the text and changes the tables; answers how to undo it. Throws RulesError, with nothing changed. */
export function restore(tables: Tables, text: string, options: RestoreOptions): () => void {
  return new Restore(tables, options).run(text);
}

class Restore {
  readonly #tables: Tables;
  readonly #options: RestoreOptions;
  readonly #staged: Map<string, StagedTable> = new Map();
  #table: StagedTable | null = null;
  #line = 0;
  #lastChain: StagedChain | null = null;

  constructor(tables: Tables, options: RestoreOptions) {
    this.#tables = tables;
    this.#options = options;
  }

  run(text: string): () => void {
    try {
      let from = 0;
      while (from < text.length) {
        let to = text.indexOf("\n", from);
        if (to < 0) to = text.length;
        this.#line++;
        this.#read(text, from, text.charCodeAt(to - 1) === 13 && to > from ? to - 1 : to);
        from = to + 1;
      }
      if (this.#table !== null) throw new OptionError("", `table ${this.#table.name} has no COMMIT`);
      for (const table of this.#staged.values()) this.#validate(table);
    } catch (cause) {
      if (!(cause instanceof OptionError)) throw cause;
      const line = cause.line === 0 ? this.#line : cause.line;
      throw new RulesError(this.#options.source, line, cause.module, cause.message, lineOf(text, line));
    }
    return this.#commit();
  }

  #read(text: string, from: number, to: number): void {
    if (from === to) return;
    const c = text.charCodeAt(from);
    // "-A CHAIN " is what nearly all lines are.
    if (c === 0x2d && text.charCodeAt(from + 1) === 0x41 && text.charCodeAt(from + 2) === 0x20) {
      this.#append(text, from + 3, to);
      return;
    }
    const line = text.slice(from, to);
    if (c === 0x23 || line.trim() === "") return;
    if (c === 0x2a) this.#begin(line.slice(1).trim());
    else if (c === 0x3a) this.#chainLine(line.slice(1));
    else if (line.trimEnd() === "COMMIT" && this.#table !== null) this.#end();
    else if (c === 0x5b) this.#counted(line);
    else this.#command(line);
  }

  #begin(name: string): void {
    if (this.#table !== null) throw new OptionError("", `table ${this.#table.name} has no COMMIT`);
    if (!Object.hasOwn(TABLES, name)) throw new OptionError("", `table "${name}" is not known`);
    const base = this.#tables.get(name) ?? null;
    let staged = this.#options.noflush ? this.#staged.get(name) : undefined;
    if (staged === undefined) {
      staged = new StagedTable(name, base, !this.#options.noflush || base === null);
      this.#staged.set(name, staged);
    }
    this.#table = staged;
    this.#lastChain = null;
  }

  #end(): void {
    this.#table = null;
  }

  #open(): StagedTable {
    if (this.#table === null) throw new OptionError("", "expected *TABLE first");
    return this.#table;
  }

  /** "NAME POLICY [packets:octets]" */
  #chainLine(rest: string): void {
    const table = this.#open();
    const [name = "", policy = "", counters] = rest.trim().split(/\s+/);
    if (counters !== undefined && !/^\[\d+:\d+\]$/.test(counters))
      throw new OptionError("", `bad counters "${counters}"`);
    table.used = true;
    this.#lastChain = null;
    if (isBuiltin(table.name, name)) {
      if (policy !== "-") this.#setPolicy(table, name, policy);
      return;
    }
    checkName(name);
    if (policy !== "-") throw new OptionError("", `chain ${name} cannot have policy "${policy}"`);
    const chain = table.get(name);
    if (chain === undefined) {
      table.make(ownText(name), null);
      return;
    }
    chain.empty();
  }

  #setPolicy(table: StagedTable, name: string, policy: string): void {
    if (policy !== "ACCEPT" && policy !== "DROP")
      throw new OptionError("", `policy "${policy}" is neither ACCEPT nor DROP`);
    const chain = table.get(name);
    if (chain === undefined || chain.policy === null) throw new OptionError("", `chain ${name} has no policy`);
    chain.policy = policy;
    chain.changed = true;
  }

  #counted(line: string): void {
    const close = line.indexOf("]");
    if (close < 0 || !/^\[\d+:\d+$/.test(line.slice(0, close))) throw new OptionError("", `bad counters in "${line}"`);
    const rest = line.slice(close + 1).trimStart();
    if (rest.startsWith("-A ")) this.#append(rest, 3, rest.length);
    else this.#command(rest);
  }

  #append(text: string, from: number, to: number): void {
    const table = this.#open();
    table.used = true;
    while (text.charCodeAt(from) === 0x20) from++;
    let space = text.indexOf(" ", from);
    if (space < 0 || space > to) space = to;
    const chain = this.#chain(table, text.slice(from, space));
    const words = text.slice(space + 1, to);
    try {
      for (const rule of this.#rules(words)) {
        this.#check(table, chain, rule);
        chain.push(rule, this.#line);
      }
    } catch (cause) {
      const skip = this.#options.lenient === true && cause instanceof OptionError && cause.unknown;
      if (!skip) throw cause;
      chain.push(unknownRule(words.trim(), cause.message), this.#line);
    }
  }

  #rules(text: string): readonly Rule[] {
    const six = this.#options.six === true;
    return this.#options.cache.get(text, (own) => (six ? parseRule(words(own), true) : readRule(own)));
  }

  #chain(table: StagedTable, name: string): StagedChain {
    const last = this.#lastChain;
    if (last !== null && last.name === name) return last;
    const chain = table.get(name);
    if (chain === undefined) throw new OptionError("", `chain ${name} does not exist in table ${table.name}`);
    this.#lastChain = chain;
    return chain;
  }

  /** What a rule needs of its place: the jump's chain, the target's table, the sets, interfaces that the hook has. */
  #check(table: StagedTable, chain: StagedChain, rule: Rule): void {
    const target = rule.target;
    if (target !== null && target.kind === "jump") {
      if (!table.has(target.chain))
        throw new OptionError("", `chain or target ${target.chain} does not exist`, { unknown: true });
      if (isBuiltin(table.name, target.chain)) throw new OptionError("", `chain ${target.chain} cannot be jumped to`);
    } else if (target !== null) {
      const tables = targetModule(target.kind)?.tables;
      if (tables !== undefined && !tables.includes(table.name)) {
        throw new OptionError(target.kind, `stands in table ${tables.join(", ")} only, not in ${table.name}`);
      }
      if (target.kind === "DROP" && table.name === "nat")
        throw new OptionError("", "target DROP: table nat filters nothing");
    }
    for (const m of rule.matches) if (m.kind === "set") this.#checkSet(m.set);
    if (target?.kind === "SET") this.#checkSet(target.set);
    if (chain.policy === null) return;
    const name = chain.name;
    if (rule.output !== "" && (name === "PREROUTING" || name === "INPUT")) {
      throw new OptionError("", `option -o: packets in ${name} have no such interface`);
    }
    if (rule.input !== "" && (name === "OUTPUT" || name === "POSTROUTING")) {
      throw new OptionError("", `option -i: packets in ${name} have no such interface`);
    }
  }

  #checkSet(name: string): void {
    if (this.#options.sets.get(name) === undefined) throw new OptionError("set", `set ${name} does not exist`);
  }

  #command(line: string): void {
    const table = this.#open();
    table.used = true;
    this.#lastChain = null;
    const space = line.indexOf(" ");
    const word = space < 0 ? line : line.slice(0, space);
    const command = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
    if (command === undefined) throw new OptionError("", `"${word}" is not a command`);
    const rest = space < 0 ? "" : line.slice(space + 1).trim();
    const at = rest.indexOf(" ");
    const name = at < 0 ? rest : rest.slice(0, at);
    const after = at < 0 ? "" : rest.slice(at + 1).trim();
    switch (command) {
      case "-A":
        this.#append(rest, 0, rest.length);
        return;
      case "-I":
        this.#insert(table, name, after);
        return;
      case "-R":
        this.#replace(table, name, after);
        return;
      case "-D":
        this.#delete(table, name, after);
        return;
      case "-N":
        checkName(name);
        if (table.has(name)) throw new OptionError("", `chain ${name} exists`);
        table.make(ownText(name), null);
        return;
      case "-X":
        this.#remove(table, name);
        return;
      case "-E":
        this.#rename(table, name, after);
        return;
      case "-F":
        for (const n of name === "" ? table.names() : [name]) this.#chain(table, n).empty();
        return;
      case "-P":
        this.#setPolicy(table, name, after);
        return;
      default:
        // -Z: counters start anew.
        for (const n of name === "" ? table.names() : [name]) {
          const chain = this.#left(table, n);
          chain.zero = true;
          chain.changed = true;
        }
    }
  }

  /** A chain of which not all is said: edits must find it as their writer left it. */
  #left(table: StagedTable, name: string): StagedChain {
    const chain = this.#chain(table, name);
    const { edits, source } = this.#options;
    // One that the text emptied first is as it says.
    const known = chain.zero || table.base?.writers.get(name) === source;
    if (edits === true && !known) throw new StaleEdits(`chain ${name} is not as ${source} left it`);
    return chain;
  }

  /** A leading position, where one is given, and the rest. */
  #position(text: string): { position: number | undefined; rest: string } {
    const m = /^(\d+)(?:\s+(.*))?$/.exec(text);
    return m === null ? { position: undefined, rest: text } : { position: Number(m[1]), rest: m[2] ?? "" };
  }

  #insert(table: StagedTable, name: string, text: string): void {
    const chain = this.#left(table, name);
    const { position = 1, rest } = this.#position(text);
    if (position < 1 || position > chain.rules.length + 1) {
      throw new OptionError("", `chain ${name}: no place ${position} among ${chain.rules.length} rules`);
    }
    const rules = this.#rules(rest);
    for (const rule of rules) this.#check(table, chain, rule);
    chain.splice(position - 1, 0, rules, this.#line);
  }

  #replace(table: StagedTable, name: string, text: string): void {
    const chain = this.#left(table, name);
    const { position, rest } = this.#position(text);
    if (position === undefined || position < 1 || position > chain.rules.length) {
      throw new OptionError("", `chain ${name}: no rule ${position ?? ""} to replace`);
    }
    const [rule, more] = this.#rules(rest);
    if (rule === undefined || more !== undefined) throw new OptionError("", "one rule cannot be replaced by several");
    this.#check(table, chain, rule);
    chain.splice(position - 1, 1, [rule], this.#line);
  }

  #delete(table: StagedTable, name: string, text: string): void {
    const chain = this.#left(table, name);
    const { position, rest } = this.#position(text);
    if (position !== undefined && rest === "") {
      if (position < 1 || position > chain.rules.length)
        throw new OptionError("", `chain ${name}: no rule ${position}`);
      chain.splice(position - 1, 1, [], this.#line);
      return;
    }
    for (const rule of this.#rules(text)) {
      const very = chain.rules.indexOf(rule);
      const at = very >= 0 ? very : chain.rules.findIndex((r) => sameRule(r, rule));
      if (at < 0) throw new OptionError("", `chain ${name} has no rule ${rule.text}`);
      chain.splice(at, 1, [], this.#line);
    }
  }

  #remove(table: StagedTable, name: string): void {
    const all = name === "";
    for (const n of all ? table.names() : [name]) {
      if (isBuiltin(table.name, n)) {
        if (all) continue;
        throw new OptionError("", `chain ${n} cannot be deleted`);
      }
      const chain = table.get(n);
      if (chain === undefined) throw new OptionError("", `chain ${n} does not exist in table ${table.name}`);
      if (chain.rules.length > 0) throw new OptionError("", `chain ${n} is not empty`);
      table.chains.set(n, null);
    }
  }

  #rename(table: StagedTable, from: string, to: string): void {
    checkName(to);
    const chain = isBuiltin(table.name, from) ? undefined : table.get(from);
    if (chain === undefined) throw new OptionError("", `chain ${from} does not exist in table ${table.name}`);
    if (table.has(to)) throw new OptionError("", `chain ${to} exists`);
    const moved = table.make(to, null);
    moved.replace([...chain.rules], [...chain.lines]);
    table.chains.set(from, null);
    for (const name of table.names()) {
      const other = table.get(name);
      if (other === undefined || !other.rules.some((r) => leadsTo(r, from))) continue;
      const rules = other.rules.map((r) =>
        leadsTo(r, from)
          ? (parseRule(words(r.text.replace(/-([jg]) \S+$/, `-$1 ${to}`)), this.#options.six === true)[0] ?? r)
          : r,
      );
      other.replace(rules, [...other.lines]);
    }
  }

  /** Removed chains must not be led to, jumps must not go in circles, targets must stand where they can work. */
  #validate(table: StagedTable): void {
    const graph = new JumpGraph(table);
    graph.checkRemoved([...table.chains.keys()].filter((name) => table.chains.get(name) === null));
    for (const chain of table.chains.values()) if (chain?.changed) graph.checkChain(chain);
  }

  #commit(): () => void {
    const undo: (() => void)[] = [];
    for (const staged of this.#staged.values()) {
      if (staged.fresh) this.#commitFresh(staged, undo);
      else this.#commitChanges(staged, undo);
    }
    return () => {
      for (const step of undo.reverse()) step();
    };
  }

  #made(chain: StagedChain): Chain {
    chain.made ??= this.#options.cache.chain(
      chain.name,
      chain.policy,
      chain.rules,
      chain.lines,
      chain.state?.chain ?? null,
    );
    return chain.made;
  }

  #commitFresh(staged: StagedTable, undo: (() => void)[]): void {
    const tables = this.#tables;
    const before = tables.get(staged.name);
    undo.push(() => {
      if (before === undefined) tables.delete(staged.name);
      else tables.set(staged.name, before);
    });
    if (!staged.used) {
      tables.delete(staged.name);
      return;
    }
    const table = new TableState(staged.name);
    for (const [name, chain] of staged.chains) {
      if (chain === null) continue;
      const made = this.#made(chain);
      const state = table.chains.get(name);
      if (state === undefined) table.chains.set(name, new ChainState(made));
      else state.replace(made);
      table.account(made, 1);
      table.writers.set(name, this.#options.source);
    }
    tables.set(staged.name, table);
  }

  #sign(table: TableState, name: string, undo: (() => void)[]): void {
    const before = table.writers.get(name);
    table.writers.set(name, this.#options.source);
    undo.push(() => {
      if (before === undefined) table.writers.delete(name);
      else table.writers.set(name, before);
    });
  }

  #commitChanges(staged: StagedTable, undo: (() => void)[]): void {
    const table = staged.base as TableState;
    for (const [name, chain] of staged.chains) {
      const state = table.chains.get(name);
      if (chain === null || chain.changed) this.#sign(table, name, undo);
      if (chain === null) {
        if (state === undefined) continue;
        table.chains.delete(name);
        state.leave();
        table.account(state.chain, -1);
        undo.push(() => {
          table.chains.set(name, state);
          table.account(state.chain, 1);
        });
      } else if (state === undefined) {
        const made = this.#made(chain);
        table.chains.set(name, new ChainState(made));
        table.account(made, 1);
        undo.push(() => {
          table.chains.get(name)?.leave();
          table.chains.delete(name);
          table.account(made, -1);
        });
      } else if (chain.changed) {
        const { chain: old, counters, targets, policyPackets, policyBytes } = state;
        const made = this.#made(chain);
        state.replace(made);
        if (chain.zero) {
          state.policyPackets = 0;
          state.policyBytes = 0;
        } else {
          state.counters = carried(old, made, counters, chain);
        }
        table.exchange(old, made);
        undo.push(() => {
          table.exchange(made, old);
          state.replace(old);
          Object.assign(state, { counters, targets, policyPackets, policyBytes });
        });
      }
    }
  }
}

function sameRule(a: Rule, b: Rule): boolean {
  return (
    a.src === b.src &&
    a.dst === b.dst &&
    a.proto === b.proto &&
    a.invert === b.invert &&
    a.matches.length === b.matches.length &&
    a.target?.kind === b.target?.kind &&
    a.text === b.text
  );
}

function checkName(name: string): void {
  if (name === "" || name.length > CHAIN_MAX) {
    throw new OptionError("", `chain name "${name}" must have 1 to ${CHAIN_MAX} characters`);
  }
  if (name.startsWith("-") || name.startsWith("!") || targetModule(name) !== undefined) {
    throw new OptionError("", `chain name "${name}" is not allowed`);
  }
}
