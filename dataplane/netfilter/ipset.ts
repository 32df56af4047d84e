/**
 * ipsets (net/netfilter/ipset/): hash:ip, hash:net, hash:ip,port, hash:net,port, hash:ip,port,ip, hash:ip,port,net,
 * bitmap:port and list:set, with timeouts and comments. Each lookup is one hash probe for each prefix length in use, as in
 * the kernel. Sizes of hash tables are carried along for the text and mean nothing here. Left out: nomatch entries,
 * counters, skbinfo, marks, MACs, interfaces, IPv6.
 */
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { maskOf } from "../wire/prefix.ts";
import { parseProtocol, protocolText } from "./services.ts";

export type SetType =
  | "hash:ip"
  | "hash:net"
  | "hash:ip,port"
  | "hash:net,port"
  | "hash:ip,port,ip"
  | "hash:ip,port,net"
  | "bitmap:port"
  | "list:set";
export const SET_TYPES: readonly SetType[] = [
  "hash:ip",
  "hash:net",
  "hash:ip,port",
  "hash:net,port",
  "hash:ip,port,ip",
  "hash:ip,port,net",
  "bitmap:port",
  "list:set",
];

/** What create(8) options say; those that are absent take ipset's defaults. */
export type SetOptions = {
  /** The rest of the line as `ipset save` prints it: "family inet hashsize 1024 maxelem 65536". */
  readonly text?: string;
  /** Seconds that entries live unless they say otherwise; absent: there are no timeouts. */
  readonly timeout?: number;
  readonly comment?: boolean;
  readonly maxelem?: number;
  readonly from?: number;
  readonly to?: number;
};

/** What an entry carries: a comment, and when it ends in milliseconds of virtual time (0: never). */
export type EntryData = { readonly comment: string; readonly expires: number };
/** What most carry: nothing, for ever. */
export const PLAIN: EntryData = { comment: "", expires: 0 };

type Leaf = Map<number, EntryData>;

/** An element, parsed. `key`: `(protocol << 16 | port) << 6 | prefix length`. */
export type Element = { readonly key: number; readonly a: number; readonly b: number };

const MAX_EXPANSION = 65536;

export class IpSet {
  readonly name: string;
  readonly type: SetType;
  readonly options: SetOptions;
  /** How many words `-m set` needs for it. */
  readonly dimensions: number;
  /** Elements with one address (or a port alone): by key, then address. */
  readonly #flat: Map<number, Leaf> = new Map();
  /** Elements with two addresses: by key, then the first, then the second. */
  readonly #deep: Map<number, Map<number, Leaf>> = new Map();
  /** How many elements have each prefix length. */
  readonly #lens: number[] = new Array<number>(33).fill(0);
  /** list:set: its members, in order. */
  readonly members: IpSet[] = [];
  /** Lists that hold this set: it cannot be destroyed while there are any. */
  holders = 0;
  size = 0;

  constructor(name: string, type: SetType, options: SetOptions = {}) {
    this.name = name;
    this.type = type;
    this.dimensions = type.split(",").length;
    this.options = options;
  }

  /** The elements that a text means (a range of ports is several); null for text that does not fit the type. */
  parse(entry: string): readonly Element[] | null {
    const parts = entry.split(",");
    if (this.type === "bitmap:port") {
      const ports = parts.length === 1 ? portRange(stripProto(parts[0] ?? ""), "-") : null;
      const { from = 0, to = 0xffff } = this.options;
      if (ports === null || ports[0] < from || ports[1] > to) return null;
      return range(ports[0], ports[1]).map((port) => ({ key: 0, a: port, b: 0 }));
    }
    if (parts.length !== this.dimensions || this.type === "list:set") return null;
    const first = address(parts[0] ?? "", this.type === "hash:net" || this.type === "hash:net,port");
    if (first === null) return null;
    if (parts.length === 1) return [{ key: first.len, a: first.addr, b: 0 }];
    const service = (parts[1] ?? "").split(":");
    const proto = service.length === 1 ? ipv4.PROTO_TCP : parseProtocol(service[0] ?? "");
    const ports = portRange(service.length === 1 ? (service[0] ?? "") : service.slice(1).join(":"), "-");
    if (proto === undefined || ports === null) return null;
    const second = parts.length === 2 ? null : address(parts[2] ?? "", this.type === "hash:ip,port,net");
    if (parts.length === 3 && second === null) return null;
    const len = second?.len ?? first.len;
    return range(ports[0], ports[1]).map((port) => ({
      key: ((proto << 16) | port) * 64 + len,
      a: first.addr,
      b: second?.addr ?? 0,
    }));
  }

  /** Answers false for an entry that does not fit the type. */
  add(entry: string, data: EntryData = PLAIN): boolean {
    const elements = this.parse(entry);
    for (const e of elements ?? []) this.put(e, data);
    return elements !== null;
  }

  delete(entry: string): boolean {
    const elements = this.parse(entry);
    for (const e of elements ?? []) this.put(e, null);
    return elements !== null;
  }

  get(e: Element): EntryData | undefined {
    return this.#leaf(e)?.get(e.b * this.#deepness + e.a * (1 - this.#deepness));
  }

  /** Puts an element in, or with null takes it out. */
  put(e: Element, data: EntryData | null): void {
    const deep = this.#deepness === 1;
    const at = deep ? e.b : e.a;
    let leaf = this.#leaf(e);
    const known = leaf?.has(at) === true;
    if (data === null) {
      if (!known || leaf === undefined) return;
      leaf.delete(at);
      if (leaf.size === 0) {
        if (!deep) this.#flat.delete(e.key);
        else {
          const inner = this.#deep.get(e.key);
          inner?.delete(e.a);
          if (inner?.size === 0) this.#deep.delete(e.key);
        }
      }
      this.#count(e, -1);
      return;
    }
    if (leaf === undefined) {
      leaf = new Map();
      if (!deep) this.#flat.set(e.key, leaf);
      else {
        const inner = this.#deep.get(e.key) ?? new Map<number, Leaf>();
        inner.set(e.a, leaf);
        this.#deep.set(e.key, inner);
      }
    }
    leaf.set(at, data);
    if (!known) this.#count(e, 1);
  }

  get #deepness(): 0 | 1 {
    return this.type === "hash:ip,port,ip" || this.type === "hash:ip,port,net" ? 1 : 0;
  }

  #leaf(e: Element): Leaf | undefined {
    return this.#deepness === 1 ? this.#deep.get(e.key)?.get(e.a) : this.#flat.get(e.key);
  }

  #count(e: Element, by: number): void {
    const len = e.key % 64;
    this.#lens[len] = (this.#lens[len] ?? 0) + by;
    this.size += by;
  }

  /**
   * Whether it holds a packet's fields: the first address, `protocol << 16 | port`, the second address. Fields that the
   * type does not have are not looked at; bitmap:port looks at the port alone.
   */
  has(a: number, service: number, b: number, now: number): boolean {
    switch (this.type) {
      case "bitmap:port":
        return alive(this.#flat.get(0)?.get(service & 0xffff), now);
      case "hash:ip":
        return alive(this.#flat.get(32)?.get(a | 0), now);
      case "hash:ip,port":
        return alive(this.#flat.get(service * 64 + 32)?.get(a | 0), now);
      case "hash:ip,port,ip":
        return alive(
          this.#deep
            .get(service * 64 + 32)
            ?.get(a | 0)
            ?.get(b | 0),
          now,
        );
      case "hash:net":
      case "hash:net,port":
        for (let len = 32; len > 0; len--) {
          if (this.#lens[len] === 0) continue;
          const key = this.type === "hash:net" ? len : service * 64 + len;
          if (alive(this.#flat.get(key)?.get(a & maskOf(len)), now)) return true;
        }
        return false;
      case "hash:ip,port,net":
        for (let len = 32; len > 0; len--) {
          if (this.#lens[len] === 0) continue;
          const leaf = this.#deep.get(service * 64 + len)?.get(a | 0);
          if (alive(leaf?.get(b & maskOf(len)), now)) return true;
        }
        return false;
      default:
        return false;
    }
  }

  /** Every element with what it carries, expired ones left out. */
  *elements(now = 0): IterableIterator<readonly [Element, EntryData]> {
    for (const [key, leaf] of this.#flat)
      for (const [a, data] of leaf) if (alive(data, now)) yield [{ key, a, b: 0 }, data];
    for (const [key, inner] of this.#deep)
      for (const [a, leaf] of inner) for (const [b, data] of leaf) if (alive(data, now)) yield [{ key, a, b }, data];
  }

  /** An element as `ipset save` prints it. */
  format(e: Element): string {
    if (this.type === "bitmap:port") return String(e.a);
    const len = e.key % 64;
    const service = Math.floor(e.key / 64);
    const net = len === 32 ? "" : `/${len}`;
    const port = `,${protocolText(service >>> 16)}:${service & 0xffff}`;
    if (this.#deepness === 1) return `${formatIpv4(e.a)}${port},${formatIpv4(e.b)}${net}`;
    return `${formatIpv4(e.a)}${net}${this.dimensions === 1 ? "" : port}`;
  }

  /** Entries as `ipset save` prints them. */
  entries(now = 0): string[] {
    if (this.type === "list:set") return this.members.map((m) => m.name);
    return [...this.elements(now)].map(([e]) => this.format(e));
  }
}

function alive(data: EntryData | undefined, now: number): boolean {
  return data !== undefined && (data.expires === 0 || data.expires > now);
}

function address(text: string, net: boolean): { readonly addr: number; readonly len: number } | null {
  const slash = text.indexOf("/");
  const addr = parseIpv4(slash < 0 ? text : text.slice(0, slash));
  const len = slash < 0 ? 32 : /^[0-9]{1,2}$/.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : -1;
  if (addr === undefined || len < 1 || len > 32 || (!net && len !== 32)) return null;
  return { addr: addr & maskOf(len), len };
}

function stripProto(text: string): string {
  return text.slice(text.indexOf(":") + 1);
}

function portRange(text: string, dash: string): readonly [number, number] | null {
  const words = text.split(dash);
  if (words.length > 2 || words.some((w) => !/^[0-9]{1,5}$/.test(w))) return null;
  const from = Number(words[0]);
  const to = Number(words[1] ?? words[0]);
  return to > 0xffff || from > to ? null : [from, to];
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.min(to - from + 1, MAX_EXPANSION) }, (_, i) => from + i);
}

export class IpSets {
  readonly #sets: Map<string, IpSet> = new Map();
  /** Grows with each change of which set has which name. */
  generation = 1;

  /** A set of this name, made if it is not there. */
  create(name: string, type: SetType, options: SetOptions = {}): IpSet {
    const known = this.#sets.get(name);
    if (known !== undefined) return known;
    const set = new IpSet(name, type, options);
    this.put(set);
    return set;
  }

  /** Puts a set back under its name. */
  put(set: IpSet): void {
    this.generation++;
    this.#sets.set(set.name, set);
  }

  get(name: string): IpSet | undefined {
    return this.#sets.get(name);
  }

  delete(name: string): boolean {
    this.generation++;
    return this.#sets.delete(name);
  }

  all(): readonly IpSet[] {
    return [...this.#sets.values()];
  }
}
