/**
 * Which steps a packet took. The stack reports a step only for a packet that carries a trace, at the place where the step
 * happens: there is one packet path, observed or not.
 *
 * An Observer (one a world, usually absent) decides which packets carry a trace when a socket makes them; a packet that
 * answers a traced one (an ICMP error, a reset) asks the trace for its own. Steps are plain data with everything that a
 * report needs, because tables may change later.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Skb } from "./skb.ts";

export type TraceStep =
  /** A local socket, or the kernel itself ("icmp", "reset"), made the packet. */
  | { readonly step: "socket"; readonly text: string }
  | { readonly step: "route"; readonly text: string; readonly origin?: string }
  | { readonly step: "neighbor"; readonly dev: string; readonly text: string }
  /** Out by a device. `peer` tells where a wire leads. */
  | { readonly step: "out"; readonly dev: string; readonly kind: string; readonly text: string }
  | { readonly step: "in"; readonly dev: string; readonly kind: string; readonly text: string }
  | { readonly step: "bridge"; readonly dev: string; readonly text: string }
  /** A hook ran; `rules` are those that matched, `examined` all that were looked at (`linear`: that a walk would have). */
  | {
      readonly step: "hook";
      readonly hook: string;
      readonly dev: string;
      readonly rules: readonly TracedRule[];
      readonly verdict: string;
      readonly examined: number;
      readonly linear: number;
      /** Conntrack state as `-m conntrack` names it, and what NAT did with the packet. */
      readonly ctState: string;
      readonly nat: string;
    }
  | { readonly step: "encap"; readonly dev: string; readonly text: string }
  | { readonly step: "decap"; readonly dev: string; readonly text: string }
  | { readonly step: "fragment"; readonly dev: string; readonly text: string }
  | { readonly step: "deliver"; readonly text: string }
  | { readonly step: "drop"; readonly reason: number; readonly text: string };

/** A rule that matched. `number` counts from 1 in its chain; 0 is the chain's policy. */
export type TracedRule = {
  readonly table: string;
  readonly chain: string;
  readonly number: number;
  /** The rule as iptables-save prints it, without `-A CHAIN`; or the policy. */
  readonly text: string;
};

/** What a traced packet carries. */
export interface PacketTrace {
  /** The octets from `skb.data` on are as they are after the step. */
  report(ns: NetNs, skb: Skb, step: TraceStep): void;
  /** The trace for a packet that the kernel makes in answer to this one; null to leave it out. */
  answer(ns: NetNs, skb: Skb): PacketTrace | null;
}

/** Sees every packet that a socket makes, and every one that passes a device. */
export interface Observer {
  /** Called once a packet has its headers. */
  attach(ns: NetNs, skb: Skb): PacketTrace | null;
}

/** Sees frames at a device, as a packet socket does: in `buf` from `start` to `end`, link header included. */
export interface Tap {
  frame(dev: NetDev, skb: Skb, start: number, direction: "in" | "out"): void;
}
