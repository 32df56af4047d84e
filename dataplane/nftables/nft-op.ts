/** The operation nft.apply on a namespace, and reading the rules back. */
import { type BaseChain, NF_ACCEPT } from "../netfilter/hooks.ts";
import type { IptablesNetfilter } from "../netfilter/netfilter.ts";
import type { NfPacket } from "../netfilter/packet.ts";
import { ensureNetfilter, netfilter6Of, netfilterOf } from "../netfilter/restore-op.ts";
import type { NetNs } from "../netns/netns.ts";
import { NetlinkError, type NftApply, type NftListOptions } from "../netns/rtnl-ops.ts";
import { bridgeFilterOf } from "./bridge-filter.ts";
import { listRuleset } from "./list.ts";
import type { Chain } from "./model.ts";
import { NftError } from "./nft-error.ts";
import { applyNft } from "./parse.ts";
import { printRule } from "./print-rule.ts";
import { Ruleset, sees } from "./ruleset.ts";
import { NftRunner } from "./run.ts";

const HOOKS: readonly string[] = ["prerouting", "input", "forward", "output", "postrouting"];
const rulesets = new WeakMap<NetNs, Ruleset>();

/** The namespace's nftables rules, where it was given any. */
export function rulesetOf(ns: NetNs): Ruleset | null {
  return rulesets.get(ns) ?? null;
}

/** Applies a text and answers how to undo it. Throws NetlinkError; nothing is changed then. */
export function nftOp(ns: NetNs, op: NftApply): () => void {
  const rules = rulesets.get(ns) ?? new Ruleset(printRule);
  const before = [ns.nf, ns.nf6];
  let undo: () => void;
  try {
    undo = applyNft(rules, op.text, op.source ?? "nft", ns.world.loop.time, op.lenient);
  } catch (cause) {
    if (!(cause instanceof NftError)) throw cause;
    throw new NetlinkError(cause.code, cause.message, op, { cause });
  }
  rulesets.set(ns, rules);
  hookUp(ns, rules);
  return () => {
    undo();
    hookUp(ns, rules);
    if (before[0] === null && netfilterOf(ns)?.tables.size === 0) ns.nf = null;
    if (before[1] === null && netfilter6Of(ns)?.tables.size === 0) ns.nf6 = null;
  };
}

/** As `nft list ruleset` prints the rules; "" where there are none. */
export function nftList(ns: NetNs, options: NftListOptions = {}): string {
  const rules = rulesets.get(ns);
  if (rules === undefined) return "";
  return listRuleset(rules, {
    now: ns.world.loop.time,
    stateless: options.stateless ?? false,
    handles: options.handles ?? false,
    ...(options.table === undefined ? {} : { table: options.table }),
  });
}

class Hooked implements BaseChain {
  readonly priority: number;
  readonly nat: boolean;
  readonly #chain: Chain;
  readonly #runner: NftRunner;

  constructor(chain: Chain, priority: number, runner: NftRunner) {
    this.priority = priority;
    this.nat = chain.base?.type === "nat";
    this.#chain = chain;
    this.#runner = runner;
  }

  run(p: NfPacket): number {
    const chain = this.#chain;
    if (chain.rules.length === 0 && chain.policy === "accept") return NF_ACCEPT;
    return this.#runner.run(chain, p);
  }
}

/** Whether a namespace's hooks were told that conntrack is needed; they are told again when it changes. */
const told = new WeakMap<IptablesNetfilter, boolean>();

function hookUp(ns: NetNs, rules: Ruleset): void {
  const changed = rules.hooksChanged;
  rules.hooksChanged = false;
  if (changed) ns.bridgeFilter = bridgeFilterOf(ns, rules);
  for (const six of [false, true]) hookFamily(ns, rules, six, changed);
}

function hookFamily(ns: NetNs, rules: Ruleset, six: boolean, changed: boolean): void {
  const known = six ? netfilter6Of(ns) : netfilterOf(ns);
  const tracking = rules.tracks(six);
  if (known !== null && !changed && told.get(known) === tracking) return;
  const runner = new NftRunner(rules.code);
  const byHook: BaseChain[][] = HOOKS.map(() => []);
  for (const table of rules.tables.values()) {
    if (table.dormant || !sees(table.family, six)) continue;
    for (const chain of table.chains.values()) {
      if (chain.base === null) continue;
      byHook[HOOKS.indexOf(chain.base.hook)]?.push(new Hooked(chain, chain.base.priority, runner));
    }
  }
  if (known === null && byHook.every((chains) => chains.length === 0)) return;
  const nf = ensureNetfilter(ns, six);
  for (const chains of byHook) chains.sort((a, b) => a.priority - b.priority);
  nf.setBaseChains(byHook, tracking);
  told.set(nf, tracking);
}
