/**
 * The seam between kube-proxy and its modes: one set of trackers and one controller above it, a folder a mode below.
 *
 * A mode turns what the trackers know into what its tools read, and writes it in one transaction of the node's backend.
 */
import type { Backend } from "../../backend/ops.ts";
import type { Family } from "../api/ip.ts";
import type { ProxyConfig } from "./config.ts";
import type { EndpointsTracker } from "./endpoints-tracker.ts";
import type { RuleOrigin } from "./rule-origin.ts";
import type { ServiceTracker } from "./service-tracker.ts";

/** What kube-proxy knows of the node it runs on. */
export type ProxyNode = {
  readonly name: string;
  /** All addresses of the node; the first of a family is its primary one. */
  readonly ips: readonly string[];
  readonly podCidrs: readonly string[];
  readonly zone?: string;
};

/** What a sync wrote: octets of text, and how many Services it was about. */
export type SyncStats = {
  readonly kind: "full" | "partial" | "none";
  readonly services: number;
  readonly octets: number;
};

/** What a mode works with. */
export type ModeContext = {
  readonly family: Family;
  readonly node: ProxyNode;
  readonly config: ProxyConfig;
  /** Masquerade with --random-fully, where the kernel has it. */
  readonly randomFully: boolean;
  readonly services: ServiceTracker;
  readonly endpoints: EndpointsTracker;
  readonly backend: Backend;
  /** Where ClusterIPs come from; empty if nobody said. */
  readonly serviceCidrs: readonly string[];
};

export interface ProxyMode {
  /** Another record of the same node: everything is computed again at the next sync, which will be a full one. */
  setNode(node: ProxyNode): void;
  /** Brings the node up to date; all of it if `full`, which is also how rules that somebody flushed come back. */
  sync(full: boolean): Promise<SyncStats>;
  /** The object behind a chain, or behind a rule of a shared chain, which its comment names. */
  originOf(chain: string, comment: string): RuleOrigin | undefined;
  /** How many rules it has, by table; for modes that write iptables alone. */
  ruleCounts?(): Readonly<Record<string, number>>;
  /** userspace mode: the endpoints ("ip:port") to which kube-proxy passes on what comes to a port of its own. */
  relayedTo?(protocol: "TCP" | "UDP", port: number): readonly string[] | undefined;
}
