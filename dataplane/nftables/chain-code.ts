/**
 * The chains of a ruleset as integers in one array (`netfilter/code-arena.ts`), for packets to walk: the programs of a chain's
 * rules one behind the other, so that a walk through the chains of a Service reads a few cache lines instead of dozens of
 * objects. A chain is written when the first packet meets it, and again after its rules changed.
 *
 *   a block: rules · slot · where each rule begins and the last ends, from the block on │ the programs
 *
 * In them a jump names the slot of its chain, and what `compile.ts` leaves in objects is put in the program where it is a
 * matter of numbers: a random number, a small verdict map over one field, a destination.
 */
import { CodeArena } from "../netfilter/code-arena.ts";
import {
  compile,
  type NatSpec,
  OP_COUNTER,
  OP_CT,
  OP_DYNSET,
  OP_FIB,
  OP_HEADED,
  OP_IN,
  OP_JHASH,
  OP_JUMP,
  OP_L3,
  OP_L4,
  OP_LIMIT,
  OP_MAP,
  OP_MSS,
  OP_NAT,
  OP_NEVER,
  OP_NOTIN,
  OP_NOTRACK,
  OP_NRANGE,
  OP_NUMGEN,
  OP_RANGE,
  OP_REJECT,
  OP_SETCTMARK,
  OP_SETMARK,
  OP_SETPAYLOAD,
  OP_SYMHASH,
  OP_VERDICT,
  OP_VMAP,
  OP_WIDE,
  OP_WILDCARD,
} from "./compile.ts";
import type { Element } from "./elements.ts";
import type { Chain, Expr, NftSet, Rule, Verdict } from "./model.ts";
import type { Program } from "./program.ts";

/** Register, how many numbers, the first of them. */
export const OP_RANDOM = 60;
/** Register, the least key, how many words follow, the map; then the verdict of each key, 0 for none. */
export const OP_DENSE = 61;
/** Address, port or 0. */
export const OP_DNAT = 62;

/** A verdict as a number: what it is, and above it the slot of the chain that it leads to. */
export const W_ACCEPT = 1;
export const W_DROP = 2;
export const W_CONTINUE = 3;
export const W_RETURN = 4;
export const W_JUMP = 5;
export const W_GOTO = 6;
export const W_MASK = 7;
export const W_SHIFT = 3;

/** Words in front of the places of the rules. */
export const HEAD = 2;
/** A verdict map of so many keys at the most stands in the program. */
const DENSE = 256;
/** Rules of a chain of so many keep their programs: to change one rule, the others need not be compiled. */
const MANY = 16;
/** Sizes of blocks are multiples of this, so that one fits where another was. */
const UNIT = 16;

/** Instructions of other lengths than three words. */
const LENGTHS: ReadonlyMap<number, number> = new Map([
  [OP_NEVER, 1],
  [OP_NOTRACK, 1],
  [OP_HEADED, 1],
  [OP_L3, 2],
  [OP_L4, 2],
  [OP_COUNTER, 2],
  [OP_LIMIT, 2],
  [OP_VERDICT, 2],
  [OP_NAT, 2],
  [OP_SETMARK, 2],
  [OP_SETCTMARK, 2],
  [OP_MSS, 2],
  [OP_CT, 4],
  [OP_SYMHASH, 4],
  [OP_RANGE, 4],
  [OP_NRANGE, 4],
  [OP_WILDCARD, 4],
]);
/** Which word of an instruction names an object. */
const OBJECTS: ReadonlyMap<number, number> = new Map([
  [OP_FIB, 2],
  [OP_NUMGEN, 2],
  [OP_JHASH, 2],
  [OP_MAP, 2],
  [OP_WIDE, 2],
  [OP_IN, 2],
  [OP_NOTIN, 2],
  [OP_WILDCARD, 2],
  [OP_VMAP, 2],
  [OP_DYNSET, 2],
  [OP_SETPAYLOAD, 2],
  [OP_COUNTER, 1],
  [OP_LIMIT, 1],
  [OP_NAT, 1],
  [OP_MSS, 1],
]);

export class ChainCode {
  readonly arena: CodeArena<Chain> = new CodeArena((chain) => this.drop(chain));
  /** What programs refer to by number. */
  readonly objects: unknown[] = [];
  readonly #free: number[] = [];
  /** By slot: the objects of the chain's block. */
  readonly #owned: (readonly number[] | undefined)[] = [];
  /** Slots that were kept elsewhere before this changed are not those of now. */
  epoch = 1;

  slotOf(chain: Chain): number {
    if (chain.slot === 0) chain.slot = this.arena.enter(chain);
    return chain.slot;
  }

  /** Writes the block of a slot's chain, and answers where it is. */
  write(slot: number): number {
    const { rules } = this.arena.owners[slot] as Chain;
    const owned: number[] = [];
    const out: number[] = [rules.length, slot];
    for (let i = 0; i <= rules.length; i++) out.push(0);
    for (const [i, rule] of rules.entries()) {
      out[HEAD + i] = out.length;
      this.#link(programOf(rule, rules.length), out, owned);
    }
    out[HEAD + rules.length] = out.length;
    const size = sizeOf(out.length);
    const at = this.arena.place(slot, size);
    this.arena.words.set(out, at);
    this.#owned[slot] = owned;
    return at;
  }

  /** The chain's rules changed: it is to be written anew when a packet meets it. */
  drop(chain: Chain): void {
    const { arena } = this;
    const at = chain.slot === 0 ? 0 : (arena.blocks[chain.slot] as number);
    if (at === 0) return;
    const rules = arena.words[at] as number;
    arena.drop(chain.slot, sizeOf(arena.words[at + HEAD + rules] as number));
    for (const n of this.#owned[chain.slot] ?? []) {
      this.objects[n] = null;
      this.#free.push(n);
    }
    this.#owned[chain.slot] = undefined;
  }

  /** The chain is removed: nothing leads to it any more. */
  leave(chain: Chain): void {
    this.drop(chain);
    if (chain.slot === 0) return;
    this.arena.leave(chain.slot);
    chain.slot = 0;
  }

  /** Many chains were removed, whatever leads to them. */
  reset(): void {
    for (const chain of [...this.arena.owners]) if (chain !== null) this.leave(chain);
    this.epoch++;
  }

  /** A verdict as a number. */
  wordOf(v: Verdict): number {
    switch (v.kind) {
      case "accept":
        return W_ACCEPT;
      case "drop":
        return W_DROP;
      case "continue":
        return W_CONTINUE;
      case "return":
        return W_RETURN;
      case "jump":
        return W_JUMP | (this.slotOf(v.chain) << W_SHIFT);
      case "goto":
        return W_GOTO | (this.slotOf(v.chain) << W_SHIFT);
    }
  }

  #object(o: unknown, owned: number[]): number {
    const n = this.#free.pop() ?? this.objects.length;
    this.objects[n] = o;
    owned.push(n);
    return n;
  }

  /** Copies a program, with its objects in the common list. */
  #link({ code, objects }: Program, out: number[], owned: number[]): void {
    for (let pc = 0; pc < code.length; ) {
      const op = code[pc] as number;
      // nothing follows on a reject
      const length = op === OP_REJECT ? code.length - pc : (LENGTHS.get(op) ?? 3);
      const a1 = code[pc + 1] as number;
      const a2 = code[pc + 2] as number;
      const place = OBJECTS.get(op);
      const object = place === undefined ? null : objects[code[pc + place] as number];
      if (op === OP_JUMP) out.push(op, this.slotOf(objects[a1] as Chain), a2);
      else if (op === OP_NUMGEN && (object as Numgen).random) out.push(OP_RANDOM, a1, ...randomOf(object as Numgen));
      else if (op === OP_VMAP && isDense(object as NftSet)) this.#dense(a1, object as NftSet, out, owned);
      else if (op === OP_NAT && destinationOf(object as NatSpec) !== null)
        out.push(OP_DNAT, ...(destinationOf(object as NatSpec) ?? []));
      else {
        const from = out.length;
        for (let i = 0; i < length; i++) out.push(code[pc + i] as number);
        if (place !== undefined) out[from + place] = this.#object(object, owned);
      }
      pc += length;
    }
  }

  #dense(register: number, set: NftSet, out: number[], owned: number[]): void {
    const elements = [...set.elements];
    const keys = elements.map((e) => e.key[0] as number);
    const least = Math.min(...keys);
    const words = new Array<number>(Math.max(...keys) - least + 1).fill(0);
    for (const e of elements) words[(e.key[0] as number) - least] = this.wordOf(e.data as Verdict);
    out.push(OP_DENSE, register, least, words.length, this.#object(set, owned), ...words);
  }
}

type Numgen = Extract<Expr, { kind: "numgen" }>;

function randomOf(e: Numgen): [number, number] {
  return [e.mod, e.offset];
}

/** A verdict map in a rule, whose elements never change, over single keys that stand close together. */
function isDense(set: NftSet): boolean {
  const { elements } = set;
  if (set.name !== "" || set.words !== 1 || set.interval || elements.catchAll !== null || elements.size === 0)
    return false;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const e of elements) {
    if (!isPlain(e)) return false;
    least = Math.min(least, e.key[0] as number);
    most = Math.max(most, e.key[0] as number);
  }
  return most - least < DENSE && most - least < elements.size * 2;
}

/** Whether an element is for one key, for ever, and does nothing besides. */
export function isPlain(e: Element): boolean {
  return e.end === null && e.expires === 0 && e.timeout === 0 && e.counter === null && e.limit === null;
}

/** Address and port of a translation to one destination; null for others. */
function destinationOf(spec: NatSpec): [number, number] | null {
  if (spec.what !== "dnat" || spec.range === null || spec.l3 !== 0) return null;
  const { addrs, ports, random, fully, persistent } = spec.range;
  if (addrs === null || addrs.min !== addrs.max || random || fully || persistent) return null;
  if (ports !== null && (ports.min !== ports.max || ports.base !== undefined)) return null;
  return [addrs.min, ports?.min ?? 0];
}

function programOf(rule: Rule, rules: number): Program {
  if (rules < MANY) return compile(rule);
  rule.program ??= compile(rule);
  return rule.program;
}

function sizeOf(words: number): number {
  return Math.ceil(words / UNIT) * UNIT;
}
