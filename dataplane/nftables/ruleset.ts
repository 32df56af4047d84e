/**
 * The tables of a namespace, and the changes that commands make to them. Each change leaves a way back, so that a text
 * applies whole or not at all; a change costs what belongs to it, however large the ruleset is.
 *
 * As the kernel does, it refuses chains that lead back to themselves, and objects that are removed while something refers
 * to them (net/netfilter/nf_tables_api.c).
 */
import { ownText } from "../netfilter/own-text.ts";
import { ChainCode } from "./chain-code.ts";
import type { Value } from "./datatype.ts";
import type { Element } from "./elements.ts";
import {
  type BaseSpec,
  Chain,
  type Family,
  type Named,
  NftSet,
  Rule,
  type SetSpec,
  Table,
  type Verdict,
} from "./model.ts";
import { RulesetError } from "./nft-error.ts";

export type Undo = () => void;

/** How a change is taken back. What is added most stands for its own removal: a text adds it by the hundred thousand. */
type Back = Undo | Chain | Rule | AddedElement;
type AddedElement = { readonly set: NftSet; readonly element: Element };

/** Where a rule goes: at the end, at the beginning, or beside or in the place of another. */
export type RulePlace =
  | { readonly at: "end" | "start" }
  | { readonly at: "after" | "before" | "replace"; readonly handle: number }
  | { readonly at: "afterIndex" | "beforeIndex"; readonly index: number };

export type RuleParts = {
  readonly stmts: Rule["stmts"];
  readonly comment: string;
  readonly chains: readonly Chain[];
  readonly sets: readonly NftSet[];
  readonly tracks: boolean;
};

/** Whether tables of a family see packets of IPv6, or of IPv4, at the hooks of IP. */
export function sees(family: Family, six: boolean): boolean {
  return family === "inet" || family === (six ? "ip6" : "ip");
}

export class Ruleset {
  readonly tables: Map<string, Table> = new Map();
  /** Base chains came, went or changed since this was read last. */
  hooksChanged = false;
  /** Rules that need conntrack, by the family of their tables. */
  readonly #tracking: Map<Family, number> = new Map();
  /** The chains as packets walk them. */
  readonly code: ChainCode = new ChainCode();
  readonly #undo: Back[] = [];
  readonly #print: (rule: Rule) => string;
  #nextHandle = 1;

  constructor(print: (rule: Rule) => string) {
    this.#print = print;
  }

  /** Runs changes as one: what it throws comes after all of them were taken back. Answers how to take them back later. */
  transaction(run: () => void): Undo {
    this.#undo.length = 0;
    try {
      run();
    } catch (error) {
      this.#back(this.#undo.splice(0));
      throw error;
    }
    const undo = this.#undo.splice(0);
    return () => this.#back(undo);
  }

  #back(undo: readonly Back[]): void {
    for (let i = undo.length - 1; i >= 0; i--) {
      const back = undo[i] as Back;
      if (typeof back === "function") back();
      else if (back instanceof Rule) this.#unaddRule(back);
      else if (back instanceof Chain) this.#unaddChain(back);
      else this.#unaddElement(back);
    }
  }

  #did(back: Back): void {
    this.#undo.push(back);
  }

  /** Whether rules need conntrack for packets of a family. */
  tracks(six: boolean): boolean {
    for (const [family, rules] of this.#tracking) if (rules > 0 && sees(family, six)) return true;
    return false;
  }

  #track({ table: { family } }: Chain, by: number): void {
    this.#tracking.set(family, (this.#tracking.get(family) ?? 0) + by);
  }

  table(family: Family, name: string): Table | undefined {
    return this.tables.get(`${family} ${name}`);
  }

  addTable(family: Family, name: string, create: boolean, comment = "", dormant?: boolean): Table {
    const id = `${family} ${name}`;
    const known = this.tables.get(id);
    if (known !== undefined) {
      if (create) throw new RulesetError("EEXIST", `table ${id} exists`);
      if (dormant !== undefined && dormant !== known.dormant) this.#setDormant(known, dormant);
      return known;
    }
    const table = new Table(family, ownText(name), this.#nextHandle++, comment);
    table.dormant = dormant ?? false;
    this.tables.set(id, table);
    this.#did(() => {
      this.tables.delete(id);
      this.code.reset();
    });
    return table;
  }

  #setDormant(table: Table, dormant: boolean): void {
    const before = table.dormant;
    table.dormant = dormant;
    this.hooksChanged = true;
    this.#did(() => {
      table.dormant = before;
      this.hooksChanged = true;
    });
  }

  delTable(table: Table): void {
    const id = `${table.family} ${table.name}`;
    const order = [...this.tables.keys()];
    this.tables.delete(id);
    this.code.reset();
    let based = false;
    const count = (by: number): void => {
      for (const chain of table.chains.values())
        for (const rule of chain.rules) if (rule.tracks) this.#track(chain, by);
    };
    for (const chain of table.chains.values()) if (chain.base !== null) based = true;
    count(-1);
    if (based) this.hooksChanged = true;
    this.#did(() => {
      this.tables.set(id, table);
      reorder(this.tables, order);
      count(1);
      if (based) this.hooksChanged = true;
    });
  }

  addChain(
    table: Table,
    name: string,
    base: BaseSpec | null,
    policy: "accept" | "drop" | null,
    comment: string,
    create: boolean,
  ): Chain {
    const known = table.chains.get(name);
    if (known !== undefined) {
      if (create) throw new RulesetError("EEXIST", `chain ${name} exists`);
      if (base !== null && !sameBase(base, known.base))
        throw new RulesetError("EEXIST", `chain ${name} exists with another type, hook or priority`);
      if (policy !== null && policy !== known.policy) {
        const before = known.policy;
        known.policy = policy;
        this.#did(() => {
          known.policy = before;
        });
      }
      return known;
    }
    const chain = new Chain(table, ownText(name), table.nextHandle++, base, comment);
    if (policy !== null) chain.policy = policy;
    table.chains.set(chain.name, chain);
    if (base !== null) this.hooksChanged = true;
    this.#did(chain);
    return chain;
  }

  #unaddChain(chain: Chain): void {
    chain.table.chains.delete(chain.name);
    this.code.leave(chain);
    if (chain.base !== null) this.hooksChanged = true;
  }

  delChain(chain: Chain): void {
    const { table, name } = chain;
    this.flushChain(chain);
    if (chain.uses > 0) throw new RulesetError("EBUSY", `chain ${name} is in use`);
    const order = orderOf(table.chains);
    table.chains.delete(name);
    this.code.leave(chain);
    if (chain.base !== null) this.hooksChanged = true;
    this.#did(() => {
      table.chains.set(name, chain);
      if (order !== null) reorder(table.chains, order);
      if (chain.base !== null) this.hooksChanged = true;
    });
  }

  renameChain(chain: Chain, to: string): void {
    const { table } = chain;
    const name = ownText(to);
    if (table.chains.has(name)) throw new RulesetError("EEXIST", `chain ${name} exists`);
    const before = chain.name;
    const rename = (from: string, to: string): void => {
      const order = [...table.chains.keys()].map((key) => (key === from ? to : key));
      table.chains.delete(from);
      chain.name = to;
      table.chains.set(to, chain);
      reorder(table.chains, order);
    };
    rename(before, name);
    this.#did(() => rename(name, before));
  }

  flushChain(chain: Chain): void {
    if (chain.rules.length === 0) return;
    const rules = chain.rules.splice(0);
    for (const rule of rules) this.#unlink(rule);
    this.#did(() => {
      chain.rules.splice(0, chain.rules.length, ...rules);
      for (const rule of rules) this.#link(rule);
    });
  }

  /** Checks that the rule leads nowhere in a circle. Throws RulesetError. */
  addRule(chain: Chain, place: RulePlace, parts: RuleParts): Rule {
    const { rules } = chain;
    let at = place.at === "start" ? 0 : rules.length;
    let old: Rule | null = null;
    if ("handle" in place) {
      const found = rules.findIndex((r) => r.handle === place.handle);
      if (found < 0) throw new RulesetError("ENOENT", `chain ${chain.name} has no rule with handle ${place.handle}`);
      at = place.at === "after" ? found + 1 : found;
      if (place.at === "replace") old = rules[found] as Rule;
    } else if ("index" in place) {
      if (place.index >= rules.length)
        throw new RulesetError("ENOENT", `chain ${chain.name} has no rule ${place.index}`);
      at = place.at === "afterIndex" ? place.index + 1 : place.index;
    }
    const rule = new Rule(chain, chain.table.nextHandle++, parts.stmts, parts.comment, parts, this.#print);
    if (old !== null) this.#replaceRule(old, rule);
    else {
      if (at === rules.length) chain.append(rule);
      else rules.splice(at, 0, rule);
      this.#link(rule);
      this.#did(rule);
    }
    for (const to of rule.chains) this.#noCircle(chain, to);
    for (const set of rule.sets)
      if (set.name !== "" && set.spec.data === "verdict") for (const e of elementsOf(set)) this.#noCircleBy(chain, e);
    return rule;
  }

  #replaceRule(old: Rule, now: Rule): void {
    const { rules } = old.chain;
    const exchange = (from: Rule, to: Rule): void => {
      this.#unlink(from);
      rules[rules.indexOf(from)] = to;
      this.#link(to);
    };
    exchange(old, now);
    this.#did(() => exchange(now, old));
  }

  #unaddRule(rule: Rule): void {
    const { rules } = rule.chain;
    this.#unlink(rule);
    if (rules[rules.length - 1] === rule) rules.pop();
    else rules.splice(rules.indexOf(rule), 1);
  }

  delRule(chain: Chain, handle: number): void {
    const at = chain.rules.findIndex((r) => r.handle === handle);
    if (at < 0) throw new RulesetError("ENOENT", `chain ${chain.name} has no rule with handle ${handle}`);
    const [rule] = chain.rules.splice(at, 1) as [Rule];
    this.#unlink(rule);
    this.#did(() => {
      chain.rules.splice(at, 0, rule);
      this.#link(rule);
    });
  }

  #link(rule: Rule): void {
    this.code.drop(rule.chain);
    if (rule.tracks) this.#track(rule.chain, 1);
    for (const chain of rule.chains) chain.uses++;
    for (const set of rule.sets) {
      set.uses++;
      // the elements of a set in a rule never change
      if (set.name === "") continue;
      set.users ??= new Map();
      set.users.set(rule.chain, (set.users.get(rule.chain) ?? 0) + 1);
    }
  }

  #unlink(rule: Rule): void {
    this.code.drop(rule.chain);
    if (rule.tracks) this.#track(rule.chain, -1);
    for (const chain of rule.chains) chain.uses--;
    for (const set of rule.sets) {
      set.uses--;
      const n = (set.users?.get(rule.chain) ?? 0) - 1;
      if (n > 0) set.users?.set(rule.chain, n);
      else set.users?.delete(rule.chain);
    }
  }

  addSet(table: Table, name: string, spec: SetSpec, create: boolean): NftSet {
    const known = table.sets.get(name);
    if (known !== undefined) {
      if (create) throw new RulesetError("EEXIST", `set ${name} exists`);
      if (!sameType(known.spec, spec)) throw new RulesetError("EEXIST", `set ${name} exists with another type`);
      return known;
    }
    const set = new NftSet(table, ownText(name), table.nextHandle++, spec);
    table.sets.set(set.name, set);
    this.#did(() => table.sets.delete(name));
    return set;
  }

  /** A set that a rule adds to becomes a dynamic one. */
  makeDynamic(set: NftSet): void {
    if (set.spec.flags.includes("dynamic")) return;
    const before = set.spec;
    set.spec = { ...before, flags: [...before.flags, "dynamic"], size: before.size || 65535 };
    this.#did(() => {
      set.spec = before;
    });
  }

  delSet(set: NftSet): void {
    const { table, name } = set;
    if (set.uses > 0) throw new RulesetError("EBUSY", `set ${name} is in use`);
    this.flushSet(set);
    const order = orderOf(table.sets);
    table.sets.delete(name);
    this.#did(() => {
      table.sets.set(name, set);
      if (order !== null) reorder(table.sets, order);
    });
  }

  flushSet(set: NftSet): void {
    const all = elementsOf(set);
    if (all.length === 0) return;
    set.elements.clear();
    if (set.spec.data === "verdict") for (const e of all) refer(e, -1);
    this.#did(() => {
      set.elements.clear();
      for (const e of all) put(set, e);
      if (set.spec.data === "verdict") for (const e of all) refer(e, 1);
    });
  }

  addElement(set: NftSet, element: Element, create: boolean): void {
    const { elements, spec } = set;
    const wild = isCatchAll(element);
    const same = wild ? elements.catchAll : elements.get(element.key, element.end);
    if (same !== null) {
      if (create) throw new RulesetError("EEXIST", "the element exists");
      if (spec.map && !sameData(same.data, element.data))
        throw new RulesetError("EEXIST", "the element exists with other data");
      return;
    }
    let added = element;
    if (!wild && set.interval && set.spec.key.length === 1 && !set.wildcards) {
      const met = elements.overlapping(element.key, element.end);
      if (met.length > 0) {
        if (!spec.autoMerge || spec.map) throw new RulesetError("EEXIST", "the interval overlaps with an existing one");
        for (const e of met) this.#removeElement(set, e);
        added = merged(element, met);
      }
    }
    if (spec.size > 0 && elements.size >= spec.size && !spec.flags.includes("dynamic"))
      throw new RulesetError("ENFILE", `set ${set.name} is full (${spec.size} elements)`);
    put(set, added);
    refer(added, 1);
    this.#did({ set, element: added });
    if (set.users !== null) for (const user of set.users.keys()) this.#noCircleBy(user, added);
  }

  #unaddElement({ set, element }: AddedElement): void {
    drop(set, element);
    refer(element, -1);
  }

  delElement(set: NftSet, key: Value, end: Value | null, optional = false): void {
    const e = key.length === 0 ? set.elements.catchAll : set.elements.get(key, end);
    if (e !== null) this.#removeElement(set, e);
    else if (!optional) throw new RulesetError("ENOENT", "there is no such element");
  }

  #removeElement(set: NftSet, e: Element): void {
    drop(set, e);
    refer(e, -1);
    this.#did(() => {
      put(set, e);
      refer(e, 1);
    });
  }

  /** `what`: its kind, for errors. */
  addObject<T extends Named>(
    table: Table,
    objects: Map<string, T>,
    what: string,
    name: string,
    made: (handle: number) => T,
    create: boolean,
  ): void {
    if (objects.has(name)) {
      if (create) throw new RulesetError("EEXIST", `${what} ${name} exists`);
      return;
    }
    objects.set(ownText(name), made(table.nextHandle++));
    this.#did(() => objects.delete(name));
  }

  delObject(objects: Map<string, unknown>, name: string): void {
    const known = objects.get(name);
    if (known === undefined) throw new RulesetError("ENOENT", `there is no object ${name}`);
    const order = [...objects.keys()];
    objects.delete(name);
    this.#did(() => {
      objects.set(name, known);
      reorder(objects, order);
    });
  }

  #noCircleBy(from: Chain, e: Element): void {
    const to = targetOf(e);
    if (to !== null) this.#noCircle(from, to);
  }

  /** Throws if a verdict from one chain to another closes a circle. */
  #noCircle(from: Chain, to: Chain): void {
    if (from === to) throw new RulesetError("ELOOP", `chain ${from.name} would lead to itself`);
    // nothing leads to `from`, or nothing from `to`
    if (from.uses === 0 || to.rules.length === 0) return;
    const seen = new Set<Chain>([to]);
    const stack: Chain[] = [];
    addTargets(to, stack);
    for (let chain = stack.pop(); chain !== undefined; chain = stack.pop()) {
      if (chain === from) throw new RulesetError("ELOOP", `chain ${from.name} would lead to itself by ${to.name}`);
      if (seen.has(chain)) continue;
      seen.add(chain);
      addTargets(chain, stack);
    }
  }
}

/** Adds where a chain leads, each as often as it is named. */
function addTargets(chain: Chain, into: Chain[]): void {
  for (const rule of chain.rules) {
    for (const to of rule.chains) into.push(to);
    for (const set of rule.sets) {
      // the chains of a set in the rule are the rule's
      if (set.name === "" || set.spec.data !== "verdict") continue;
      for (const e of set.elements) {
        const to = targetOf(e);
        if (to !== null) into.push(to);
      }
    }
  }
}

function targetOf(e: Element): Chain | null {
  return e.data !== null && "kind" in e.data && "chain" in e.data ? e.data.chain : null;
}

function refer(e: Element, by: number): void {
  const to = targetOf(e);
  if (to !== null) to.uses += by;
}

/** The catch-all has no key. */
export function isCatchAll(e: Element): boolean {
  return e.key.length === 0;
}

/** All of them, the catch-all too. */
export function elementsOf(set: NftSet): readonly Element[] {
  const { catchAll } = set.elements;
  return catchAll === null ? [...set.elements] : [...set.elements, catchAll];
}

function put(set: NftSet, e: Element): void {
  if (isCatchAll(e)) set.elements.catchAll = e;
  else set.elements.add(e);
}

function drop(set: NftSet, e: Element): void {
  if (isCatchAll(e)) set.elements.catchAll = null;
  else set.elements.remove(e);
}

/** One range over an element and those that it meets. */
function merged(element: Element, met: readonly Element[]): Element {
  const all = [element, ...met];
  const first = (a: Value, b: Value): Value => (less(b, a) ? b : a);
  const last = (a: Value, b: Value): Value => (less(a, b) ? b : a);
  const key = all.map((e) => e.key).reduce(first);
  const end = all.map((e) => e.end ?? e.key).reduce(last);
  return { ...element, key, end };
}

function less(a: Value, b: Value): boolean {
  for (let i = 0; i < a.length; i++) {
    const d = ((a[i] ?? 0) >>> 0) - ((b[i] ?? 0) >>> 0);
    if (d !== 0) return d < 0;
  }
  return false;
}

function sameData(a: Element["data"], b: Element["data"]): boolean {
  if (a === null || b === null) return a === b;
  if ("kind" in a || "kind" in b) {
    if (!("kind" in a) || !("kind" in b) || a.kind !== b.kind) return false;
    return chainOf(a) === chainOf(b);
  }
  return a.length === b.length && a.every((word, i) => word === b[i]);
}

function chainOf(v: Verdict): Chain | null {
  return "chain" in v ? v.chain : null;
}

function sameBase(a: BaseSpec, b: BaseSpec | null): boolean {
  return b !== null && a.type === b.type && a.hook === b.hook && a.priority === b.priority;
}

function sameType(a: SetSpec, b: SetSpec): boolean {
  const names = (types: SetSpec["data"]): string =>
    types === "verdict" ? types : types.map((t) => t.name).join(" . ");
  return a.map === b.map && names(a.key) === names(b.key) && names(a.data) === names(b.data);
}

/** Keys in their order, to be restored; not of large maps, where that would cost more than the change itself. */
function orderOf(map: ReadonlyMap<string, unknown>): readonly string[] | null {
  return map.size > 1024 ? null : [...map.keys()];
}

/** Puts a map's keys in this order again. */
function reorder<T>(map: Map<string, T>, order: readonly string[]): void {
  const entries = order.flatMap((key): [string, T][] => {
    const value = map.get(key);
    return value === undefined ? [] : [[key, value]];
  });
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}
