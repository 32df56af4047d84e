/**
 * A table of a namespace: its chains as they are now, with counters. Chains and rules themselves never change
 * (`rules.ts`); a ChainState says which Chain stands under a name, so that jumps to it stay valid when it is replaced.
 */
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
} from "./hooks.ts";
import { Chain, jumpChanges } from "./rules.ts";
import { TableCode } from "./table-code.ts";

/** Tables in the order in which iptables-save prints them, with the chains that the kernel has in them. */
export const TABLES: Readonly<Record<string, readonly string[]>> = {
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  security: ["INPUT", "FORWARD", "OUTPUT"],
  raw: ["PREROUTING", "OUTPUT"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
};

const HOOK_OF: Readonly<Record<string, number>> = {
  PREROUTING: NF_INET_PRE_ROUTING,
  INPUT: NF_INET_LOCAL_IN,
  FORWARD: NF_INET_FORWARD,
  OUTPUT: NF_INET_LOCAL_OUT,
  POSTROUTING: NF_INET_POST_ROUTING,
};

export function hookOf(chain: string): number {
  return HOOK_OF[chain] ?? -1;
}

export function isBuiltin(table: string, chain: string): boolean {
  return TABLES[table]?.includes(chain) ?? false;
}

export class ChainState {
  chain: Chain;
  policyPackets = 0;
  policyBytes = 0;
  /** Where the rules' jumps lead, found when first taken: the chains, and for the walk by hash their slots. */
  targets: (ChainState | undefined)[] | null = null;
  jumps: Int32Array | null = null;
  /** Where the chain is as integers; 0 while no packet has met it. */
  code: TableCode | null = null;
  slot = 0;
  #counters: Float64Array | null = null;

  constructor(chain: Chain) {
    this.chain = chain;
  }

  /** Packets and octets by rule, two numbers each; null until a rule matches. To be read or set, not to be written to. */
  get counters(): Float64Array | null {
    return this.code?.counts(this.slot) === true ? this.code.countersOf(this.slot) : this.#counters;
  }

  set counters(counters: Float64Array | null) {
    this.code?.drop(this.slot);
    this.#counters = counters;
  }

  /** Counts a packet of so many octets for a rule. */
  count(rule: number, octets: number): void {
    if (this.code?.counts(this.slot) === true) {
      this.code.count(this.slot, rule, octets);
      return;
    }
    let c = this.#counters;
    if (c === null) {
      c = new Float64Array(this.chain.rules.length * 2);
      this.#counters = c;
    }
    c[rule * 2] = (c[rule * 2] as number) + 1;
    c[rule * 2 + 1] = (c[rule * 2 + 1] as number) + octets;
  }

  /** Puts another chain in its place, with fresh counters. */
  replace(chain: Chain): void {
    this.chain = chain;
    this.counters = null;
    this.targets = null;
    this.jumps = null;
  }

  /** Takes its counters back from where they are as integers. */
  unwrite(): void {
    this.counters = this.counters;
  }

  /** The chain is removed: nothing leads to it any more. */
  leave(): void {
    this.unwrite();
    this.code?.leave(this.slot);
    this.code = null;
    this.slot = 0;
  }

  packets(rule: number): number {
    return this.counters?.[rule * 2] ?? 0;
  }

  bytes(rule: number): number {
    return this.counters?.[rule * 2 + 1] ?? 0;
  }
}

export class TableState {
  readonly name: string;
  readonly chains: Map<string, ChainState> = new Map();
  /** The chains of the kernel, by hook. */
  readonly base: (ChainState | null)[] = [null, null, null, null, null];
  /** Jumps to each chain. */
  readonly refs: Map<string, number> = new Map();
  /** Rules that make connections be tracked. */
  tracking = 0;
  /** Who changed each chain last (`IptablesRestore.source`). */
  readonly writers: Map<string, string> = new Map();
  readonly code: TableCode = new TableCode();

  constructor(name: string) {
    this.name = name;
    for (const chain of TABLES[name] ?? []) {
      const state = new ChainState(new Chain(chain, "ACCEPT", [], []));
      this.chains.set(chain, state);
      this.base[hookOf(chain)] = state;
    }
  }

  /** One chain in place of another: mostly they lead to the same. */
  exchange(old: Chain, now: Chain): void {
    this.tracking += now.tracking - old.tracking;
    for (const [to, by] of jumpChanges(old.rules, now.rules)) if (by !== 0) this.#refer(to, by);
  }

  #refer(to: string, by: number): void {
    const n = (this.refs.get(to) ?? 0) + by;
    if (n === 0) this.refs.delete(to);
    else this.refs.set(to, n);
  }

  /** Adds (`sign` 1) or takes away what a chain counts for in the table's sums. */
  account(chain: Chain, sign: number): void {
    this.tracking += sign * chain.tracking;
    for (const { chain: to } of chain.rules) if (to !== "") this.#refer(to, sign);
  }
}

/** The table as iptables-save prints it, with `-c` counters for each rule. */
export function saveTable(table: TableState, counters = false): string {
  const builtin = TABLES[table.name] ?? [];
  const users = [...table.chains.keys()].filter((n) => !builtin.includes(n)).sort(compareOctets);
  const out = [`*${table.name}`];
  const names = [...builtin, ...users];
  for (const name of names) {
    const state = table.chains.get(name);
    if (state === undefined) continue;
    out.push(`:${name} ${state.chain.policy ?? "-"} [${state.policyPackets}:${state.policyBytes}]`);
  }
  for (const name of names) {
    const state = table.chains.get(name);
    const counted = counters ? (state?.counters ?? null) : null;
    state?.chain.rules.forEach((rule, i) => {
      const count = counters ? `[${counted?.[i * 2] ?? 0}:${counted?.[i * 2 + 1] ?? 0}] ` : "";
      out.push(`${count}-A ${name}${rule.text === "" ? "" : ` ${rule.text}`}`);
    });
  }
  out.push("COMMIT", "");
  return out.join("\n");
}

function compareOctets(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
