/**
 * What a rule has told of its packets' protocols so far: nft refuses a rule that asks for two of one layer (its protocol
 * context, src/proto.c and payload.c). A set tells only by a single element: of more, nft goes by the order it holds them in.
 */
import { ETH_P_8021Q, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import { ETHER_TYPE, INET_PROTO } from "./datatype.ts";
import type { Key } from "./keys.ts";
import type { Family, Stmt } from "./model.ts";

/** enum of linux/netfilter.h. */
export const NFPROTO_IPV4 = 2;
export const NFPROTO_IPV6 = 10;

type Match = Extract<Stmt, { kind: "match" }>;
/** EtherType (0 none) and IP protocol (-1 none). */
type Told = { readonly l3: number; readonly l4: number };

const NOTHING: Told = { l3: 0, l4: -1 };

/** The protocol that a match of one value asks for. */
export function toldBy(s: Match): Told {
  if (s.op !== "==" || s.left.kind !== "key") return NOTHING;
  const value = onlyValue(s);
  if (value === undefined) return NOTHING;
  switch (s.left.key.text) {
    case "meta l4proto":
    case "ip protocol":
    case "ip6 nexthdr":
      return { l3: 0, l4: value };
    case "meta nfproto":
      return { l3: value === NFPROTO_IPV4 ? ETH_P_IP : value === NFPROTO_IPV6 ? ETH_P_IPV6 : 0, l4: -1 };
    case "meta protocol":
    case "ether type":
    case "vlan type":
      return { l3: value, l4: -1 };
    default:
      return NOTHING;
  }
}

function onlyValue(s: Match): number | undefined {
  if (s.right.kind === "value") return s.right.value[0];
  if (s.right.kind !== "set" || s.right.set.name !== "" || s.right.set.interval) return undefined;
  const [only, more] = s.right.set.elements;
  return more === undefined ? only?.key[0] : undefined;
}

export class Protocols {
  readonly #family: Family;
  #network: number;
  #transport = -1;

  constructor(family: Family) {
    this.#family = family;
    this.#network = family === "ip" ? ETH_P_IP : family === "ip6" ? ETH_P_IPV6 : family === "arp" ? ETH_P_ARP : 0;
  }

  /** EtherType; 0 where packets of any may come. */
  get network(): number {
    return this.#network;
  }

  /** IP protocol; -1 where packets of any may come. */
  get transport(): number {
    return this.#transport;
  }

  /** "ip" or "ip6"; "" where both may come. */
  get version(): "" | "ip" | "ip6" {
    return this.#network === ETH_P_IP ? "ip" : this.#network === ETH_P_IPV6 ? "ip6" : "";
  }

  /** Takes over what the key asks for. Answers the protocol that rules it out; "" where none does. */
  ask(key: Key): string {
    const found = this.#against(key);
    if (found === "" && key.load.kind !== "ct") {
      if (key.l3 !== 0 && key.l3 !== ETH_P_8021Q && this.version === "") this.#network = key.l3;
      if (key.l4 >= 0) this.#transport = key.l4;
    }
    return found;
  }

  #against(key: Key): string {
    const network = this.#network;
    if (key.load.kind === "ct") return this.#againstVersion(key.load.what);
    if (key.l3 === ETH_P_8021Q) return this.#untagged() ? "ether" : "";
    if (key.l4 < 0) {
      if (key.l3 === ETH_P_ARP && this.#family === "inet") return "inet";
      return network !== 0 && key.l3 !== 0 && key.l3 !== network ? ETHER_TYPE.print([network]) : "";
    }
    // ICMP goes with either version of IP
    if (network !== 0 && this.version === "") return ETHER_TYPE.print([network]);
    const transport = this.#transport;
    return transport >= 0 && key.l4 !== transport ? INET_PROTO.print([transport]) : "";
  }

  #againstVersion(what: string): string {
    const { version } = this;
    const [asked] = what.split(" ");
    return version !== "" && (asked === "ip" || asked === "ip6") && asked !== version ? version : "";
  }

  /** Where the link header counts, what is known to follow it is no tag. */
  #untagged(): boolean {
    return this.#network !== 0 && (this.#family === "bridge" || this.#family === "netdev");
  }

  learn(s: Match): void {
    const { l3, l4 } = toldBy(s);
    if (this.#transport < 0) this.#transport = l4;
    if (l3 === 0 || s.left.kind !== "key") return;
    const { text } = s.left.key;
    // the kernel's number of the protocol is that of the frame only where the table sees frames
    if (text === "meta protocol" && this.#family !== "bridge" && this.#family !== "netdev") return;
    if (text !== "meta protocol" && l3 !== ETH_P_IP && l3 !== ETH_P_IPV6 && l3 !== ETH_P_ARP) return;
    this.#network = l3;
  }
}
