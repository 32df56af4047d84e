/**
 * Which rules of a chain could match a packet, found by hash. A rule belongs to one group, by what it asks of the packet
 * exactly: addresses under a mask, networks of IPv6, protocol, ports, interfaces, bits of the mark. In each group the rules are chained by a
 * hash of what they ask; the rules that ask nothing of the kind are the residue, in their order. A lookup gives a superset
 * of the rules that match, in ascending order; the walk (`evaluate-indexed.ts`) asks each of them whole.
 *
 * Only what no rule of a walk changes is a key, but for the mark, which the walk looks up again when it changed. A match
 * counts as a key only where those before it remember nothing and cannot drop the packet: to skip the rule must be to fail
 * it. Left out: membership in sets, which change without the chain; lists of ports.
 */
import { u16 } from "../wire/bytes.ts";
import { network6Key, network6Of } from "../wire/ip-key.ts";
import type { Network6 } from "./address.ts";
import { hasPorts } from "./match/ports.ts";
import type { Match } from "./match/registry.ts";
import type { NfPacket } from "./packet.ts";
import { RecordStore } from "./record-store.ts";
import { type Chain, INV_DST, INV_IN, INV_OUT, INV_PROTO, INV_SRC, type Rule } from "./rules.ts";

/** Groups of a chain, the residue among them. */
export const GROUPS_MAX = 8;
/** A group of fewer rules is not worth a lookup. */
const GROUP_MIN = 4;
/** What ends a list. */
const END = 0x7fffffff;

/** What the rules of a group ask. */
type Shape = {
  readonly dstMask: number;
  readonly srcMask: number;
  /** Prefix lengths of networks of IPv6, 0 for none; a whole address of it is one under a mask, by its key. */
  readonly dstLen: number;
  readonly srcLen: number;
  readonly proto: boolean;
  readonly dport: boolean;
  readonly sport: boolean;
  readonly input: boolean;
  readonly output: boolean;
  readonly markMask: number;
};

const ANYTHING: Shape = {
  dstMask: 0,
  srcMask: 0,
  dstLen: 0,
  srcLen: 0,
  proto: false,
  dport: false,
  sport: false,
  input: false,
  output: false,
  markMask: 0,
};

/** What one rule asks; fields that its shape does not have are 0. */
type Asked = {
  readonly shape: Shape;
  readonly dport: number;
  readonly sport: number;
  readonly mark: number;
};

/** Matches that neither remember anything nor drop a packet whose header is whole. */
function isPure(m: Match): boolean {
  switch (m.kind) {
    case "mark":
    case "connmark":
    case "conntrack":
    case "state":
    case "addrtype":
    case "set":
    case "dscp":
    case "length":
    case "mac":
    case "owner":
    case "physdev":
    case "pkttype":
    case "ttl":
    case "hl":
    case "iprange":
    case "udp":
    case "sctp":
    case "multiport":
      return true;
    case "tcp":
      return m.option === 0;
    default:
      return false;
  }
}

function exact(name: string): boolean {
  return name !== "" && !name.endsWith("+");
}

function askedOf(r: Rule): Asked {
  const not = r.invert;
  let dport = -1;
  let sport = -1;
  let mark = 0;
  let markMask = 0;
  for (const m of r.asked) {
    if (m.kind === "tcp" || m.kind === "udp" || m.kind === "sctp") {
      if (m.dport !== null && !m.notDport && m.dport.min === m.dport.max) dport = m.dport.min;
      if (m.sport !== null && !m.notSport && m.sport.min === m.sport.max) sport = m.sport.min;
    } else if (m.kind === "multiport") {
      const [only, more] = m.ports;
      if (only !== undefined && more === undefined && !m.not && only.min === only.max) {
        if (m.side === "--dports") dport = only.min;
        else if (m.side === "--sports") sport = only.min;
      }
    } else if (m.kind === "mark" && !m.not && markMask === 0) {
      mark = m.value | 0;
      markMask = m.mask | 0;
    }
    if (!isPure(m)) break;
  }
  return {
    dport,
    sport,
    mark,
    shape: {
      dstMask: (not & INV_DST) === 0 ? r.dstMask | 0 : 0,
      srcMask: (not & INV_SRC) === 0 ? r.srcMask | 0 : 0,
      dstLen: r.six === null || r.six.notDst ? 0 : lenOf(r.six.dst),
      srcLen: r.six === null || r.six.notSrc ? 0 : lenOf(r.six.src),
      proto: r.proto !== 0 && (not & INV_PROTO) === 0,
      dport: dport >= 0,
      sport: sport >= 0,
      input: exact(r.input) && (not & INV_IN) === 0,
      output: exact(r.output) && (not & INV_OUT) === 0,
      markMask,
    },
  };
}

/** 0 for what is no prefix. */
function lenOf(network: Network6 | null): number {
  return network === null || network.mask !== null ? 0 : network.len;
}

function nameOf(s: Shape): string {
  return [s.dstMask, s.srcMask, s.dstLen, s.srcLen, s.proto, s.dport, s.sport, s.input, s.output, s.markMask].join();
}

const NOTHING = nameOf(ANYTHING);

/** Whether all that `part` asks is asked by `whole` too. */
function within(part: Shape, whole: Shape): boolean {
  return (
    (part.dstMask & whole.dstMask) === part.dstMask &&
    (part.srcMask & whole.srcMask) === part.srcMask &&
    part.dstLen <= whole.dstLen &&
    part.srcLen <= whole.srcLen &&
    (part.markMask & whole.markMask) === part.markMask &&
    (!part.proto || whole.proto) &&
    (!part.dport || whole.dport) &&
    (!part.sport || whole.sport) &&
    (!part.input || whole.input) &&
    (!part.output || whole.output)
  );
}

/** The parts of a shape that can be a group of their own, the telling ones first. */
function partsOf(s: Shape): Shape[] {
  const parts: Shape[] = [];
  if (s.dstMask !== 0) parts.push({ ...ANYTHING, dstMask: s.dstMask });
  if (s.dstLen !== 0) parts.push({ ...ANYTHING, dstLen: s.dstLen });
  if (s.dport) parts.push({ ...ANYTHING, proto: true, dport: true });
  if (s.output) parts.push({ ...ANYTHING, output: true });
  if (s.input) parts.push({ ...ANYTHING, input: true });
  if (s.srcMask !== 0) parts.push({ ...ANYTHING, srcMask: s.srcMask });
  if (s.srcLen !== 0) parts.push({ ...ANYTHING, srcLen: s.srcLen });
  if (s.sport) parts.push({ ...ANYTHING, proto: true, sport: true });
  if (s.markMask !== 0) parts.push({ ...ANYTHING, markMask: s.markMask });
  if (s.proto) parts.push({ ...ANYTHING, proto: true });
  return parts;
}

/** Rules of one shape, by a hash of what they ask. */
class Group {
  readonly shape: Shape;
  readonly ports: boolean;
  readonly devs: boolean;
  readonly networks: boolean;
  /** The first rule of each slot, END where there is none; the number of slots is a power of two. */
  heads: Int32Array;
  /** How many rules it has. */
  count: number;

  constructor(shape: Shape, heads: Int32Array = EMPTY, count = 0) {
    this.shape = shape;
    this.heads = heads;
    this.count = count;
    this.ports = shape.dport || shape.sport;
    this.devs = shape.input || shape.output;
    this.networks = shape.dstLen !== 0 || shape.srcLen !== 0;
  }
}

const EMPTY: Int32Array = new Int32Array([END]);

function mix(h: number, value: number): number {
  const k = Math.imul(h ^ value, 0x9e3779b1);
  return k ^ (k >>> 15);
}

/** How many slots a group of so many rules has. The residue is one list. */
function slots({ shape, count }: Group): number {
  let size = 1;
  if (shape !== ANYTHING) while (size < count * 2) size *= 2;
  return size;
}

/** Rules are put in their places in a copy up to so many; for more, all lists are made anew. */
const FEW = 16;

/** What the index has of each rule: the hash of what it asks in its group, the next rule of its slot, its record, its group. */
const ENTRY = 4;
const KEY = 0;
const NEXT = 1;
const WHERE = 2;
const GROUP = 3;
/** The store may hold so many times the records of the rules that are there. */
const WASTE = 2;

/** A walk's place in a chain is its `cursors`: for each group the next rule that could match. */
export class ChainIndex {
  /** The residue is the first. */
  readonly groups: readonly Group[];
  /** Whether a group asks for the mark. */
  readonly marked: boolean;
  /** Numbers for the interfaces that rules name. */
  readonly #names: Map<string, number>;
  readonly #entries: Int32Array;
  readonly #store: RecordStore;

  constructor(groups: readonly Group[], names: Map<string, number>, entries: Int32Array, store: RecordStore) {
    this.groups = groups;
    this.#names = names;
    this.#entries = entries;
    this.#store = store;
    this.marked = groups.some((g) => g.shape.markMask !== 0);
  }

  /** The rules' records, and where in them that of one rule is. */
  get records(): Int32Array {
    return this.#store.words;
  }

  recordOf(rule: number): number {
    return this.#entries[rule * ENTRY + WHERE] as number;
  }

  /** Writes what is to be known of a rule, but for the next rule of its slot. */
  enterRule(rule: number, r: Rule, asked: Asked, g: number): void {
    const e = this.#entries;
    const at = rule * ENTRY;
    const group = this.groups[g] as Group;
    group.count++;
    e[at + KEY] = hashOf(group, r, asked, this.#names);
    e[at + WHERE] = this.#store.add(r);
    e[at + GROUP] = g;
  }

  /** Makes all lists of rules. The groups know how many rules they have. */
  link(): void {
    const { groups } = this;
    const e = this.#entries;
    for (const g of groups) g.heads = new Int32Array(slots(g)).fill(END);
    for (let at = e.length - ENTRY; at >= 0; at -= ENTRY) {
      const { heads } = groups[e[at + GROUP] as number] as Group;
      const slot = (e[at + KEY] as number) & (heads.length - 1);
      e[at + NEXT] = heads[slot] as number;
      heads[slot] = at / ENTRY;
    }
  }

  /** Takes over the lists of another index, which has `removed` rules at `at` where this one has `added` new ones. */
  #relink(before: ChainIndex, at: number, removed: number, added: number): void {
    const old = before.#entries;
    const change = { at, edge: at + removed, by: added - removed };
    moveNext(this.#entries, old, change);
    for (const [g, { heads }] of before.groups.entries())
      moveHeads((this.groups[g] as Group).heads, heads, old, change);
    for (let i = at; i < at + added; i++) this.#insert(i);
  }

  /** Puts a rule in the list of its slot, whose other rules stand there in order. */
  #insert(rule: number): void {
    const e = this.#entries;
    const { heads } = this.groups[e[rule * ENTRY + GROUP] as number] as Group;
    const slot = (e[rule * ENTRY + KEY] as number) & (heads.length - 1);
    let last = -1;
    let i = heads[slot] as number;
    while (i < rule) {
      last = i;
      i = e[i * ENTRY + NEXT] as number;
    }
    e[rule * ENTRY + NEXT] = i;
    if (last < 0) heads[slot] = rule;
    else e[last * ENTRY + NEXT] = rule;
  }

  /** Sets the cursors of a packet that enters the chain; `at` is where they begin. */
  enter(p: NfPacket, cursors: Int32Array, at: number): void {
    const { groups } = this;
    cursors[at] = (groups[0] as Group).heads[0] as number;
    for (let g = 1; g < groups.length; g++) cursors[at + g] = this.#first(groups[g] as Group, p, -1);
  }

  /** Looks up again what asks for the mark, behind rule `last`. */
  marksAgain(p: NfPacket, cursors: Int32Array, at: number, last: number): void {
    const { groups } = this;
    for (let g = 1; g < groups.length; g++) {
      const group = groups[g] as Group;
      if (group.shape.markMask !== 0) cursors[at + g] = this.#first(group, p, last);
    }
  }

  /** Takes the next rule that could match, END where there is none. */
  next(cursors: Int32Array, at: number): number {
    const end = at + this.groups.length;
    let from = at;
    let rule = cursors[at] as number;
    for (let c = at + 1; c < end; c++) {
      const other = cursors[c] as number;
      if (other < rule) {
        rule = other;
        from = c;
      }
    }
    if (rule !== END) cursors[from] = this.#after(rule);
    return rule;
  }

  #after(rule: number): number {
    const e = this.#entries;
    const wanted = e[rule * ENTRY + KEY] as number;
    let i = e[rule * ENTRY + NEXT] as number;
    while (i !== END && e[i * ENTRY + KEY] !== wanted) i = e[i * ENTRY + NEXT] as number;
    return i;
  }

  #first(group: Group, p: NfPacket, last: number): number {
    const e = this.#entries;
    const wanted = this.#hash(group, p);
    const { heads } = group;
    let i = heads[wanted & (heads.length - 1)] as number;
    while (i !== END && (i <= last || e[i * ENTRY + KEY] !== wanted)) i = e[i * ENTRY + NEXT] as number;
    return i;
  }

  #hash(group: Group, p: NfPacket): number {
    const s = group.shape;
    let h = mix(mix(p.dst & s.dstMask, p.src & s.srcMask), s.proto ? p.proto : 0);
    if (group.ports) {
      const b = p.b;
      const th = p.transport;
      h = mix(h, hasPorts(p.proto) ? ((s.sport ? u16(b, th) : 0) << 16) | (s.dport ? u16(b, th + 2) : 0) : 0);
    }
    if (group.networks) {
      // 0 where no rule ever named that network
      if (s.dstLen !== 0) h = mix(h, network6Key(p.dst, s.dstLen));
      if (s.srcLen !== 0) h = mix(h, network6Key(p.src, s.srcLen));
    }
    if (group.devs) {
      if (s.input) h = mix(h, this.#names.get(p.input?.name ?? "") ?? 0);
      if (s.output) h = mix(h, this.#names.get(p.output?.name ?? "") ?? 0);
    }
    return s.markMask === 0 ? h : mix(h, p.skb.mark & s.markMask);
  }

  /** The index of a chain that has `added` in place of `removed` rules at `at`; null: it is to be built anew. */
  edited(at: number, removed: number, added: readonly Rule[]): ChainIndex | null {
    const old = this.#entries;
    const before = old.length / ENTRY;
    const length = before - removed + added.length;
    if ((removed + added.length) * 4 > before || this.#store.count > length * WASTE) return null;
    const groups = this.groups.map((g) => new Group(g.shape, new Int32Array(g.heads.length), g.count));
    for (let i = at; i < at + removed; i++) (groups[old[i * ENTRY + GROUP] as number] as Group).count--;
    const entries = new Int32Array(length * ENTRY);
    entries.set(old.subarray(0, at * ENTRY));
    entries.set(old.subarray((at + removed) * ENTRY), (at + added.length) * ENTRY);
    const index = new ChainIndex(groups, this.#names, entries, this.#store);
    for (const [i, rule] of added.entries()) {
      const asked = askedOf(rule);
      const g = placeIn(groups, asked.shape);
      // A kind of rule that the chain did not have: the groups may be others now.
      if (g === 0 && nameOf(asked.shape) !== NOTHING) return null;
      index.enterRule(at + i, rule, asked, g);
    }
    if (added.length <= FEW && groups.every((g) => slots(g) === g.heads.length))
      index.#relink(this, at, removed, added.length);
    else index.link();
    return index;
  }
}

/** Rules from `at` to before `edge` are gone, and those from `edge` on stand elsewhere by `by`. */
type Change = { readonly at: number; readonly edge: number; readonly by: number };

/** Where the places behind a change stand now, in the entries of all rules. */
function moveNext(entries: Int32Array, old: Int32Array, { at, edge, by }: Change): void {
  for (let i = NEXT; i < entries.length; i += ENTRY) {
    const place = entries[i] as number;
    if (place >= at && place !== END) entries[i] = moved(place, old, edge, by);
  }
}

function moveHeads(heads: Int32Array, oldHeads: Int32Array, old: Int32Array, { at, edge, by }: Change): void {
  for (let i = 0; i < heads.length; i++) {
    const place = oldHeads[i] as number;
    heads[i] = place >= at && place !== END ? moved(place, old, edge, by) : place;
  }
}

/** Of a rule that is gone, the next of its slot that is not. */
function moved(place: number, old: Int32Array, edge: number, by: number): number {
  let rule = place;
  while (rule < edge) rule = old[rule * ENTRY + NEXT] as number;
  return rule === END ? END : rule + by;
}

/** The same hash of a rule as `#hash` of the packets that it takes. The residue is one list. */
function hashOf(group: Group, r: Rule, asked: Asked, names: Map<string, number>): number {
  const s = group.shape;
  if (s === ANYTHING) return 0;
  let h = mix(mix(r.dst & s.dstMask, r.src & s.srcMask), s.proto ? r.proto : 0);
  if (group.ports) h = mix(h, ((s.sport ? asked.sport : 0) << 16) | (s.dport ? asked.dport : 0));
  if (s.dstLen !== 0) h = mix(h, networkIn(r.six?.dst, s.dstLen));
  if (s.srcLen !== 0) h = mix(h, networkIn(r.six?.src, s.srcLen));
  if (s.input) h = mix(h, number(names, r.input));
  if (s.output) h = mix(h, number(names, r.output));
  return s.markMask === 0 ? h : mix(h, asked.mark & s.markMask);
}

/** The key of the network of `len` bits that a rule's network is in. */
function networkIn(network: Network6 | null | undefined, len: number): number {
  return network === null || network === undefined ? 0 : network6Of(network.key, len);
}

function number(names: Map<string, number>, name: string): number {
  const known = names.get(name);
  if (known !== undefined) return known;
  names.set(name, names.size + 1);
  return names.size;
}

/** The group that takes rules of a shape: the one that asks the most of what they ask. */
function placeIn(groups: readonly Group[], shape: Shape): number {
  let best = 0;
  for (let g = 1; g < groups.length; g++) {
    const { shape: s } = groups[g] as Group;
    if (within(s, shape) && (best === 0 || within((groups[best] as Group).shape, s))) best = g;
  }
  return best;
}

/** The chain's index, made when the first packet meets the chain; null: it is walked rule by rule. */
export function indexOf(chain: Chain): ChainIndex | null {
  let index = chain.index;
  if (index === undefined) {
    index = buildIndex(chain.rules);
    chain.index = index;
  }
  return index;
}

/** Null where no rule asks anything that tells packets apart. */
function buildIndex(rules: readonly Rule[]): ChainIndex | null {
  const asked = rules.map(askedOf);
  const shapes = chooseShapes(asked);
  if (shapes.length === 0) return null;
  const groups = [ANYTHING, ...shapes].map((shape) => new Group(shape));
  const places = new Map<string, number>();
  const entries = new Int32Array(rules.length * ENTRY);
  const index = new ChainIndex(groups, new Map(), entries, new RecordStore(rules.length));
  for (const [i, rule] of rules.entries()) {
    const a = asked[i] as Asked;
    const name = nameOf(a.shape);
    let g = places.get(name);
    if (g === undefined) {
      g = placeIn(groups, a.shape);
      places.set(name, g);
    }
    index.enterRule(i, rule, a, g);
  }
  index.link();
  return index;
}

/** Whole shapes that many rules have, then parts of shapes that many of the rest have. */
function chooseShapes(asked: readonly Asked[]): Shape[] {
  let rest = countShapes(asked);
  const chosen: Shape[] = [];
  const take = (shape: Shape): void => {
    chosen.push(shape);
    rest = rest.filter((c) => !within(shape, c.shape));
  };
  while (chosen.length < GROUPS_MAX - 1) {
    let best: Count | null = null;
    for (const c of rest) if (best === null || c.count > best.count) best = c;
    if (best !== null && best.count >= GROUP_MIN) {
      take(best.shape);
      continue;
    }
    const parts = new Map<string, Count>();
    for (const { shape, count } of rest) for (const part of partsOf(shape)) add(parts, part, count);
    best = null;
    for (const c of parts.values()) if (best === null || c.count > best.count) best = c;
    if (best === null || best.count < GROUP_MIN) break;
    take(best.shape);
  }
  return chosen;
}

type Count = { readonly shape: Shape; count: number };

function add(counts: Map<string, Count>, shape: Shape, count: number): void {
  const name = nameOf(shape);
  const known = counts.get(name);
  if (known !== undefined) known.count += count;
  else counts.set(name, { shape, count });
}

function countShapes(asked: readonly Asked[]): Count[] {
  const counts = new Map<string, Count>();
  for (const { shape } of asked) add(counts, shape, 1);
  counts.delete(NOTHING);
  return [...counts.values()];
}
