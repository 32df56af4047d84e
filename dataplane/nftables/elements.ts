/**
 * The elements of a set or map. Single keys stand in an open-addressing hash over their words; ranges of one field in a
 * sorted list; ranges in concatenations are few, and looked through.
 *
 * A key is looked up in the registers where the packet left it, so nothing is made for a lookup.
 */
import { compareValues, type Value } from "./datatype.ts";
import type { Verdict } from "./model.ts";
import type { Counter, Gate } from "./stateful.ts";

export type Element = {
  readonly key: Value;
  /** The last value of a range, field by field in a concatenation; null for a single key. */
  readonly end: Value | null;
  /** Of a map; null in a set. */
  readonly data: Value | Verdict | null;
  readonly comment: string;
  /** Milliseconds; 0 is the set's own. */
  timeout: number;
  /** Virtual time in milliseconds; 0 is never. */
  expires: number;
  /** What is counted and limited for each element. */
  readonly counter: Counter | null;
  readonly limit: Gate | null;
};

const MIN_SLOTS = 16;
/** So few single keys are compared one by one: sets in rules are many, and small. */
const SMALL = 4;
const NOTHING: Int32Array = new Int32Array(0);
const NO_NUMBERS: number[] = [];
const NO_ELEMENTS: Element[] = [];
const FREE = 0;
const GONE = -1;

export class Elements {
  /** Words of each field of the key, and of all of them. */
  readonly #fields: readonly number[];
  readonly #words: number;
  /** Ranges of a single field are kept sorted. */
  readonly #sorted: boolean;
  /** Slots hold an index into the lists below, plus one. */
  #slots: Int32Array = NOTHING;
  #mask = 0;
  #used = 0;
  #keys: Int32Array = NOTHING;
  #list: (Element | null)[] = NO_ELEMENTS;
  #spare: number[] = NO_NUMBERS;
  #ranges: Element[] = NO_ELEMENTS;
  #wide: Element[] = NO_ELEMENTS;
  #marks: Int32Array = NOTHING;
  #epoch = 0;
  /** What no other element takes ("*"). */
  catchAll: Element | null = null;
  size = 0;

  constructor(fields: readonly number[], sorted: boolean) {
    this.#fields = fields;
    this.#words = fields.reduce((n, words) => n + words, 0);
    this.#sorted = sorted;
  }

  /** The element that holds the key at `at`, whether its time is over or not; the catch-all is not looked at. */
  find(regs: Int32Array, at: number): Element | null {
    if (this.#sorted) return this.#findRange(regs, at);
    if (this.#list.length > 0) {
      const index = this.#indexOf(regs, at);
      if (index >= 0) return this.#list[index] as Element;
    }
    for (let i = 0; i < this.#wide.length; i++) {
      const e = this.#wide[i] as Element;
      if (within(e, this.#fields, regs, at)) return e;
    }
    return null;
  }

  /**
   * The place of a single key in a hash, where whoever walks may keep a number (`marks`) until the element goes; -1 for a
   * key that is not there, -2 where there is no such hash.
   */
  place(regs: Int32Array, at: number): number {
    if (this.#sorted || this.#slots === NOTHING || this.#wide.length > 0) return -2;
    const slot = this.#slotOf(regs, at);
    return slot < 0 ? -1 : (this.#slots[slot] as number) - 1;
  }

  at(place: number): Element {
    return this.#list[place] as Element;
  }

  /** Numbers by place, 0 for none, those of an earlier epoch forgotten. */
  marks(epoch: number): Int32Array {
    if (this.#epoch !== epoch || this.#marks.length < this.#list.length) {
      const marks = new Int32Array(Math.max(MIN_SLOTS, this.#keys.length / this.#words));
      if (this.#epoch === epoch) marks.set(this.#marks);
      this.#marks = marks;
      this.#epoch = epoch;
    }
    return this.#marks;
  }

  /** The element of exactly this key or range. */
  get(key: Value, end: Value | null): Element | null {
    if (end === null && !this.#sorted) {
      if (this.#list.length === 0) return null;
      const index = this.#indexOf(laid(key), 0);
      return index < 0 ? null : (this.#list[index] as Element);
    }
    const last = end ?? key;
    const found = this.#sorted
      ? this.#ranges[this.#rank(key)]
      : this.#wide.find((e) => compareValues(e.key, key) === 0 && compareValues(e.end ?? e.key, last) === 0);
    if (found === undefined) return null;
    return compareValues(found.key, key) === 0 && compareValues(found.end ?? found.key, last) === 0 ? found : null;
  }

  /** Elements of a sorted set that a range meets. */
  overlapping(key: Value, end: Value | null): readonly Element[] {
    const last = end ?? key;
    const out: Element[] = [];
    for (let i = Math.max(0, this.#rank(key)); i < this.#ranges.length; i++) {
      const e = this.#ranges[i] as Element;
      if (compareValues(e.key, last) > 0) break;
      if (compareValues(e.end ?? e.key, key) >= 0) out.push(e);
    }
    return out;
  }

  /** The element must not be there yet. */
  add(e: Element): void {
    this.size++;
    if (this.#sorted) {
      if (this.#ranges === NO_ELEMENTS) this.#ranges = [];
      const at = this.#rank(e.key) + 1;
      if (at === this.#ranges.length) this.#ranges.push(e);
      else this.#ranges.splice(at, 0, e);
      return;
    }
    if (e.end !== null) {
      if (this.#wide === NO_ELEMENTS) this.#wide = [];
      this.#wide.push(e);
      return;
    }
    if (this.#slots === NOTHING && this.#list.length < SMALL) {
      // without room for more: a set in a rule gets its elements once
      this.#list = this.#list.toSpliced(this.#list.length, 0, e);
      return;
    }
    if (this.#slots === NOTHING) this.#hashAll();
    if ((this.#used + 1) * 2 > this.#slots.length) this.#rehash();
    const at = this.#spare.pop() ?? this.#list.length;
    this.#list[at] = e;
    if (at < this.#marks.length) this.#marks[at] = 0;
    const words = this.#words;
    if ((at + 1) * words > this.#keys.length) {
      const more = new Int32Array(this.#keys.length * 2);
      more.set(this.#keys);
      this.#keys = more;
    }
    for (let i = 0; i < words; i++) this.#keys[at * words + i] = e.key[i] as number;
    this.#place(at);
  }

  remove(e: Element): void {
    this.size--;
    if (this.#sorted) {
      this.#ranges.splice(this.#rank(e.key), 1);
      return;
    }
    if (e.end !== null) {
      this.#wide.splice(this.#wide.indexOf(e), 1);
      return;
    }
    if (this.#slots === NOTHING) {
      this.#list.splice(this.#list.indexOf(e), 1);
      return;
    }
    const slot = this.#slotOf(laid(e.key), 0);
    const at = (this.#slots[slot] as number) - 1;
    this.#slots[slot] = GONE;
    this.#list[at] = null;
    if (at < this.#marks.length) this.#marks[at] = 0;
    if (this.#spare === NO_NUMBERS) this.#spare = [];
    this.#spare.push(at);
  }

  clear(): void {
    this.#slots = NOTHING;
    this.#keys = NOTHING;
    this.#marks = NOTHING;
    this.#epoch = 0;
    this.#used = 0;
    this.#list = NO_ELEMENTS;
    this.#spare = NO_NUMBERS;
    this.#ranges = NO_ELEMENTS;
    this.#wide = NO_ELEMENTS;
    this.catchAll = null;
    this.size = 0;
  }

  /** All but the catch-all. */
  *[Symbol.iterator](): IterableIterator<Element> {
    for (const e of this.#list) if (e !== null) yield e;
    yield* this.#ranges;
    yield* this.#wide;
  }

  /** Where the single key stands in the list; -1 if it does not. */
  #indexOf(regs: Int32Array, at: number): number {
    if (this.#slots !== NOTHING) {
      const slot = this.#slotOf(regs, at);
      return slot < 0 ? -1 : (this.#slots[slot] as number) - 1;
    }
    for (let i = 0; i < this.#list.length; i++) if (compareAt((this.#list[i] as Element).key, regs, at) === 0) return i;
    return -1;
  }

  /** From a short list to a hash. */
  #hashAll(): void {
    const words = this.#words;
    this.#keys = new Int32Array(MIN_SLOTS * words);
    for (const [at, e] of this.#list.entries())
      for (let i = 0; i < words; i++) this.#keys[at * words + i] = (e as Element).key[i] as number;
    this.#rehash();
  }

  #slotOf(regs: Int32Array, at: number): number {
    const words = this.#words;
    const keys = this.#keys;
    for (let slot = hash(regs, at, words) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const entry = this.#slots[slot] as number;
      if (entry === FREE) return -1;
      if (entry === GONE) continue;
      const from = (entry - 1) * words;
      let i = 0;
      while (i < words && keys[from + i] === regs[at + i]) i++;
      if (i === words) return slot;
    }
  }

  #place(at: number): void {
    let slot = hash(this.#keys, at * this.#words, this.#words) & this.#mask;
    while (this.#slots[slot] !== FREE) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = at + 1;
    this.#used++;
  }

  #rehash(): void {
    let slots = MIN_SLOTS;
    const live = this.#list.length - this.#spare.length;
    while (slots < (live + 1) * 4) slots *= 2;
    this.#slots = new Int32Array(slots);
    this.#mask = slots - 1;
    this.#used = 0;
    for (let at = 0; at < this.#list.length; at++) if (this.#list[at] !== null) this.#place(at);
  }

  /** The last range that begins at the key or before; -1 if there is none. */
  #rank(key: Value): number {
    let lo = 0;
    let hi = this.#ranges.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (compareValues((this.#ranges[mid] as Element).key, key) <= 0) lo = mid + 1;
      else hi = mid;
    }
    return lo - 1;
  }

  #findRange(regs: Int32Array, at: number): Element | null {
    let lo = 0;
    let hi = this.#ranges.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (compareAt((this.#ranges[mid] as Element).key, regs, at) <= 0) lo = mid + 1;
      else hi = mid;
    }
    if (lo === 0) return null;
    const e = this.#ranges[lo - 1] as Element;
    return compareAt(e.end ?? e.key, regs, at) >= 0 ? e : null;
  }
}

let registers: Int32Array = new Int32Array(16);

/** A key as a packet would leave it in registers. The next key goes there too. */
function laid(key: Value): Int32Array {
  if (key.length > registers.length) registers = new Int32Array(key.length);
  for (let i = 0; i < key.length; i++) registers[i] = key[i] as number;
  return registers;
}

function hash(words: Int32Array, at: number, count: number): number {
  let h = 0x9747b28c;
  for (let i = 0; i < count; i++) {
    const k = Math.imul(words[at + i] as number, 0xcc9e2d51);
    h ^= Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** The order of a value and of the registers, as `compareValues`. */
export function compareAt(value: Value, regs: Int32Array, at: number): number {
  return fieldOrder(value, regs, at, 0, value.length);
}

/** Whether each field is in its range. */
function within(e: Element, fields: readonly number[], regs: Int32Array, at: number): boolean {
  const end = e.end as Value;
  let from = 0;
  for (let f = 0; f < fields.length; f++) {
    const words = fields[f] as number;
    if (fieldOrder(e.key, regs, at, from, words) > 0 || fieldOrder(end, regs, at, from, words) < 0) return false;
    from += words;
  }
  return true;
}

/** The order of a field of a value and of the registers. */
function fieldOrder(value: Value, regs: Int32Array, at: number, from: number, words: number): number {
  for (let i = from; i < from + words; i++) {
    const a = (value[i] as number) >>> 0;
    const b = (regs[at + i] as number) >>> 0;
    if (a !== b) return a < b ? -1 : 1;
  }
  return 0;
}
