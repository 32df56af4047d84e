/**
 * Netfilter of a namespace: the tables, conntrack and NAT, run at each hook in the kernel's order of priorities:
 *
 *   raw -300 → conntrack -200 → mangle -150 → nat destination -100 → filter 0 → security 50 → nat source 100 → confirm
 *
 * Connections are tracked while a rule needs them, as the kernel registers its hooks: a nat table alone does nothing.
 */

import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import { Skb } from "../skb/skb.ts";
import type { TracedRule } from "../skb/trace.ts";
import { u16 } from "../wire/bytes.ts";
import { ETH_P_IPV6 } from "../wire/ethernet.ts";
import { dstAt, srcAt } from "../wire/ip-header.ts";
import { formatIp, formatIpPort, key6At } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { type Conn, IPS_CONFIRMED } from "./conn.ts";
import { Conntrack } from "./conntrack.ts";
import {
  IP_CT_ESTABLISHED,
  IP_CT_ESTABLISHED_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IP_CT_RELATED_REPLY,
  IP_CT_UNTRACKED,
} from "./conntrack-entry.ts";
import { IndexedEvaluator } from "./evaluate-indexed.ts";
import { LinearEvaluator } from "./evaluate-linear.ts";
import {
  type BaseChain,
  HOOK_NAMES,
  type Netfilter,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_IP_PRI_CONNTRACK,
  NF_IP_PRI_FILTER,
  NF_IP_PRI_MANGLE,
  NF_IP_PRI_NAT_DST,
  NF_IP_PRI_NAT_SRC,
  NF_IP_PRI_RAW,
  NF_IP_PRI_SECURITY,
  NF_REJECT,
} from "./hooks.ts";
import type { Tables } from "./iptables.ts";
import { stateName, stateOf } from "./match/conntrack.ts";
import { decided, manipOf, Nat, rewrites, translate } from "./nat.ts";
import { MANIP_SRC } from "./nat-mangle.ts";
import { NfPacket } from "./packet.ts";
import { NfState } from "./state.ts";
import type { ChainState, TableState } from "./table.ts";
import { hasWholeHeader } from "./whole-header.ts";

/** What a hook does where base chains stand between the tables, in the order of priorities. */
type Step =
  | { readonly kind: "table"; readonly priority: number; readonly table: TableState }
  | { readonly kind: "chain"; readonly priority: number; readonly chain: BaseChain }
  | { readonly kind: "track" | "nat"; readonly priority: number };

const NO_CHAINS: readonly BaseChain[] = [];

export class IptablesNetfilter implements Netfilter {
  readonly ns: NetNs;
  /** It is that of IPv6. */
  readonly six: boolean;
  readonly tables: Tables = new Map();
  /** What matches remember, and sets: one for both families. */
  readonly state: NfState;
  /** One for both families. */
  readonly conntrack: Conntrack;
  readonly nat: Nat;
  readonly #indexed: IndexedEvaluator = new IndexedEvaluator();
  readonly #linear: LinearEvaluator = new LinearEvaluator();
  readonly #packet: NfPacket;
  #tracking = false;
  #raw: TableState | null = null;
  #mangle: TableState | null = null;
  #filter: TableState | null = null;
  #security: TableState | null = null;
  #natTable: TableState | null = null;
  /** By hook: the kernel's chains of all tables but nat, and whether none of them has a rule. */
  readonly #bases: ChainState[][] = [[], [], [], [], []];
  readonly #idle: boolean[] = [true, true, true, true, true];
  /** By hook: base chains that came from elsewhere, by priority. */
  #chains: readonly (readonly BaseChain[])[] = [];
  #chainsTrack = false;
  /** By hook: the NAT chains among them, and all steps, where there is any other. */
  readonly #natChains: (readonly BaseChain[])[] = [NO_CHAINS, NO_CHAINS, NO_CHAINS, NO_CHAINS, NO_CHAINS];
  readonly #steps: (readonly Step[] | null)[] = [null, null, null, null, null];
  /** Connections may be translated here. */
  #natOn = false;

  /** `other`: the namespace's netfilter of the other family. */
  constructor(ns: NetNs, six: boolean = false, other: IptablesNetfilter | null = null) {
    this.ns = ns;
    this.six = six;
    this.state = other?.state ?? new NfState();
    this.conntrack = other?.conntrack ?? new Conntrack(ns);
    this.nat = other?.nat ?? new Nat(this.conntrack, ns.random.fork("nat"));
    this.#packet = new NfPacket(ns, new Skb(0), this.state, this.nat);
    if (six) this.#packet.l3 = ETH_P_IPV6;
  }

  /** Rules looked at in the last hook call. */
  get examined(): number {
    return this.#packet.examined;
  }

  /** Rules that a linear walk would have looked at in the last hook call. */
  get linear(): number {
    return this.#packet.linear;
  }

  get tracking(): boolean {
    return this.#tracking;
  }

  /** Replaces the base chains beside the tables: those of each hook by priority, and whether they need conntrack. */
  setBaseChains(byHook: readonly (readonly BaseChain[])[], tracking: boolean): void {
    this.#chains = byHook;
    this.#chainsTrack = tracking;
    this.changed();
  }

  /** Whether there are base chains beside the tables. */
  get hasBaseChains(): boolean {
    return this.#chains.some((chains) => chains.length > 0);
  }

  /** To be called once the tables have changed. */
  changed(): void {
    this.#raw = this.tables.get("raw") ?? null;
    this.#mangle = this.tables.get("mangle") ?? null;
    this.#filter = this.tables.get("filter") ?? null;
    this.#security = this.tables.get("security") ?? null;
    this.#natTable = this.tables.get("nat") ?? null;
    this.#natOn = this.#natTable !== null || this.#chains.some((chains) => chains.some((c) => c.nat));
    this.#tracking = this.#chainsTrack;
    for (const table of this.tables.values()) if (table.tracking > 0) this.#tracking = true;
    for (let hook = 0; hook < HOOK_NAMES.length; hook++) {
      const states: ChainState[] = [];
      for (const table of [this.#raw, this.#mangle, this.#filter, this.#security]) {
        const state = table?.base[hook] ?? null;
        if (state !== null) states.push(state);
      }
      const chains = this.#chains[hook] ?? NO_CHAINS;
      this.#natChains[hook] = chains.filter((c) => c.nat);
      const others = chains.filter((c) => !c.nat);
      this.#steps[hook] = others.length === 0 ? null : this.#stepsOf(hook, others);
      this.#idle[hook] =
        others.length === 0 && states.every((s) => s.chain.rules.length === 0 && s.chain.policy === "ACCEPT");
      this.#bases[hook] = states;
    }
  }

  #stepsOf(hook: number, chains: readonly BaseChain[]): readonly Step[] {
    const steps: Step[] = chains.map((chain) => ({ kind: "chain", priority: chain.priority, chain }));
    const tables: readonly (readonly [TableState | null, number])[] = [
      [this.#raw, NF_IP_PRI_RAW],
      [this.#mangle, NF_IP_PRI_MANGLE],
      [this.#filter, NF_IP_PRI_FILTER],
      [this.#security, NF_IP_PRI_SECURITY],
    ];
    for (const [table, priority] of tables)
      if (table !== null && table.base[hook] !== null) steps.push({ kind: "table", priority, table });
    if (hook === NF_INET_PRE_ROUTING || hook === NF_INET_LOCAL_OUT)
      steps.push({ kind: "track", priority: NF_IP_PRI_CONNTRACK });
    if (hook !== NF_INET_FORWARD) {
      const source = hook === NF_INET_POST_ROUTING || hook === NF_INET_LOCAL_IN;
      steps.push({ kind: "nat", priority: source ? NF_IP_PRI_NAT_SRC : NF_IP_PRI_NAT_DST });
    }
    return steps.sort((a, b) => a.priority - b.priority);
  }

  hook(ns: NetNs, hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): number {
    if (skb.trace === null && this.#idle[hook] === true) {
      this.#countIdle(hook, skb);
      if (!this.#tracking) return NF_ACCEPT;
      if (hook === NF_INET_FORWARD) return NF_ACCEPT;
      if (hook === NF_INET_PRE_ROUTING || hook === NF_INET_LOCAL_OUT) {
        const v = this.#track(skb, hook);
        if (v !== NF_ACCEPT) return v;
      }
      const conn = skb.ct as Conn | null;
      if (conn === null) return NF_ACCEPT;
      if (this.#settled(conn, skb.ctInfo, hook)) {
        const manip = manipOf(hook);
        if (this.#natOn && rewrites(conn, skb.ctInfo, manip)) translate(skb, conn, manip);
        return NF_ACCEPT;
      }
      this.#fill(hook, skb, input, output);
      return this.#afterRules(this.#packet, skb);
    }
    this.#fill(hook, skb, input, output);
    return skb.trace === null ? this.#run(this.#packet, skb) : this.#traced(ns, this.#packet, skb);
  }

  /** Whether all is decided about a packet's connection. */
  #settled(conn: Conn, info: number, hook: number): boolean {
    if ((conn.status & IPS_CONFIRMED) === 0) return false;
    if (conn.masqIfindex !== 0 && hook === NF_INET_POST_ROUTING) return false;
    if (info === IP_CT_ESTABLISHED || info === IP_CT_ESTABLISHED_REPLY) return true;
    return info === IP_CT_NEW && (!this.#natOn || decided(conn, manipOf(hook)));
  }

  #fill(hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): void {
    const p = this.#packet;
    const b = skb.buf;
    const at = skb.network;
    p.skb = skb;
    if (this.six) this.#fill6(p, skb);
    else {
      p.src = ipv4.srcKey(b, at);
      p.dst = ipv4.dstKey(b, at);
      p.proto = ipv4.protocol(b, at);
      p.fragment = ipv4.fragmentOffset(b, at);
    }
    p.hook = hook;
    p.input = input;
    p.output = output;
    p.whole = hasWholeHeader(p);
    p.hotdrop = false;
    p.examined = 0;
    p.linear = 0;
  }

  #fill6(p: NfPacket, skb: Skb): void {
    const { buf: b, network: at } = skb;
    p.src = key6At(b, at + ipv6.SRC);
    p.dst = key6At(b, at + ipv6.DST);
    p.proto = ipv6.transportProtocol(b, at, skb.end);
    p.fragment = ipv6.fragmentOffset(b, at, skb.end);
  }

  #track(skb: Skb, hook: number): number {
    return this.six ? this.conntrack.track6(skb, hook) : this.conntrack.track(skb, hook);
  }

  /** NAT, and the end of the hook: what remains where no other table has rules. */
  #afterRules(p: NfPacket, skb: Skb): number {
    const v = this.#natOn ? this.#nat(p, skb) : NF_ACCEPT;
    if (v !== NF_ACCEPT || !this.#tracking) return v;
    return p.hook === NF_INET_POST_ROUTING || p.hook === NF_INET_LOCAL_IN ? this.conntrack.confirm(skb) : v;
  }

  /** Chains without rules only count. */
  #countIdle(hook: number, skb: Skb): void {
    const states = this.#bases[hook] as ChainState[];
    for (let i = 0; i < states.length; i++) {
      const state = states[i] as ChainState;
      state.policyPackets++;
      state.policyBytes += skb.end - skb.network;
    }
  }

  /** Tables and base chains by priority; conntrack, NAT and confirmation where the kernel has them. */
  #runSteps(steps: readonly Step[], p: NfPacket, skb: Skb): number {
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i] as Step;
      let v: number = NF_ACCEPT;
      switch (step.kind) {
        case "table":
          v = this.#table(step.table, p);
          break;
        case "chain":
          v = step.chain.run(p);
          break;
        case "track":
          if (this.#tracking) v = this.#track(skb, p.hook);
          break;
        case "nat":
          if (this.#natOn) v = this.#nat(p, skb);
      }
      if (v !== NF_ACCEPT) return v;
    }
    const last = p.hook === NF_INET_POST_ROUTING || p.hook === NF_INET_LOCAL_IN;
    return last && this.#tracking ? this.conntrack.confirm(skb) : NF_ACCEPT;
  }

  #run(p: NfPacket, skb: Skb): number {
    const hook = p.hook;
    const steps = this.#steps[hook] as readonly Step[] | null;
    if (steps !== null) return this.#runSteps(steps, p, skb);
    let v: number = NF_ACCEPT;
    if (hook === NF_INET_PRE_ROUTING || hook === NF_INET_LOCAL_OUT) {
      v = this.#table(this.#raw, p);
      if (v === NF_ACCEPT && this.#tracking) v = this.#track(skb, hook);
    }
    if (v === NF_ACCEPT) v = this.#table(this.#mangle, p);
    if (hook === NF_INET_FORWARD || hook === NF_INET_LOCAL_IN) {
      if (v === NF_ACCEPT) v = this.#table(this.#filter, p);
      if (v === NF_ACCEPT) v = this.#table(this.#security, p);
      if (hook === NF_INET_FORWARD) return v;
    }
    if (v === NF_ACCEPT) v = this.#afterRules(p, skb);
    if (hook === NF_INET_LOCAL_OUT) {
      if (v === NF_ACCEPT) v = this.#table(this.#filter, p);
      if (v === NF_ACCEPT) v = this.#table(this.#security, p);
    }
    return v;
  }

  #table(table: TableState | null, p: NfPacket): number {
    if (table === null) return NF_ACCEPT;
    const base = table.base[p.hook] as ChainState | null;
    if (base === null) return NF_ACCEPT;
    const { chain } = base;
    if (chain.rules.length === 0 && chain.policy === "ACCEPT") {
      base.policyPackets++;
      base.policyBytes += p.end - p.network;
      return NF_ACCEPT;
    }
    return this.#evaluate(table, p);
  }

  #evaluate(table: TableState, p: NfPacket): number {
    return this.ns.world.evaluator === "linear" ? this.#linear.run(table, p) : this.#indexed.run(table, p);
  }

  /** nf_nat_inet_fn: the first packet asks the rules, all packets are rewritten. */
  #nat(p: NfPacket, skb: Skb): number {
    const conn = p.conn;
    if (conn === null) return NF_ACCEPT;
    const manip = manipOf(p.hook);
    const related = skb.ctInfo === IP_CT_RELATED || skb.ctInfo === IP_CT_RELATED_REPLY;
    if (related && p.proto === (this.six ? PROTO_ICMPV6 : ipv4.PROTO_ICMP))
      return this.nat.translateError(skb, conn, manip) ? NF_ACCEPT : NF_DROP;
    // a reset that a rule sends is related too, and goes as a connection's first packet does
    if ((related || skb.ctInfo === IP_CT_NEW) && !decided(conn, manip)) {
      const v = this.#natRules(p, conn, manip);
      if (v !== NF_ACCEPT) return v;
      if (!decided(conn, manip)) this.nat.setupNull(conn, manip);
    }
    if (conn.masqIfindex !== 0 && this.#strayed(p, conn)) {
      this.conntrack.remove(conn);
      return NF_DROP;
    }
    if (rewrites(conn, skb.ctInfo, manip)) {
      translate(skb, conn, manip);
      if (this.six) this.#fill6(p, skb);
      else {
        p.src = ipv4.srcKey(p.b, p.network);
        p.dst = ipv4.dstKey(p.b, p.network);
      }
    }
    return NF_ACCEPT;
  }

  /** The nat table and the NAT chains beside it, by priority, until one of them has decided. */
  #natRules(p: NfPacket, conn: Conn, manip: number): number {
    const chains = this.#natChains[p.hook] as readonly BaseChain[];
    const own = manip === MANIP_SRC ? NF_IP_PRI_NAT_SRC : NF_IP_PRI_NAT_DST;
    let table = this.#natTable;
    for (let i = 0; i < chains.length; i++) {
      const chain = chains[i] as BaseChain;
      if (table !== null && own <= chain.priority) {
        const v = this.#table(table, p);
        if (v !== NF_ACCEPT || decided(conn, manip)) return v;
        table = null;
      }
      const v = chain.run(p);
      if (v !== NF_ACCEPT || decided(conn, manip)) return v;
    }
    return table === null ? NF_ACCEPT : this.#table(table, p);
  }

  /** A masqueraded connection whose packets leave by another interface now (nf_nat_oif_changed) cannot go on. */
  #strayed(p: NfPacket, conn: Conn): boolean {
    return (
      p.hook === NF_INET_POST_ROUTING &&
      p.skb.ctInfo < IP_CT_ESTABLISHED_REPLY &&
      p.output !== null &&
      p.output.ifindex !== conn.masqIfindex
    );
  }

  #traced(ns: NetNs, p: NfPacket, skb: Skb): number {
    const rules: TracedRule[] = [];
    p.traced = rules;
    const before = endpoints(p, skb);
    const verdict = this.#run(p, skb);
    p.traced = null;
    const now = endpoints(p, skb);
    const nat: string[] = [];
    if (before.dst !== now.dst) nat.push(`${before.dst} → ${now.dst}`);
    if (before.src !== now.src) nat.push(`${before.src} → ${now.src}`);
    skb.trace?.report(ns, skb, {
      step: "hook",
      hook: HOOK_NAMES[p.hook] ?? "",
      dev: (p.input ?? p.output)?.name ?? "",
      rules,
      verdict: verdict === NF_ACCEPT ? "ACCEPT" : verdict === NF_REJECT ? "REJECT" : "DROP",
      examined: p.examined,
      linear: p.linear,
      ctState: this.#tracking || skb.ctInfo === IP_CT_UNTRACKED ? stateName(stateOf(p)) : "",
      nat: nat.join(", "),
    });
    return verdict;
  }
}

/** Both ends of a packet as text, with ports where it has them. */
function endpoints(p: NfPacket, skb: Skb): { src: string; dst: string } {
  const b = skb.buf;
  const src = srcAt(b, skb.network);
  const dst = dstAt(b, skb.network);
  const proto = p.proto;
  const ported = proto === ipv4.PROTO_TCP || proto === ipv4.PROTO_UDP || proto === ipv4.PROTO_SCTP;
  if (!ported || p.fragment !== 0 || skb.end - p.transport < 4) return { src: formatIp(src), dst: formatIp(dst) };
  return { src: formatIpPort(src, u16(b, p.transport)), dst: formatIpPort(dst, u16(b, p.transport + 2)) };
}
