/** What matches remember between packets, by namespace: address lists of `recent`, counts of `nth`, tokens of `limit`, sets. */
import { IpSets } from "./ipset.ts";
import type { RecentTable } from "./match/recent.ts";

export class NfState {
  readonly recent: Map<string, RecentTable> = new Map();
  readonly sets: IpSets = new IpSets();
  /** For matches that keep numbers of their own, by the match's data, which is then of one rule in one place. */
  readonly own: WeakMap<object, number[]> = new WeakMap();
}
