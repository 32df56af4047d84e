/** A table while a text is read: the chains that the text has touched, over the table as it was. */
import type { Policy } from "./rules.ts";
import { StagedChain } from "./staged-chain.ts";
import { type ChainState, isBuiltin, TABLES, type TableState } from "./table.ts";

export class StagedTable {
  readonly name: string;
  readonly base: TableState | null;
  /** Set where the table starts anew. */
  readonly fresh: boolean;
  readonly chains: Map<string, StagedChain | null> = new Map();
  /** Whether the text says anything about the table; an empty flush makes it go. */
  used: boolean;

  constructor(name: string, base: TableState | null, fresh: boolean) {
    this.name = name;
    this.base = base;
    this.fresh = fresh;
    this.used = !fresh && base !== null;
  }

  get(name: string): StagedChain | undefined {
    const staged = this.chains.get(name);
    if (staged !== undefined) return staged ?? undefined;
    const state = this.fresh ? undefined : this.base?.chains.get(name);
    if (state !== undefined) return this.#stage(name, state.chain.policy, state);
    if (isBuiltin(this.name, name) && (this.fresh || this.base === null)) return this.make(name, "ACCEPT");
    return undefined;
  }

  #stage(name: string, policy: Policy | null, state: ChainState | null): StagedChain {
    const staged = new StagedChain(name, policy, state);
    this.chains.set(name, staged);
    return staged;
  }

  /** Whether there is such a chain, without touching it. */
  has(name: string): boolean {
    const staged = this.chains.get(name);
    if (staged !== undefined) return staged !== null;
    if (!this.fresh && this.base !== null) return this.base.chains.has(name);
    return isBuiltin(this.name, name);
  }

  make(name: string, policy: Policy | null): StagedChain {
    return this.#stage(name, policy, null);
  }

  names(): string[] {
    const known = this.fresh || this.base === null ? (TABLES[this.name] ?? []) : [...this.base.chains.keys()];
    return [...new Set([...known, ...this.chains.keys()])].filter((n) => this.has(n));
  }
}
