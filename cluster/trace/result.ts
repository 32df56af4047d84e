/** What a trace answers: the contract of `podwire trace -o json`, described by `trace.schema.json`. */

export type Verdict = "delivered" | "rejected" | "dropped";

export type HopRule = {
  readonly table: string;
  readonly chain: string;
  /** Counted from 1 in its chain; 0 is the chain's policy. */
  readonly number: number;
  readonly text: string;
  /** The object behind the rule and where it is written: "Service default/web, web.yaml:12". */
  readonly origin: string;
};

export type Hop = {
  readonly n: number;
  readonly node: string;
  /** "host", or the pod as "pod default/web-1". */
  readonly netns: string;
  readonly device: string;
  readonly step: string;
  readonly action: string;
  /** The packet after the step: "10.244.1.7:40112 → 10.96.14.3:80", an encapsulated one in ⟦⟧. */
  readonly packet: string;
  readonly rule?: HopRule;
};

export type Endpoint = {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly ip: string;
  readonly port: number | null;
};

export type Reason = {
  /** A kernel drop reason ("SKB_DROP_REASON_NETFILTER_DROP"), an errno name, or "NXDOMAIN". */
  readonly code: string;
  readonly text: string;
  /** Number of the hop that it happened at; 0 if none. */
  readonly hop: number;
  /** What would make it work, where that can be said. */
  readonly advice?: string;
};

export type TraceResult = {
  readonly flow: string;
  readonly verdict: Verdict;
  readonly reason: Reason | null;
  readonly source: Endpoint;
  readonly deliveredTo: Endpoint | null;
  readonly masqueraded: boolean;
  readonly hops: readonly Hop[];
  readonly reply: { readonly verdict: Verdict | "none"; readonly hops: readonly Hop[] };
  readonly rules: { readonly examined: number; readonly linear: number };
};
