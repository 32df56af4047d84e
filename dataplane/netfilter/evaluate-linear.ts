/**
 * Walking a table's chains rule by rule (net/ipv4/netfilter/ip_tables.c, ipt_do_table): the definition of what rules do.
 *
 * A jump remembers where it came from, a goto does not; the end of a chain and RETURN go back to what was remembered, or,
 * where nothing was, to the policy of the hook's chain. A packet that jumps deeper than the stack is dropped.
 */
import { holds6 } from "./address.ts";
import { HOOK_NAMES, NF_ACCEPT, NF_DROP } from "./hooks.ts";
import { named } from "./iface-name.ts";
import { type Match, testMatch } from "./match/registry.ts";
import type { NfPacket } from "./packet.ts";
import {
  DO_ACCEPT,
  DO_DROP,
  DO_JUMP,
  DO_NOTHING,
  DO_RETURN,
  DO_TARGET,
  INV_DST,
  INV_FRAG,
  INV_IN,
  INV_OUT,
  INV_PROTO,
  INV_SRC,
  type Rule,
  type SixSpec,
} from "./rules.ts";
import type { ChainState, TableState } from "./table.ts";
import { CONTINUE } from "./target/module.ts";
import { type ExtensionTarget, runTarget } from "./target/registry.ts";

/** The deepest nesting of jumps. */
export const DEPTH = 64;

export class LinearEvaluator {
  readonly #stack: (ChainState | null)[] = new Array<ChainState | null>(DEPTH).fill(null);
  readonly #back: Int32Array = new Int32Array(DEPTH);

  /** The verdict of a table on a packet at its hook. */
  run(table: TableState, p: NfPacket): number {
    const base = table.base[p.hook] as ChainState | null;
    if (base === null) return NF_ACCEPT;
    let state = base;
    let rules: readonly Rule[] = state.chain.rules;
    let i = 0;
    let depth = 0;
    for (;;) {
      if (i >= rules.length) {
        if (depth === 0) return policy(table, base, p);
        depth--;
        state = this.#stack[depth] as ChainState;
        i = this.#back[depth] as number;
        rules = state.chain.rules;
        continue;
      }
      const rule = rules[i] as Rule;
      p.examined++;
      p.linear++;
      if (!matches(rule, p)) {
        if (p.hotdrop) return NF_DROP;
        i++;
        continue;
      }
      state.count(i, p.end - p.network);
      if (p.traced !== null) {
        p.traced.push({ table: table.name, chain: state.chain.name, number: i + 1, text: rule.text });
      }
      switch (rule.action) {
        case DO_NOTHING:
          i++;
          continue;
        case DO_ACCEPT:
          return NF_ACCEPT;
        case DO_DROP:
          return NF_DROP;
        case DO_RETURN:
          i = rules.length;
          continue;
        case DO_TARGET: {
          const verdict = runTarget(rule.target as ExtensionTarget, p);
          if (verdict !== CONTINUE) return verdict;
          i++;
          continue;
        }
        case DO_JUMP:
          if (depth === DEPTH) return NF_DROP;
          this.#stack[depth] = state;
          this.#back[depth] = i + 1;
          depth++;
      }
      state = destination(table, state, i, rule.chain);
      rules = state.chain.rules;
      i = 0;
    }
  }
}

/** What becomes of a packet that no rule decided about. */
export function policy(table: TableState, base: ChainState, p: NfPacket): number {
  base.policyPackets++;
  base.policyBytes += p.end - p.network;
  if (base.chain.policy !== "DROP") return NF_ACCEPT;
  p.traced?.push({ table: table.name, chain: base.chain.name, number: 0, text: "policy DROP" });
  return NF_DROP;
}

/** Where a jump leads, kept beside the chain. */
export function destination(table: TableState, state: ChainState, i: number, name: string): ChainState {
  if (state.targets === null) state.targets = new Array<ChainState | undefined>(state.chain.rules.length);
  const known = state.targets[i];
  if (known !== undefined) return known;
  const to = table.chains.get(name);
  if (to === undefined) throw new Error(`table ${table.name}, hook ${HOOK_NAMES.join()}: chain ${name} is gone`);
  state.targets[i] = to;
  return to;
}

/** ip_packet_match, then the matches in their order. */
export function matches(r: Rule, p: NfPacket): boolean {
  if (((p.dst ^ r.dst) & r.dstMask) !== 0 && (r.invert & INV_DST) === 0) return false;
  if (!r.plain && !matchesHeader(r, p)) return false;
  const ops = r.ops;
  for (let k = 0; k < ops.length; k++) if (!testMatch(ops[k] as number, r.asked[k] as Match, p)) return false;
  return true;
}

function matchesSix(six: SixSpec, p: NfPacket): boolean {
  if (six.src !== null && holds6(six.src, p.src) === six.notSrc) return false;
  return six.dst === null || holds6(six.dst, p.dst) !== six.notDst;
}

function matchesHeader(r: Rule, p: NfPacket): boolean {
  const invert = r.invert;
  if ((((p.src ^ r.src) & r.srcMask) !== 0) !== ((invert & INV_SRC) !== 0)) return false;
  if ((((p.dst ^ r.dst) & r.dstMask) !== 0) !== ((invert & INV_DST) !== 0)) return false;
  if (r.input !== "" && named(r.input, p.input?.name ?? "") === ((invert & INV_IN) !== 0)) return false;
  if (r.output !== "" && named(r.output, p.output?.name ?? "") === ((invert & INV_OUT) !== 0)) return false;
  if (r.proto !== 0 && (r.proto === p.proto) === ((invert & INV_PROTO) !== 0)) return false;
  if (r.six !== null && !matchesSix(r.six, p)) return false;
  return !r.fragment || (p.fragment !== 0) !== ((invert & INV_FRAG) !== 0);
}
