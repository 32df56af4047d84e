/** The schedulers by name. */
import { DestinationHash } from "./dh.ts";
import { Failover } from "./fo.ts";
import { LocalityLeastConnections } from "./lblc.ts";
import { ReplicatedLocality } from "./lblcr.ts";
import { LeastConnections } from "./lc.ts";
import { Maglev } from "./mh.ts";
import { NeverQueue } from "./nq.ts";
import { Overflow } from "./ovf.ts";
import { roundRobin } from "./rr.ts";
import type { Scheduler } from "./scheduler.ts";
import { ShortestExpectedDelay } from "./sed.ts";
import { SourceHash } from "./sh.ts";
import { TwoChoices } from "./twos.ts";
import { WeightedLeastConnections } from "./wlc.ts";
import { WeightedRoundRobin } from "./wrr.ts";

const MAKERS: Readonly<Record<string, () => Scheduler>> = {
  rr: () => roundRobin,
  wrr: () => new WeightedRoundRobin(),
  lc: () => new LeastConnections(),
  wlc: () => new WeightedLeastConnections(),
  fo: () => new Failover(),
  ovf: () => new Overflow(),
  lblc: () => new LocalityLeastConnections(),
  lblcr: () => new ReplicatedLocality(),
  dh: () => new DestinationHash(),
  sh: () => new SourceHash(),
  mh: () => new Maglev(),
  sed: () => new ShortestExpectedDelay(),
  nq: () => new NeverQueue(),
  twos: () => new TwoChoices(),
};

export const SCHEDULERS: readonly string[] = Object.keys(MAKERS);

export function schedulerOf(name: string): Scheduler | undefined {
  return Object.hasOwn(MAKERS, name) ? MAKERS[name]?.() : undefined;
}
