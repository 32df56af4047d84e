/**
 * A small store of ipsets: hash:ip, hash:net and hash:ip,port, for `-m set`. Entries are what `ipset save` prints. Left
 * out: timeouts, counters, comments, the other types.
 */
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4, parseIpv4 } from "../wire/ipv4-addr.ts";
import { maskOf } from "../wire/prefix.ts";
import { parseProtocol, protocolText } from "./services.ts";

export type SetType = "hash:ip" | "hash:net" | "hash:ip,port";

export class IpSet {
  readonly name: string;
  readonly type: SetType;
  /** hash:ip: addresses. */
  readonly #addresses: Set<number> = new Set();
  /** hash:net: networks of each prefix length in use. */
  readonly #networks: Map<number, Set<number>> = new Map();
  /** hash:ip,port: addresses by `protocol << 16 | port`. */
  readonly #ports: Map<number, Set<number>> = new Map();

  constructor(name: string, type: SetType) {
    this.name = name;
    this.type = type;
  }

  /** Answers false for an entry that does not fit the type. */
  add(entry: string): boolean {
    return this.#change(entry, true);
  }

  delete(entry: string): boolean {
    return this.#change(entry, false);
  }

  #change(entry: string, on: boolean): boolean {
    const [addrText = "", portText] = entry.split(",");
    const slash = addrText.indexOf("/");
    const addr = parseIpv4(slash < 0 ? addrText : addrText.slice(0, slash));
    const len = slash < 0 ? 32 : Number(addrText.slice(slash + 1));
    if (addr === undefined || !(len >= 0 && len <= 32)) return false;
    if (this.type === "hash:net") {
      if (portText !== undefined || len === 0) return false;
      put(this.#networks, len, addr & maskOf(len), on);
      return true;
    }
    if (len !== 32) return false;
    if (this.type === "hash:ip") {
      if (portText !== undefined) return false;
      if (on) this.#addresses.add(addr | 0);
      else this.#addresses.delete(addr | 0);
      return true;
    }
    const at = (portText ?? "").indexOf(":");
    const proto = at < 0 ? ipv4.PROTO_TCP : parseProtocol((portText ?? "").slice(0, at));
    const port = Number((portText ?? "").slice(at + 1));
    if (portText === undefined || proto === undefined || !(port >= 0 && port <= 0xffff)) return false;
    put(this.#ports, (proto << 16) | port, addr | 0, on);
    return true;
  }

  /** `port` and `proto` count for hash:ip,port only. */
  has(addr: number, proto: number, port: number): boolean {
    if (this.type === "hash:ip") return this.#addresses.has(addr | 0);
    if (this.type === "hash:ip,port") return this.#ports.get((proto << 16) | port)?.has(addr | 0) ?? false;
    for (const [len, networks] of this.#networks) if (networks.has(addr & maskOf(len))) return true;
    return false;
  }

  /** Entries as `ipset save` prints them. */
  entries(): string[] {
    if (this.type === "hash:ip") return [...this.#addresses].map(formatIpv4);
    if (this.type === "hash:net") {
      return [...this.#networks].flatMap(([len, set]) =>
        [...set].map((a) => (len === 32 ? formatIpv4(a) : `${formatIpv4(a)}/${len}`)),
      );
    }
    return [...this.#ports].flatMap(([key, set]) =>
      [...set].map((a) => `${formatIpv4(a)},${protocolText(key >>> 16)}:${key & 0xffff}`),
    );
  }
}

function put(map: Map<number, Set<number>>, key: number, value: number, on: boolean): void {
  const set = map.get(key) ?? new Set();
  if (on) set.add(value);
  else set.delete(value);
  if (set.size === 0) map.delete(key);
  else map.set(key, set);
}

export class IpSets {
  readonly #sets: Map<string, IpSet> = new Map();

  /** A set of this name, made if it is not there. */
  create(name: string, type: SetType): IpSet {
    const known = this.#sets.get(name);
    if (known !== undefined) return known;
    const set = new IpSet(name, type);
    this.#sets.set(name, set);
    return set;
  }

  get(name: string): IpSet | undefined {
    return this.#sets.get(name);
  }

  delete(name: string): boolean {
    return this.#sets.delete(name);
  }

  all(): readonly IpSet[] {
    return [...this.#sets.values()];
  }
}
