/** What matches remember between packets, by namespace: address lists, tokens, counts, connections, sets. */

import type { Counted } from "./conn-count.ts";
import { IpSets } from "./ipset.ts";
import type { HashlimitTable } from "./match/hashlimit.ts";
import type { RecentTable } from "./match/recent.ts";

export class NfState {
  readonly recent: Map<string, RecentTable> = new Map();
  readonly hashlimits: Map<string, HashlimitTable> = new Map();
  readonly sets: IpSets = new IpSets();
  /** For matches that keep numbers of their own, by the match's data, which is then of one rule in one place. */
  readonly own: WeakMap<object, number[]> = new WeakMap();
  /** By `connlimit` match: the connections of each address. */
  readonly connections: WeakMap<object, Map<number, readonly Counted[]>> = new WeakMap();
}
