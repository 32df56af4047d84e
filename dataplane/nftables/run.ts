/**
 * Walks the chains of a hook (net/netfilter/nf_tables_core.c, nft_do_chain). A statement that does not hold ends its rule
 * and the next one is tried; a verdict ends the walk; a jump remembers where it came from, a goto does not.
 */
import { IP_CT_ESTABLISHED_REPLY, IP_CT_UNTRACKED } from "../netfilter/conntrack-entry.ts";
import { NF_ACCEPT, NF_DROP, NF_REJECT } from "../netfilter/hooks.ts";
import type { NfPacket } from "../netfilter/packet.ts";
import { dnatTarget } from "../netfilter/target/dnat.ts";
import { masqueradeTarget } from "../netfilter/target/masquerade.ts";
import { CONTINUE } from "../netfilter/target/module.ts";
import { redirectTarget } from "../netfilter/target/redirect.ts";
import { snatTarget } from "../netfilter/target/snat.ts";
import { i32, u8, u16 } from "../wire/bytes.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import { isKey6, key6Words, word6 } from "../wire/ip-key.ts";
import {
  type ChainCode,
  HEAD,
  isPlain,
  OP_DENSE,
  OP_DNAT,
  OP_RANDOM,
  W_ACCEPT,
  W_DROP,
  W_GOTO,
  W_JUMP,
  W_MASK,
  W_RETURN,
  W_SHIFT,
} from "./chain-code.ts";
import * as op from "./compile.ts";
import { DATA, type NatSpec, type Wide } from "./compile.ts";
import type { Value } from "./datatype.ts";
import { compareAt, type Element } from "./elements.ts";
import { fibValue } from "./fib.ts";
import { jhash, symmetricHash } from "./hash.ts";
import { ifnameId, ifnameText } from "./ifname.ts";
import type { Load } from "./keys.ts";
import type { Chain, Expr, NftSet, Rule, Stmt, Verdict } from "./model.ts";
import { wordsOf } from "./parse-expr.ts";
import { type PayloadSpec, setPayload } from "./payload-set.ts";
import { printVerdict } from "./print-rule.ts";
import { NFPROTO_IPV4, NFPROTO_IPV6 } from "./protocols.ts";
import { type Counter, Counter as CounterOf, type Gate } from "./stateful.ts";
import { lowerMss, type MssSpec } from "./tcp-mss.ts";

/** What a rule ends in, besides verdicts of netfilter. */
const BREAK = -1;
const RETURN = -2;
const JUMP = -3;
const GOTO = -4;
const DONE = -5;

/** NFT_JUMP_STACK_SIZE. */
const DEPTH = 16;

export class NftRunner {
  readonly #code: ChainCode;
  readonly #regs: Int32Array = new Int32Array(64);
  /** For each depth: the chain's slot, and the rule to go on with. */
  readonly #stack: Int32Array = new Int32Array(DEPTH);
  readonly #back: Int32Array = new Int32Array(DEPTH);
  /** The slot of the chain that a verdict leads to. */
  #target = 0;
  /** The verdict that a map gave, for traces. */
  #mapped: Verdict | null = null;

  constructor(code: ChainCode) {
    this.#code = code;
  }

  /** The verdict of a base chain on a packet. */
  run(base: Chain, p: NfPacket): number {
    const code = this.#code;
    const { arena } = code;
    let slot = base.slot === 0 ? code.slotOf(base) : base.slot;
    let block = (arena.blocks[slot] as number) || code.write(slot);
    let words = arena.words;
    let rules = words[block] as number;
    let i = 0;
    let depth = 0;
    let examined = 0;
    let verdict: number = NF_ACCEPT;
    walk: for (;;) {
      if (i >= rules) {
        if (depth === 0) {
          verdict = this.#policy(base, p);
          break;
        }
        depth--;
        slot = this.#stack[depth] as number;
        i = this.#back[depth] as number;
      } else {
        examined++;
        const place = block + HEAD + i;
        const from = block + (words[place] as number);
        const result = this.#rule(words, from, block + (words[place + 1] as number), p);
        if (result === BREAK) {
          i++;
          continue;
        }
        if (p.traced !== null) this.#trace(arena.owners[slot] as Chain, i, p);
        switch (result) {
          case DONE:
            i++;
            continue;
          case RETURN:
            i = rules;
            continue;
          case JUMP:
            if (depth === DEPTH) {
              verdict = NF_DROP;
              break walk;
            }
            this.#stack[depth] = slot;
            this.#back[depth] = i + 1;
            depth++;
            break;
          case GOTO:
            break;
          default:
            verdict = result;
            break walk;
        }
        slot = this.#target;
        i = 0;
      }
      block = (arena.blocks[slot] as number) || code.write(slot);
      words = arena.words;
      rules = words[block] as number;
    }
    p.examined += examined;
    p.linear += examined;
    return verdict;
  }

  #policy(base: Chain, p: NfPacket): number {
    if (base.policy !== "drop") return NF_ACCEPT;
    p.traced?.push({ table: tableName(base), chain: base.name, number: 0, text: "policy drop" });
    return NF_DROP;
  }

  #trace(chain: Chain, i: number, p: NfPacket): void {
    const rule = chain.rules[i] as Rule;
    const to = this.#mapped === null ? "" : ` ► ${printVerdict(this.#mapped)}`;
    p.traced?.push({ table: tableName(chain), chain: chain.name, number: i + 1, text: rule.text + to });
  }

  /** Runs the program of a rule. */
  #rule(code: Int32Array, from: number, end: number, p: NfPacket): number {
    const { objects } = this.#code;
    const regs = this.#regs;
    const b = p.b;
    this.#mapped = null;
    let pc = from;
    while (pc < end) {
      const a1 = code[pc + 1] as number;
      const a2 = code[pc + 2] as number;
      switch (code[pc]) {
        case op.OP_NEVER:
          return BREAK;
        case op.OP_NH8:
        case op.OP_NH16:
        case op.OP_NH32: {
          const size = 1 << ((code[pc] as number) - op.OP_NH8);
          const at = p.network + a2;
          if (at + size > p.end) return BREAK;
          regs[a1] = size === 4 ? i32(b, at) : size === 2 ? u16(b, at) : u8(b, at);
          pc += 3;
          break;
        }
        case op.OP_TH8:
        case op.OP_TH16:
        case op.OP_TH32: {
          const size = 1 << ((code[pc] as number) - op.OP_TH8);
          // A later fragment is read as if it began with the header: the kernel's fast path does not look; in one of IPv6
          // the header is not searched for, and what is read is at the offset that was there before (nft_set_pktinfo_ipv6).
          const at = (p.fragment !== 0 && p.l3 === ETH_P_IPV6 ? p.network : p.transport) + a2;
          if (p.proto < 0 || at + size > p.end) return BREAK;
          regs[a1] = size === 4 ? i32(b, at) : size === 2 ? u16(b, at) : u8(b, at);
          pc += 3;
          break;
        }
        case op.OP_LL16:
        case op.OP_LL32: {
          if (p.input === null || p.input.linkHeaderLen === 0) return BREAK;
          const at = p.skb.mac + a2;
          regs[a1] = code[pc] === op.OP_LL32 ? i32(b, at) : u16(b, at);
          pc += 3;
          break;
        }
        case op.OP_META:
          if (!this.#meta(a1, a2, p)) return BREAK;
          pc += 3;
          break;
        case op.OP_CT:
          if (!this.#ct(a1, a2, code[pc + 3] as number, p)) return BREAK;
          pc += 4;
          break;
        case op.OP_FIB:
          regs[a1] = fibValue(objects[a2] as Extract<Load, { kind: "fib" }>, p);
          pc += 3;
          break;
        case op.OP_IMM:
          regs[a1] = a2;
          pc += 3;
          break;
        case op.OP_AND:
          regs[a1] = (regs[a1] as number) & a2;
          pc += 3;
          break;
        case op.OP_OR:
          regs[a1] = (regs[a1] as number) | a2;
          pc += 3;
          break;
        case op.OP_XOR:
          regs[a1] = (regs[a1] as number) ^ a2;
          pc += 3;
          break;
        case op.OP_SHL:
          regs[a1] = (regs[a1] as number) << a2;
          pc += 3;
          break;
        case op.OP_SHR:
          regs[a1] = (regs[a1] as number) >>> a2;
          pc += 3;
          break;
        case op.OP_NUMGEN:
          regs[a1] = numgen(objects[a2] as Extract<Expr, { kind: "numgen" }>, p);
          pc += 3;
          break;
        case op.OP_JHASH:
          regs[a1] = jhash(objects[a2] as Extract<Expr, { kind: "jhash" }>, regs, a1);
          pc += 3;
          break;
        case op.OP_SYMHASH:
          regs[a1] = symmetricHash(p, a2) + (code[pc + 3] as number);
          pc += 4;
          break;
        case op.OP_MAP: {
          const e = lookup(objects[a2] as NftSet, regs, a1, p);
          if (e === null) return BREAK;
          const data = e.data as Value;
          for (let i = 0; i < data.length; i++) regs[a1 + i] = data[i] as number;
          pc += 3;
          break;
        }
        case op.OP_EQ:
          if (regs[a1] !== a2) return BREAK;
          pc += 3;
          break;
        case op.OP_NE:
          if (regs[a1] === a2) return BREAK;
          pc += 3;
          break;
        case op.OP_LT:
          if ((regs[a1] as number) >>> 0 >= a2 >>> 0) return BREAK;
          pc += 3;
          break;
        case op.OP_GT:
          if ((regs[a1] as number) >>> 0 <= a2 >>> 0) return BREAK;
          pc += 3;
          break;
        case op.OP_LE:
          if ((regs[a1] as number) >>> 0 > a2 >>> 0) return BREAK;
          pc += 3;
          break;
        case op.OP_GE:
          if ((regs[a1] as number) >>> 0 < a2 >>> 0) return BREAK;
          pc += 3;
          break;
        case op.OP_RANGE:
        case op.OP_NRANGE: {
          const v = (regs[a1] as number) >>> 0;
          const inside = v >= a2 >>> 0 && v <= (code[pc + 3] as number) >>> 0;
          if (inside === (code[pc] === op.OP_NRANGE)) return BREAK;
          pc += 4;
          break;
        }
        case op.OP_WIDE:
          if (!compareWide(objects[a2] as Wide, regs, a1)) return BREAK;
          pc += 3;
          break;
        case op.OP_ANY:
          if (((regs[a1] as number) & a2) === 0) return BREAK;
          pc += 3;
          break;
        case op.OP_NONE:
          if (((regs[a1] as number) & a2) !== 0) return BREAK;
          pc += 3;
          break;
        case op.OP_IN:
          if (lookup(objects[a2] as NftSet, regs, a1, p) === null) return BREAK;
          pc += 3;
          break;
        case op.OP_NOTIN:
          if (lookup(objects[a2] as NftSet, regs, a1, p) !== null) return BREAK;
          pc += 3;
          break;
        case op.OP_WILDCARD: {
          const dev = a1 === 0 ? p.input : p.output;
          const holds = dev?.name.startsWith(objects[a2] as string) === true;
          if (holds === (code[pc + 3] === 1)) return BREAK;
          pc += 4;
          break;
        }
        case op.OP_L4:
          if (p.proto !== a1) return BREAK;
          pc += 2;
          break;
        case op.OP_L3:
          if (p.l3 !== a1) return BREAK;
          pc += 2;
          break;
        case op.OP_HEADED:
          if (p.fragment !== 0) return BREAK;
          pc += 1;
          break;
        case op.OP_COUNTER: {
          const counter = objects[a1] as Counter;
          counter.packets++;
          counter.bytes += p.end - p.network;
          pc += 2;
          break;
        }
        case op.OP_LIMIT:
          if (!(objects[a1] as Gate).passes(p.ns.world.loop.time, p.end - p.network, p.conn)) return BREAK;
          pc += 2;
          break;
        case op.OP_VERDICT:
          if (a1 === op.V_ACCEPT) return NF_ACCEPT;
          if (a1 === op.V_DROP) return NF_DROP;
          return a1 === op.V_RETURN ? RETURN : DONE;
        case op.OP_JUMP:
          this.#target = a1;
          return a2 === 1 ? GOTO : JUMP;
        case op.OP_VMAP:
        case OP_DENSE: {
          const dense = code[pc] === OP_DENSE;
          const word = dense ? this.#dense(code, pc, p) : this.#vmap(objects[a2] as NftSet, a1, p);
          switch (word & W_MASK) {
            case 0:
              return BREAK;
            case W_ACCEPT:
              return NF_ACCEPT;
            case W_DROP:
              return NF_DROP;
            case W_RETURN:
              return RETURN;
            case W_JUMP:
              this.#target = word >> W_SHIFT;
              return JUMP;
            case W_GOTO:
              this.#target = word >> W_SHIFT;
              return GOTO;
          }
          // the rest of the rule goes on
          pc += dense ? 5 + (code[pc + 3] as number) : 3;
          break;
        }
        case OP_RANDOM:
          regs[a1] = randomBelow(a2, p) + (code[pc + 3] as number);
          pc += 4;
          break;
        case OP_DNAT:
          if (p.conn !== null) {
            p.nat.setupTo(p.conn, a1, a2);
            return NF_ACCEPT;
          }
          pc += 3;
          break;
        case op.OP_REJECT:
          p.skb.rejectWith = p.l3 === ETH_P_IPV6 ? a2 : a1;
          return NF_REJECT;
        case op.OP_NAT: {
          const verdict = this.#nat(objects[a1] as NatSpec, p);
          if (verdict >= 0) return verdict;
          pc += 2;
          break;
        }
        case op.OP_SETMARK:
          p.skb.mark = regs[a1] as number;
          pc += 2;
          break;
        case op.OP_SETCTMARK:
          if (p.conn !== null) p.conn.mark = regs[a1] as number;
          pc += 2;
          break;
        case op.OP_NOTRACK:
          if (p.skb.ct === null) p.skb.ctInfo = IP_CT_UNTRACKED;
          pc += 1;
          break;
        case op.OP_MSS:
          if (!lowerMss(objects[a1] as MssSpec, p)) return BREAK;
          pc += 2;
          break;
        case op.OP_SETPAYLOAD:
          if (!setPayload(objects[a2] as PayloadSpec, regs[a1] as number, p)) return BREAK;
          pc += 3;
          break;
        case op.OP_DYNSET:
          if (!this.#dynset(objects[a2] as Extract<Stmt, { kind: "dynset" }>, a1, p)) return BREAK;
          pc += 3;
          break;
        default:
          throw new Error(`nftables: opcode ${code[pc]}`);
      }
    }
    return DONE;
  }

  /** The verdict that a map has for the registers, as a number; 0 where it has none. */
  #vmap(set: NftSet, at: number, p: NfPacket): number {
    const { elements } = set;
    const place =
      p.traced === null && elements.catchAll === null && !set.wildcards ? elements.place(this.#regs, at) : -2;
    if (place === -1) return 0;
    if (place >= 0) {
      const marks = elements.marks(this.#code.epoch);
      const known = marks[place] as number;
      if (known !== 0) return known;
      const e = elements.at(place);
      if (isPlain(e)) {
        const word = this.#code.wordOf(e.data as Verdict);
        marks[place] = word;
        return word;
      }
    }
    const e = lookup(set, this.#regs, at, p);
    if (e === null) return 0;
    this.#mapped = e.data as Verdict;
    return this.#code.wordOf(e.data as Verdict);
  }

  /** The same for a map that stands in the program. */
  #dense(code: Int32Array, pc: number, p: NfPacket): number {
    const at = code[pc + 1] as number;
    if (p.traced !== null) return this.#vmap(this.#code.objects[code[pc + 4] as number] as NftSet, at, p);
    const n = (this.#regs[at] as number) - (code[pc + 2] as number);
    return n >= 0 && n < (code[pc + 3] as number) ? (code[pc + 5 + n] as number) : 0;
  }

  #meta(dst: number, what: number, p: NfPacket): boolean {
    const regs = this.#regs;
    switch (what) {
      case 0:
        regs[dst] = p.end - p.network;
        return true;
      case 1:
        regs[dst] = p.l3;
        return true;
      case 2:
        regs[dst] = p.l3 === ETH_P_IP ? NFPROTO_IPV4 : p.l3 === ETH_P_IPV6 ? NFPROTO_IPV6 : 0;
        return true;
      case 3:
        if (p.proto < 0) return false;
        regs[dst] = p.proto;
        return true;
      case 4:
        regs[dst] = p.skb.mark;
        return true;
      case 5:
        regs[dst] = p.input === null ? -1 : ifnameId(p.input.name);
        return true;
      case 6:
        regs[dst] = p.output === null ? -1 : ifnameId(p.output.name);
        return true;
      case 7:
        regs[dst] = p.skb.pktType;
        return true;
      case 8:
        regs[dst] = p.ns.random.u32() | 0;
        return true;
      default:
        // owners of sockets and bridges of ports are not known here
        return false;
    }
  }

  #ct(dst: number, what: number, dir: number, p: NfPacket): boolean {
    const regs = this.#regs;
    const conn = p.conn;
    const info = p.skb.ctInfo;
    if (what === 0) {
      if (conn !== null) regs[dst] = 2 << (info % IP_CT_ESTABLISHED_REPLY);
      else regs[dst] = info === IP_CT_UNTRACKED ? 64 : 1;
      return true;
    }
    if (conn === null) return false;
    const tuple = dir === 1 ? conn.reply : conn.original;
    switch (what) {
      case 1:
        regs[dst] = conn.status;
        return true;
      case 2:
        regs[dst] = conn.mark;
        return true;
      case 3:
        regs[dst] = info >= IP_CT_ESTABLISHED_REPLY ? 1 : 0;
        return true;
      case 4:
        regs[dst] = isKey6(conn.original.src) ? NFPROTO_IPV6 : NFPROTO_IPV4;
        return true;
      case 5:
        regs[dst] = conn.proto;
        return true;
      case 6:
      case 7:
        if (isKey6(tuple.src)) return false;
        regs[dst] = what === 6 ? tuple.src : tuple.dst;
        return true;
      case 8:
        regs[dst] = tuple.ports >>> 16;
        return true;
      case 9:
        regs[dst] = tuple.ports & 0xffff;
        return true;
      default:
        if (!isKey6(tuple.src)) return false;
        for (let i = 0; i < 4; i++) regs[dst + i] = word6(what === 10 ? tuple.src : tuple.dst, i);
        return true;
    }
  }

  /** What is for the other family does nothing (nft_nat_inet_eval). */
  #nat(spec: NatSpec, p: NfPacket): number {
    if (spec.l3 !== 0 && spec.l3 !== p.l3) return CONTINUE;
    let range = spec.range;
    if (range === null) {
      const addr = spec.addr < 0 ? null : this.#address(spec.addr, spec.six);
      const port = spec.port < 0 ? null : (this.#regs[spec.port] as number);
      range = {
        addrs: addr === null ? null : { min: addr, max: spec.addrMax ?? addr },
        ports: port === null ? null : { min: port, max: spec.portMax || port },
        ...spec.flags,
      };
    }
    switch (spec.what) {
      case "dnat":
        return dnatTarget.run({ kind: "DNAT", range }, p);
      case "snat":
        return snatTarget.run({ kind: "SNAT", range }, p);
      case "masquerade":
        return masqueradeTarget.run({ kind: "MASQUERADE", range }, p);
      case "redirect":
        return redirectTarget.run({ kind: "REDIRECT", range }, p);
    }
  }

  /** The address in the registers, as NAT knows it. */
  #address(at: number, six: boolean): number {
    const regs = this.#regs;
    const first = regs[at] as number;
    return six ? key6Words(first, regs[at + 1] as number, regs[at + 2] as number, regs[at + 3] as number) : first;
  }

  /** nft_dynset_eval: false where the set takes no more, or a limit of the element says no. */
  #dynset(s: Extract<Stmt, { kind: "dynset" }>, at: number, p: NfPacket): boolean {
    const { set } = s;
    const now = p.ns.world.loop.time;
    const known = set.elements.find(this.#regs, at);
    const live = known !== null && (known.expires === 0 || known.expires > now) ? known : null;
    if (s.op === "delete") {
      if (live !== null) set.elements.remove(live);
      return true;
    }
    const timeout = s.timeout || set.spec.timeout;
    if (live !== null) {
      if (s.op === "update" && live.expires !== 0) live.expires = now + timeout;
      return countElement(live, p);
    }
    if (known !== null) set.elements.remove(known);
    if (set.spec.size > 0 && set.elements.size >= set.spec.size && !makeRoom(set, now)) return false;
    const key: number[] = [];
    for (let i = 0; i < set.words; i++) key.push(this.#regs[at + i] as number);
    const data: number[] = [];
    if (s.data !== null) for (let i = 0; i < wordsOf(s.data); i++) data.push(this.#regs[DATA + i] as number);
    const made: Element = {
      key,
      end: null,
      data: s.data === null ? null : data,
      comment: "",
      timeout,
      expires: timeout === 0 ? 0 : now + timeout,
      counter: s.counter || set.spec.counter ? new CounterOf() : null,
      limit: s.limit === null ? null : s.limit.fresh(),
    };
    set.elements.add(made);
    return countElement(made, p);
  }
}

function tableName(chain: Chain): string {
  return `${chain.table.family} ${chain.table.name}`;
}

/** Removes what is over; answers whether there is room then. */
function makeRoom(set: NftSet, now: number): boolean {
  for (const e of [...set.elements]) if (e.expires !== 0 && e.expires <= now) set.elements.remove(e);
  return set.elements.size < set.spec.size;
}

/** The statements of an element: false where its limit says no. */
function countElement(e: Element, p: NfPacket): boolean {
  if (e.counter !== null) {
    e.counter.packets++;
    e.counter.bytes += p.end - p.network;
  }
  return e.limit === null || e.limit.passes(p.ns.world.loop.time, p.end - p.network, p.conn);
}

/** The element that the registers from `at` on are in; null if there is none. */
function lookup(set: NftSet, regs: Int32Array, at: number, p: NfPacket): Element | null {
  let e = set.elements.find(regs, at);
  if (e === null && set.wildcards) e = wildcard(set, regs[at] as number);
  if (e !== null && e.expires !== 0 && e.expires <= p.ns.world.loop.time) e = null;
  if (e === null) e = set.elements.catchAll;
  if (e !== null && (e.counter !== null || e.limit !== null) && !countElement(e, p)) return null;
  return e;
}

function wildcard(set: NftSet, id: number): Element | null {
  if (id < 0) return null;
  const name = ifnameText(id);
  for (const e of set.elements) {
    const pattern = ifnameText(e.key[0] ?? -1);
    if (pattern.endsWith("*") && name.startsWith(pattern.slice(0, -1))) return e;
  }
  return null;
}

function compareWide(w: Wide, regs: Int32Array, at: number): boolean {
  // compareAt tells the constant's place from the packet's value
  const d = -compareAt(w.lo, regs, at);
  if (w.hi !== null) {
    const inside = d >= 0 && compareAt(w.hi, regs, at) >= 0;
    return inside !== (w.op === "!=");
  }
  switch (w.op) {
    case "==":
      return d === 0;
    case "!=":
      return d !== 0;
    case "<":
      return d < 0;
    case ">":
      return d > 0;
    case "<=":
      return d <= 0;
    case ">=":
      return d >= 0;
  }
}

/** nft_numgen.c. By chance: halves are chosen until one number is left, so that whoever plans chance can enumerate them. */
function numgen(e: Extract<Expr, { kind: "numgen" }>, p: NfPacket): number {
  if (e.random) return randomBelow(e.mod, p) + e.offset;
  const value = e.next;
  e.next = value + 1 < e.mod ? value + 1 : 0;
  return value + e.offset;
}

function randomBelow(mod: number, p: NfPacket): number {
  let lo = 0;
  let count = mod;
  while (count > 1) {
    const half = count >> 1;
    if (p.ns.world.chance(half / count)) count = half;
    else {
      lo += half;
      count -= half;
    }
  }
  return lo;
}
