/**
 * A rule as a flat program over 32-bit registers, much as nft hands it to the kernel: load a field, compare, look up, act.
 * Each instruction is an opcode and a fixed number of operands; what is no number stands in `objects`.
 *
 * In tables of both families, fields of one ask for it first. A rule whose fields contradict what it asked for before is
 * compiled to one that never matches.
 */
import { IPS_CONFIRMED } from "../netfilter/conn.ts";
import type { NatRange } from "../netfilter/nat.ts";
import { ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import { key6Words } from "../wire/ip-key.ts";
import type { Value } from "./datatype.ts";
import { BASE_LL, BASE_NH, BASE_TH, type Key } from "./keys.ts";
import type { Expr, NatTo, Op, Right, Rule, Stmt } from "./model.ts";
import { wordsOf } from "./parse-expr.ts";
import { EXISTS } from "./parse-rule.ts";
import type { Program } from "./program.ts";
import { Protocols } from "./protocols.ts";

export const OP_NEVER = 0;
export const OP_NH8 = 1;
export const OP_NH16 = 2;
export const OP_NH32 = 3;
export const OP_TH8 = 4;
export const OP_TH16 = 5;
export const OP_TH32 = 6;
export const OP_LL16 = 7;
export const OP_LL32 = 8;
export const OP_META = 9;
export const OP_CT = 10;
export const OP_FIB = 11;
export const OP_IMM = 12;
export const OP_AND = 13;
export const OP_OR = 14;
export const OP_XOR = 15;
export const OP_SHL = 16;
export const OP_SHR = 17;
export const OP_NUMGEN = 18;
export const OP_JHASH = 19;
export const OP_SYMHASH = 20;
export const OP_MAP = 21;
export const OP_EQ = 22;
export const OP_NE = 23;
export const OP_LT = 24;
export const OP_GT = 25;
export const OP_LE = 26;
export const OP_GE = 27;
export const OP_RANGE = 28;
export const OP_NRANGE = 29;
export const OP_WIDE = 30;
export const OP_ANY = 31;
export const OP_NONE = 32;
export const OP_IN = 33;
export const OP_NOTIN = 34;
export const OP_WILDCARD = 35;
export const OP_L4 = 36;
export const OP_L3 = 37;
export const OP_COUNTER = 38;
export const OP_LIMIT = 39;
export const OP_VERDICT = 40;
export const OP_JUMP = 41;
export const OP_VMAP = 42;
export const OP_REJECT = 43;
export const OP_NAT = 44;
export const OP_SETMARK = 45;
export const OP_SETCTMARK = 46;
export const OP_NOTRACK = 47;
export const OP_MSS = 48;
export const OP_DYNSET = 49;
export const OP_SETPAYLOAD = 50;
export const OP_HEADED = 51;

/** What OP_META loads. */
export const META: Readonly<Record<string, number>> = {
  length: 0,
  protocol: 1,
  nfproto: 2,
  l4proto: 3,
  mark: 4,
  iif: 5,
  iifname: 5,
  oif: 6,
  oifname: 6,
  pkttype: 7,
  random: 8,
  skuid: 9,
  skgid: 9,
  ibrname: 10,
  obrname: 11,
};

/** What OP_CT loads. */
export const CT: Readonly<Record<string, number>> = {
  state: 0,
  status: 1,
  mark: 2,
  direction: 3,
  l3proto: 4,
  protocol: 5,
  "ip saddr": 6,
  "ip daddr": 7,
  "proto-src": 8,
  "proto-dst": 9,
  "ip6 saddr": 10,
  "ip6 daddr": 11,
};

/** Operand of OP_VERDICT. */
export const V_DROP = 0;
export const V_ACCEPT = 1;
export const V_CONTINUE = 2;
export const V_RETURN = 3;

/** What OP_WIDE compares values of several words with. */
export type Wide = { readonly op: Op; readonly lo: Value; readonly hi: Value | null };

/** What OP_NAT does. Registers are -1 where there is none. */
export type NatSpec = {
  readonly what: "dnat" | "snat" | "masquerade" | "redirect";
  /** Where all is constant. */
  readonly range: NatRange | null;
  /** EtherType of the only packets that it is for; 0 for both families. */
  readonly l3: number;
  readonly addr: number;
  readonly addrMax: number | null;
  readonly port: number;
  readonly portMax: number;
  /** The address in the registers is one of IPv6, of four words. */
  readonly six: boolean;
  readonly flags: Pick<NatRange, "random" | "fully" | "persistent">;
};

class Compiler {
  readonly code: number[] = [];
  readonly objects: unknown[] = [];
  /** Those that were asked already. */
  readonly #protocols: Protocols;

  constructor(rule: Rule) {
    const { family } = rule.chain.table;
    this.#protocols = new Protocols(family);
    if (family === "arp") this.emit(OP_NEVER);
  }

  emit(...numbers: readonly number[]): void {
    this.code.push(...numbers);
  }

  object(o: unknown): number {
    return this.objects.push(o) - 1;
  }

  #needs(key: Key): void {
    const { network, transport } = this.#protocols;
    if (this.#protocols.ask(key) !== "") {
      this.emit(OP_NEVER);
      return;
    }
    if (key.l3 === ETH_P_8021Q) this.emit(OP_L3, ETH_P_8021Q);
    else if (this.#protocols.network !== network) this.emit(OP_L3, key.l3);
    if (key.l4 >= 0 && key.l4 !== transport) this.emit(OP_L4, key.l4);
  }

  /** Fills registers from `dst` on with the expression's value. */
  load(e: Expr, dst: number): void {
    switch (e.kind) {
      case "key":
        this.#needs(e.key);
        this.#key(e.key, dst);
        return;
      case "value":
        for (let i = 0; i < e.value.length; i++) this.emit(OP_IMM, dst + i, e.value[i] ?? 0);
        return;
      case "bits": {
        this.load(e.left, dst);
        const op = { "&": OP_AND, "|": OP_OR, "^": OP_XOR, "<<": OP_SHL, ">>": OP_SHR }[e.op];
        for (let i = 0; i < e.right.length; i++) this.emit(op, dst + i, e.right[i] ?? 0);
        return;
      }
      case "concat": {
        let at = dst;
        for (const part of e.parts) {
          this.load(part, at);
          at += wordsOf(part);
        }
        return;
      }
      case "numgen":
        this.emit(OP_NUMGEN, dst, this.object(e));
        return;
      case "jhash":
        this.load(e.of, dst);
        this.emit(OP_JHASH, dst, this.object(e));
        return;
      case "symhash":
        this.emit(OP_SYMHASH, dst, e.mod, e.offset);
        return;
      case "map":
        this.load(e.of, dst);
        this.emit(OP_MAP, dst, this.object(e.set));
    }
  }

  #key(key: Key, dst: number): void {
    const { load } = key;
    switch (load.kind) {
      case "payload":
        this.#payload(load.base, load.offset, load.bits, dst);
        return;
      case "meta":
        this.emit(OP_META, dst, META[load.what] ?? 0);
        return;
      case "ct":
        this.emit(OP_CT, dst, CT[load.what] ?? 0, load.dir);
        return;
      case "fib":
        this.emit(OP_FIB, dst, this.object(load));
    }
  }

  #payload(base: number, offset: number, bits: number, dst: number): void {
    const at = offset >> 3;
    if (base === BASE_LL) {
      // the link header is read in pairs of octets
      if (bits === 48) this.emit(OP_LL16, dst, at, OP_LL32, dst + 1, at + 2);
      else if (bits === 32) this.emit(OP_LL32, dst, at);
      else this.emit(OP_LL16, dst, at);
      if (bits === 12) this.emit(OP_AND, dst, 0xfff);
      return;
    }
    if (base === BASE_TH && !isFast(offset, bits)) this.emit(OP_HEADED);
    const [one, two, four] = base === BASE_NH ? [OP_NH8, OP_NH16, OP_NH32] : [OP_TH8, OP_TH16, OP_TH32];
    if (bits === 8 && offset % 8 === 0) this.emit(one, dst, at);
    else if (bits === 16) this.emit(two, dst, at);
    else if (bits === 24) this.emit(four, dst, at - 1, OP_AND, dst, 0xffffff);
    else if (bits === 32) this.emit(four, dst, at);
    else if (bits === 48) this.emit(two, dst, at, four, dst + 1, at + 2);
    else if (bits > 32) for (let i = 0; i < bits / 32; i++) this.emit(four, dst + i, at + 4 * i);
    else {
      const within = offset % 8;
      if (within + bits > 16) {
        this.emit(four, dst, at - 1, OP_AND, dst, (1 << bits) - 1);
        return;
      }
      const wide = within + bits > 8 ? 16 : 8;
      this.emit(wide === 8 ? one : two, dst, at);
      const shift = wide - within - bits;
      if (shift > 0) this.emit(OP_SHR, dst, shift);
      this.emit(OP_AND, dst, (1 << bits) - 1);
    }
  }

  compare(left: Expr, op: Op, right: Right): void {
    if (right.kind === "wildcard") {
      const output = left.kind === "key" && left.key.text === "oifname";
      this.emit(OP_WILDCARD, output ? 1 : 0, this.object(right.prefix), op === "!=" ? 1 : 0);
      return;
    }
    this.load(left, 0);
    const not = op === "!=";
    const words = wordsOf(left);
    switch (right.kind) {
      case "value":
        if (words > 1) this.emit(OP_WIDE, 0, this.object({ op, lo: right.value, hi: null } satisfies Wide));
        else if (right.value[0] === EXISTS && isFib(left)) this.emit(not ? OP_EQ : OP_NE, 0, -1);
        else {
          const code = { "==": OP_EQ, "!=": OP_NE, "<": OP_LT, ">": OP_GT, "<=": OP_LE, ">=": OP_GE }[op];
          this.emit(code, 0, right.value[0] ?? 0);
        }
        return;
      case "range":
        if (words > 1) this.emit(OP_WIDE, 0, this.object({ op, lo: right.lo, hi: right.hi } satisfies Wide));
        else this.emit(not ? OP_NRANGE : OP_RANGE, 0, right.lo[0] ?? 0, right.hi[0] ?? 0);
        return;
      case "flags":
        this.emit(not ? OP_NONE : OP_ANY, 0, right.bits);
        return;
      case "masked":
        this.emit(OP_AND, 0, right.mask, not ? OP_NE : OP_EQ, 0, right.bits);
        return;
      case "set":
        this.emit(not ? OP_NOTIN : OP_IN, 0, this.object(right.set));
    }
  }

  stmt(s: Stmt): void {
    switch (s.kind) {
      case "match":
        this.compare(s.left, s.op, s.right);
        this.#protocols.learn(s);
        return;
      case "vmap":
        this.load(s.of, 0);
        this.emit(OP_VMAP, 0, this.object(s.set));
        return;
      case "verdict":
        if ("chain" in s.verdict) this.emit(OP_JUMP, this.object(s.verdict.chain), s.verdict.kind === "goto" ? 1 : 0);
        else
          this.emit(
            OP_VERDICT,
            { drop: V_DROP, accept: V_ACCEPT, continue: V_CONTINUE, return: V_RETURN }[s.verdict.kind],
          );
        return;
      case "counter":
        this.emit(OP_COUNTER, this.object(s.counter));
        return;
      case "limit":
        this.emit(OP_LIMIT, this.object(s.limit));
        return;
      case "reject":
        if (s.l3 !== 0 && s.l3 !== this.#protocols.network) this.emit(OP_L3, s.l3);
        this.emit(OP_REJECT, s.with, s.with6);
        return;
      case "nat":
        this.#nat(s);
        return;
      case "set":
        this.load(s.to, 0);
        this.emit(s.key.text === "ct mark" ? OP_SETCTMARK : OP_SETMARK, 0);
        return;
      case "mss":
        this.emit(OP_L4, 6, OP_MSS, this.object(s));
        return;
      case "payload":
        this.#needs(s.key);
        this.load(s.to, 0);
        this.emit(OP_SETPAYLOAD, 0, this.object(s.spec));
        return;
      case "notrack":
        this.emit(OP_NOTRACK);
        return;
      case "dynset": {
        this.load(s.key, 0);
        if (s.data !== null) this.load(s.data, DATA);
        this.emit(OP_DYNSET, 0, this.object(s));
        return;
      }
      case "queue":
        this.emit(OP_VERDICT, s.flags.includes("bypass") ? V_ACCEPT : V_DROP);
        return;
      case "flow":
        // only of connections whose first packet went through
        this.emit(OP_CT, 0, CT.status ?? 0, -1, OP_ANY, 0, IPS_CONFIRMED);
        return;
      case "never":
        this.emit(OP_NEVER);
        return;
      case "log":
      case "nothing":
        return;
    }
  }

  #nat(s: Extract<Stmt, { kind: "nat" }>): void {
    const flags = { random: s.random, fully: s.fully, persistent: s.persistent };
    const { to } = s;
    const l3 = s.family === "ip" ? ETH_P_IP : s.family === "ip6" ? ETH_P_IPV6 : 0;
    const spec = to === null ? { addr: -1, port: -1, addrMax: null, portMax: 0 } : this.#natRegisters(to);
    const range = to === null || isConstant(to) ? constantRange(to, flags) : null;
    const six = s.family === "ip6" || this.#protocols.network === ETH_P_IPV6;
    this.emit(OP_NAT, this.object({ what: s.what, range, l3, six, flags, ...spec } satisfies NatSpec));
  }

  #natRegisters(to: NatTo): Pick<NatSpec, "addr" | "addrMax" | "port" | "portMax"> {
    const addrMax = to.addrMax === null ? null : addressOf(to.addrMax);
    if (isConstant(to))
      return { addr: to.addr === null ? -1 : 0, addrMax, port: to.port === null ? -1 : DATA, portMax: to.portMax };
    if (to.both !== null) {
      this.load(to.both, 0);
      const [first] = to.both.kind === "map" ? to.both.set.spec.data : [];
      return { addr: 0, addrMax, port: typeof first === "object" ? first.words : 1, portMax: 0 };
    }
    if (to.addr !== null) this.load(to.addr, 0);
    if (to.port !== null) this.load(to.port, DATA);
    return { addr: to.addr === null ? -1 : 0, addrMax, port: to.port === null ? -1 : DATA, portMax: to.portMax };
  }
}

/** The register where a second value goes. */
export const DATA = 24;

/**
 * Whether the kernel reads these bits of the transport header by its fast path, which takes a later fragment for one that
 * begins with the header (nft_payload_select_ops); the other way the rule ends there.
 */
function isFast(offset: number, bits: number): boolean {
  const octets = ((offset % 8) + bits + 7) >> 3;
  return (octets === 1 || octets === 2 || octets === 4) && (offset >> 3) % octets === 0;
}

function isFib(e: Expr): boolean {
  return e.kind === "key" && e.key.load.kind === "fib";
}

function isConstant(to: NatTo): boolean {
  return (
    to.both === null && (to.addr === null || to.addr.kind === "value") && (to.port === null || to.port.kind === "value")
  );
}

/** An address as NAT knows it: the key of one of IPv6. */
function addressOf(value: Value): number {
  const [a = 0, b = 0, c = 0, d = 0] = value;
  return value.length === 1 ? a : key6Words(a, b, c, d);
}

function constantRange(to: NatTo | null, flags: NatSpec["flags"]): NatRange {
  const addr = to?.addr?.kind === "value" ? addressOf(to.addr.value) : undefined;
  const port = to?.port?.kind === "value" ? to.port.value[0] : undefined;
  return {
    addrs: addr === undefined ? null : { min: addr, max: to?.addrMax ? addressOf(to.addrMax) : addr },
    ports: port === undefined ? null : { min: port, max: to?.portMax || port },
    ...flags,
  };
}

export function compile(rule: Rule): Program {
  const c = new Compiler(rule);
  for (const s of rule.stmts) c.stmt(s);
  return { code: Int32Array.from(c.code), objects: c.objects };
}
