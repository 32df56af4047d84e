/**
 * ipsets (net/netfilter/ipset/): hash:ip, hash:net, hash:ip,port, hash:net,port, hash:ip,port,ip, hash:ip,port,net,
 * bitmap:port and list:set, with timeouts and comments. Each lookup is one hash probe for each prefix length in use, as in
 * the kernel. A set holds addresses of one family. Sizes of hash tables are carried along for the text and mean nothing
 * here. Left out: nomatch entries, counters, skbinfo, marks, MACs, interfaces.
 */
import { formatIp, type IpKey, isKey6, key6, network6Key, octets6, parseIp } from "../wire/ip-key.ts";
import { maskOf, network6 } from "../wire/prefix.ts";
import { parsePorts, portRange, printPort } from "./ipset-port.ts";
import { PairTable } from "./pair-table.ts";

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
  /** Its addresses are of IPv6 (family inet6). */
  readonly six?: boolean;
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

/** An element, parsed. `service`: `protocol << 16 | port` (ipset-port.ts), 0 for none; `len`: its network's prefix length. */
export type Element = { readonly service: number; readonly len: number; readonly a: number; readonly b: number };

const WHOLE = 32;
const WHOLE6 = 128;

const MAX_EXPANSION = 65536;

export class IpSet {
  readonly name: string;
  readonly type: SetType;
  readonly options: SetOptions;
  /** How many words `-m set` needs for it. */
  readonly dimensions: number;
  /** Bits of an address. */
  readonly #whole: number;
  /** By prefix length, elements with one address (or a port alone): by service, then address. */
  readonly #flat: (Map<number, Leaf> | null)[];
  /** The same of elements with two addresses: by service, then the first, then the second. */
  readonly #deep: (Map<number, Map<number, Leaf>> | null)[];
  /** Of hash:ip and hash:ip,port: all elements, if none of them ever ends (null if one does); undefined until it is asked. */
  #quick: PairTable | null | undefined;
  /** How many elements have each prefix length. */
  readonly #lens: number[];
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
    this.#whole = options.six === true ? WHOLE6 : WHOLE;
    this.#flat = new Array<null>(this.#whole + 1).fill(null);
    this.#deep = new Array<null>(this.#whole + 1).fill(null);
    this.#lens = new Array<number>(this.#whole + 1).fill(0);
  }

  /** The elements that a text means (a range of ports is several); null for text that does not fit the type. */
  parse(entry: string): readonly Element[] | null {
    const parts = entry.split(",");
    if (this.type === "bitmap:port") {
      const ports = parts.length === 1 ? portRange(stripProto(parts[0] ?? "")) : null;
      const { from = 0, to = 0xffff } = this.options;
      if (ports === null || ports[0] < from || ports[1] > to) return null;
      return range(ports[0], ports[1]).map((port) => ({ service: 0, len: 0, a: port, b: 0 }));
    }
    if (parts.length !== this.dimensions || this.type === "list:set") return null;
    const first = this.#address(parts[0] ?? "", this.type === "hash:net" || this.type === "hash:net,port");
    if (first === null) return null;
    if (parts.length === 1) return [{ service: 0, len: first.len, a: first.addr, b: 0 }];
    const ports = parsePorts(parts[1] ?? "", this.#whole === WHOLE6);
    if (ports === null) return null;
    const second = parts.length === 2 ? null : this.#address(parts[2] ?? "", this.type === "hash:ip,port,net");
    if (parts.length === 3 && second === null) return null;
    const len = second?.len ?? first.len;
    return range(ports.from, ports.to).map((port) => ({
      service: (ports.proto << 16) | port,
      len,
      a: first.addr,
      b: second?.addr ?? 0,
    }));
  }

  #address(text: string, net: boolean): { readonly addr: number; readonly len: number } | null {
    const slash = text.indexOf("/");
    const addr = parseIp(slash < 0 ? text : text.slice(0, slash));
    const rest = slash < 0 ? String(this.#whole) : text.slice(slash + 1);
    const len = /^[0-9]{1,3}$/.test(rest) ? Number(rest) : -1;
    if (addr === undefined || isKey6(addr) !== (this.#whole === WHOLE6)) return null;
    if (len < 1 || len > this.#whole || (!net && len !== this.#whole)) return null;
    return { addr: networkOf(addr, len), len };
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
    if (known || data === null || data.expires !== 0) this.#quick = undefined;
    else this.#quick?.add(e.service, e.a);
    if (data === null) {
      if (!known || leaf === undefined) return;
      leaf.delete(at);
      if (leaf.size === 0) {
        if (!deep) this.#flat[e.len]?.delete(e.service);
        else {
          const inner = this.#deep[e.len]?.get(e.service);
          inner?.delete(e.a);
          if (inner?.size === 0) this.#deep[e.len]?.delete(e.service);
        }
      }
      this.#count(e, -1);
      return;
    }
    if (leaf === undefined) {
      leaf = new Map();
      if (!deep) {
        this.#flat[e.len] ??= new Map();
        this.#flat[e.len]?.set(e.service, leaf);
      } else {
        const services = this.#deep[e.len] ?? new Map<number, Map<number, Leaf>>();
        this.#deep[e.len] = services;
        const inner = services.get(e.service) ?? new Map<number, Leaf>();
        inner.set(e.a, leaf);
        services.set(e.service, inner);
      }
    }
    leaf.set(at, data);
    if (!known) this.#count(e, 1);
  }

  get #deepness(): 0 | 1 {
    return this.type === "hash:ip,port,ip" || this.type === "hash:ip,port,net" ? 1 : 0;
  }

  #leaf(e: Element): Leaf | undefined {
    if (this.#deepness === 1) return this.#deep[e.len]?.get(e.service)?.get(e.a);
    return this.#flat[e.len]?.get(e.service);
  }

  #count(e: Element, by: number): void {
    this.#lens[e.len] = (this.#lens[e.len] ?? 0) + by;
    this.size += by;
  }

  /**
   * Whether it holds a packet's fields: the first address, `protocol << 16 | port`, the second address. Fields that the
   * type does not have are not looked at; bitmap:port looks at the port alone.
   */
  has(a: number, service: number, b: number, now: number): boolean {
    const whole = this.#whole;
    if (this.type === "bitmap:port") return alive(this.#flat[0]?.get(0)?.get(service & 0xffff), now);
    if (isKey6(a) !== (whole === WHOLE6)) return false;
    switch (this.type) {
      case "hash:ip":
        return this.#hasAddress(a | 0, 0, now);
      case "hash:ip,port":
        return this.#hasAddress(a | 0, service, now);
      case "hash:ip,port,ip":
        return alive(
          this.#deep[whole]
            ?.get(service)
            ?.get(a | 0)
            ?.get(b | 0),
          now,
        );
      case "hash:net":
      case "hash:net,port":
        for (let len = whole; len > 0; len--) {
          if (this.#lens[len] === 0) continue;
          const leaf = this.#flat[len]?.get(this.type === "hash:net" ? 0 : service);
          if (alive(leaf?.get(within(a, len)), now)) return true;
        }
        return false;
      case "hash:ip,port,net":
        for (let len = whole; len > 0; len--) {
          if (this.#lens[len] === 0) continue;
          const leaf = this.#deep[len]?.get(service)?.get(a | 0);
          if (alive(leaf?.get(within(b, len)), now)) return true;
        }
        return false;
      default:
        return false;
    }
  }

  #hasAddress(a: number, service: number, now: number): boolean {
    const quick = this.#quick === undefined ? this.#makeQuick() : this.#quick;
    return quick === null ? alive(this.#flat[this.#whole]?.get(service)?.get(a), now) : quick.has(service, a);
  }

  #makeQuick(): PairTable | null {
    const made = new PairTable();
    this.#quick = made;
    for (const [service, leaf] of this.#flat[this.#whole] ?? [])
      for (const [a, data] of leaf) {
        if (data.expires !== 0) {
          this.#quick = null;
          return null;
        }
        made.add(service, a);
      }
    return made;
  }

  /** Every element with what it carries, expired ones left out. */
  *elements(now = 0): IterableIterator<readonly [Element, EntryData]> {
    for (const [len, services] of this.#flat.entries())
      for (const [service, leaf] of services ?? [])
        for (const [a, data] of leaf) if (alive(data, now)) yield [{ service, len, a, b: 0 }, data];
    for (const [len, services] of this.#deep.entries())
      for (const [service, inner] of services ?? [])
        for (const [a, leaf] of inner)
          for (const [b, data] of leaf) if (alive(data, now)) yield [{ service, len, a, b }, data];
  }

  /** An element as `ipset save` prints it. */
  format(e: Element): string {
    if (this.type === "bitmap:port") return String(e.a);
    const net = e.len === this.#whole ? "" : `/${e.len}`;
    const port = `,${printPort(e.service >>> 16, e.service & 0xffff)}`;
    if (this.#deepness === 1) return `${formatIp(e.a)}${port},${formatIp(e.b)}${net}`;
    return `${formatIp(e.a)}${net}${this.dimensions === 1 ? "" : port}`;
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

/** The network of an address, as elements hold it. */
function networkOf(addr: IpKey, len: number): number {
  return isKey6(addr) ? key6(network6({ addr: octets6(addr), len })) : addr & maskOf(len);
}

/** The same of a packet's address; 0 for a network of IPv6 that nobody named. */
function within(addr: number, len: number): number {
  return isKey6(addr) ? network6Key(addr, len) : addr & maskOf(len);
}

function stripProto(text: string): string {
  return text.slice(text.indexOf(":") + 1);
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
