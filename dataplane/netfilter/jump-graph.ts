/**
 * Who leads to whom in a staged table (mark_source_chains of ip_tables.c): no chain may lead back to itself, none may go while
 * jumps lead to it, and targets stand only where their hooks lead.
 */
import { NF_INET_LOCAL_OUT } from "./hooks.ts";
import { OptionError } from "./options.ts";
import { jumpChanges, type Rule } from "./rules.ts";
import type { StagedChain } from "./staged-chain.ts";
import type { StagedTable } from "./staged-table.ts";
import { hookOf } from "./table.ts";
import { targetModule } from "./target/registry.ts";

export function leadsTo(r: Rule, chain: string): boolean {
  return r.target !== null && r.target.kind === "jump" && r.target.chain === chain;
}

export class JumpGraph {
  readonly #table: StagedTable;
  /** Chains whose jumps were followed; false while that is going on. */
  readonly #followed: Map<string, boolean> = new Map();
  readonly #hooks: Map<string, number> = new Map();

  constructor(table: StagedTable) {
    this.#table = table;
  }

  #rulesOf(name: string): readonly Rule[] {
    const staged = this.#table.chains.get(name);
    if (staged !== undefined) return staged?.rules ?? [];
    return this.#table.base?.chains.get(name)?.chain.rules ?? [];
  }

  /** How many more jumps lead from a staged chain to each other than before. */
  #changes(name: string, chain: StagedChain | null): ReadonlyMap<string, number> {
    const state = this.#table.fresh ? undefined : this.#table.base?.chains.get(name);
    const rules = chain === null ? [] : chain.rules;
    return jumpChanges(state?.chain.rules ?? [], rules, chain ?? undefined);
  }

  /** Chains that are to go, and to which jumps would still lead. */
  checkRemoved(names: readonly string[]): void {
    if (names.length === 0) return;
    const total = new Map<string, number>();
    for (const [name, chain] of this.#table.chains) {
      if (chain !== null && !chain.changed) continue;
      for (const [to, by] of this.#changes(name, chain)) total.set(to, (total.get(to) ?? 0) + by);
    }
    for (const name of names) {
      const refs = (this.#table.fresh ? 0 : (this.#table.base?.refs.get(name) ?? 0)) + (total.get(name) ?? 0);
      if (refs > 0) throw new OptionError("", `chain ${name} is in use (${refs} references)`);
    }
  }

  /** Looks at what is new in a chain: where its jumps lead, and which hooks its targets allow. */
  checkChain(chain: StagedChain): void {
    if (!this.#followed.has(chain.name)) {
      this.#followed.set(chain.name, false);
      for (const [to, by] of this.#changes(chain.name, chain)) if (by > 0) this.#follow(chain, to);
      // Where its other jumps lead was not looked at: they were there before.
      this.#followed.delete(chain.name);
    }
    if (chain.policy === null) return;
    const hook = hookOf(chain.name);
    if ((this.#hooksOf(chain.name) & (1 << hook)) === 0) this.#failAtHook(chain.name, hook);
  }

  /** Follows all jumps from a chain that `start` leads to: no way may come back to a chain that it went through. */
  #follow(from: StagedChain, first: string): void {
    const start = from.name;
    const circle = (name: string, by: string): OptionError => {
      const line = from.lines[from.rules.findIndex((r) => leadsTo(r, first))] ?? 0;
      return new OptionError("", `chain ${name} leads back to itself by ${by}`, { line });
    };
    if (first === start) throw circle(start, start);
    const path: string[] = [];
    const places: number[] = [];
    const enter = (name: string): void => {
      this.#followed.set(name, false);
      path.push(name);
      places.push(0);
    };
    if (!this.#followed.has(first)) enter(first);
    while (path.length > 0) {
      const name = path[path.length - 1] as string;
      const rules = this.#rulesOf(name);
      let at = places[places.length - 1] as number;
      let next = "";
      while (at < rules.length && next === "") {
        const to = (rules[at++] as Rule).chain;
        if (to !== "" && this.#followed.get(to) !== true) next = to;
      }
      places[places.length - 1] = at;
      if (next === "") {
        this.#followed.set(name, true);
        path.pop();
        places.pop();
      } else if (this.#followed.get(next) === false) {
        const by = (next === start ? first : path[path.indexOf(next) + 1]) ?? next;
        throw circle(next, by);
      } else {
        enter(next);
      }
    }
  }

  /** The hooks, as bits, at which all targets can stand that a chain leads to. */
  #hooksOf(first: string): number {
    const open = new Set<string>();
    const path = [first];
    for (let name = path.at(-1); name !== undefined; name = path.at(-1)) {
      if (this.#hooks.has(name)) {
        path.pop();
        if (open.delete(name)) this.#hooks.set(name, this.#hooksBy(name));
        continue;
      }
      open.add(name);
      // a circle, which is found elsewhere, adds nothing to itself
      this.#hooks.set(name, -1);
      for (const { chain } of this.#rulesOf(name)) if (chain !== "" && !this.#hooks.has(chain)) path.push(chain);
    }
    return this.#hooks.get(first) ?? -1;
  }

  /** The same, where those of the chains that it jumps to are known. */
  #hooksBy(name: string): number {
    let hooks = -1;
    for (const { target } of this.#rulesOf(name)) {
      if (target === null) continue;
      hooks &=
        target.kind === "jump" ? (this.#hooks.get(target.chain) ?? -1) : (targetModule(target.kind)?.hooks ?? -1);
    }
    return hooks;
  }

  /** Throws for the first target on the way from a chain that cannot stand at the hook. */
  #failAtHook(first: string, hook: number): void {
    const seen = new Set([first]);
    const path = [{ name: first, at: 0 }];
    for (let place = path.at(-1); place !== undefined; place = path.at(-1)) {
      const i = place.at++;
      const rule = this.#rulesOf(place.name)[i];
      if (rule === undefined) path.pop();
      else if (rule.chain !== "") {
        if (!seen.has(rule.chain)) path.push({ name: rule.chain, at: 0 });
        seen.add(rule.chain);
      } else if (rule.target !== null) {
        const { kind } = rule.target;
        const hooks = targetModule(kind)?.hooks;
        if (hooks === undefined || (hooks & (1 << hook)) !== 0) continue;
        const from = hook === NF_INET_LOCAL_OUT ? "OUTPUT" : place.name;
        const line = this.#table.chains.get(place.name)?.lines[i] ?? 0;
        throw new OptionError(kind, `cannot be reached from hook ${from}`, { line });
      }
    }
  }
}
