/** What matches and targets see of a packet at a hook. One object a namespace, filled for each hook call. */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import type { TracedRule } from "../skb/trace.ts";
import { ETH_P_IP } from "../wire/ethernet.ts";
import type { Conn } from "./conn.ts";
import type { Nat } from "./nat.ts";
import type { NfState } from "./state.ts";

export class NfPacket {
  ns: NetNs;
  skb: Skb;
  /** Addresses as signed 32-bit integers, of IPv6 their keys. */
  src = 0;
  dst = 0;
  proto = 0;
  /** EtherType; tables of bridges see other packets than those of IP, too. */
  l3: number = ETH_P_IP;
  /** Octets from the start of the datagram; 0 for a whole one or the first. */
  fragment = 0;
  /** Its ports, and all of its transport header, can be read: matches on them will not drop it (hotdrop). */
  whole = false;
  hook = 0;
  input: NetDev | null = null;
  output: NetDev | null = null;
  /** Set by a match that finds the packet broken: it is dropped at once (hotdrop). */
  hotdrop = false;
  /** Rules looked at, and those that a walk over all of them would have looked at. */
  examined = 0;
  linear = 0;
  /** Rules that matched; collected for traced packets only. */
  traced: TracedRule[] | null = null;
  readonly state: NfState;
  readonly nat: Nat;

  constructor(ns: NetNs, skb: Skb, state: NfState, nat: Nat) {
    this.ns = ns;
    this.skb = skb;
    this.state = state;
    this.nat = nat;
  }

  /** The octets, where the IP and the transport header start, and where the packet ends. */
  get b(): Uint8Array {
    return this.skb.buf;
  }

  get network(): number {
    return this.skb.network;
  }

  get transport(): number {
    return this.skb.transport;
  }

  get end(): number {
    return this.skb.end;
  }

  /** Null where the packet has no connection: invalid, untracked, or tracking is off. */
  get conn(): Conn | null {
    return this.skb.ct as Conn | null;
  }
}
