/**
 * What the first packet of a flow costs on a node with N Services of two endpoints, for the first, the middle and the last
 * Service and for an address that is none; what an established packet, loading, and small changes cost; and the memory.
 * Lookups are timed by the `benchmark` package; what was looked at is counted, which is what the time comes from.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import Benchmark from "benchmark";
import { ipv4 as address, type Ipv4Addr } from "../dataplane/wire/ipv4-addr.ts";
import { type Engine, serviceAddress } from "./engines/engine.ts";
import { IptablesEngine } from "./engines/iptables.ts";
import { IpvsEngine } from "./engines/ipvs.ts";
import { NftablesEngine } from "./engines/nftables.ts";
import { cpuSeconds, type Metric, median } from "./measure.ts";

export type LookupOptions = {
  /** The largest number of Services; every power of ten from 10 up to it is measured, and it. */
  readonly services: number;
  readonly samples: number;
  readonly progress?: (what: string) => void;
};

const ENGINES: readonly (() => Engine)[] = [
  () => new IptablesEngine(),
  () => new IpvsEngine(),
  () => new NftablesEngine(),
];

/** The metric that the plot shows, and by which sizes are compared. */
export const FIRST_PACKET = "lookups.first-packet";
/** Seconds that one lookup is measured for. */
const SECONDS = 0.15;

export function benchLookups(options: LookupOptions): Metric[] {
  const metrics: Metric[] = [];
  for (const services of sizes(options.services)) {
    for (const make of ENGINES) {
      const engine = make();
      options.progress?.(`${engine.name} with ${services} Services`);
      metrics.push(...measure(engine, services, options));
    }
  }
  for (const make of ENGINES) {
    options.progress?.("how much more the most cost than a hundred");
    metrics.push(...growth(make, options.services));
  }
  return metrics;
}

function sizes(most: number): number[] {
  const out: number[] = [];
  for (let services = 10; services < most; services *= 10) out.push(services);
  return [...out, Math.max(10, most)];
}

function measure(engine: Engine, services: number, { samples }: LookupOptions): Metric[] {
  const metrics: Metric[] = [];
  const heap = usedHeap();
  const begun = performance.now();
  const load = cpuSeconds(() => engine.load(services)) * 1000;
  // less than the CPU time, of which the collector's threads have a part
  const elapsedMs = round(performance.now() - begun);
  const about = { engine: engine.name, services };
  metrics.push({ metric: "lookups.load", value: round(load), unit: "cpu-ms", ...about, elapsedMs });
  metrics.push({ metric: "lookups.memory", value: round((usedHeap() - heap) / 2 ** 20), unit: "MiB", ...about });
  const targets: readonly (readonly [string, Ipv4Addr])[] = [
    ["first", serviceAddress(0)],
    ["middle", serviceAddress(services >> 1)],
    ["last", serviceAddress(services - 1)],
    ["none", address("10.200.0.1")],
  ];
  for (const variant of engine.variants) {
    engine.use(variant);
    const name = engine.name + variant;
    for (const [position, to] of targets) {
      const { examined, linear } = engine.first(to);
      const { value, error } = time(() => engine.first(to), samples);
      const counted = { examined, linear, errorPercent: error };
      metrics.push({ metric: FIRST_PACKET, value, unit: "ns", engine: name, services, position, ...counted });
    }
    const { value, error } = time(engine.established(serviceAddress(services - 1)), samples);
    metrics.push({ metric: "lookups.established", value, unit: "ns", engine: name, services, errorPercent: error });
  }
  const changes: readonly (readonly [string, (n: number) => void])[] = [
    ["add service", (n) => engine.set(n, 2)],
    ["add endpoint", (n) => engine.set(n, 3)],
    ["remove endpoint", (n) => engine.set(n, 2)],
    ["remove service", (n) => engine.remove(n)],
  ];
  const times = changes.map((): number[] => []);
  for (let i = 0; i < Math.max(samples, 5); i++)
    for (const [k, [, change]] of changes.entries()) times[k]?.push(cpuSeconds(() => change(services + i)) * 1000);
  for (const [k, [change]] of changes.entries()) {
    const value = Number(median(times[k] ?? []).toFixed(3));
    metrics.push({ metric: "lookups.change", value, unit: "cpu-ms", ...about, change });
  }
  return metrics;
}

/** Lookups in a batch, and how many batches of either size are measured in turn. */
const BATCH = 20_000;
const TURNS = 15;

/**
 * How much more CPU time the first packet to the last of the most Services costs than that to the last of a hundred: both are
 * measured in turn, so that what else the machine does meets both alike. The linear walk is left out: it is what it is.
 */
function growth(make: () => Engine, services: number): Metric[] {
  const from = Math.min(100, services);
  const [small, large] = [make(), make()];
  small.load(from);
  large.load(services);
  const metrics: Metric[] = [];
  for (const variant of small.variants) {
    if (variant === " linear") continue;
    for (const engine of [small, large]) engine.use(variant);
    const costs: [number[], number[]] = [[], []];
    for (let turn = 0; turn <= TURNS; turn++)
      for (const [k, engine] of [small, large].entries()) {
        const to = serviceAddress((k === 0 ? from : services) - 1);
        const seconds = cpuSeconds(() => {
          for (let i = 0; i < BATCH; i++) engine.first(to);
        });
        // the first turn warms up
        if (turn > 0) costs[k]?.push((seconds / BATCH) * 1e9);
      }
    const [before, after] = costs.map(median) as [number, number];
    const value = Number((after / before).toFixed(2));
    const details = { from, to: services, nsFrom: Math.round(before), nsTo: Math.round(after) };
    metrics.push({ metric: "lookups.growth", value, unit: "times", engine: small.name + variant, ...details });
  }
  return metrics;
}

/** Nanoseconds a call, the median of the samples, and the error of their mean in percent. */
function time(work: () => unknown, samples: number): { readonly value: number; readonly error: number } {
  for (const begun = performance.now(); performance.now() - begun < SECONDS * 500; ) work();
  const bench = new Benchmark("lookup", work, { minSamples: samples, maxTime: SECONDS, minTime: 0.01, initCount: 1 });
  bench.run();
  const { sample, rme } = bench.stats;
  return { value: Math.round(median(sample) * 1e9), error: round(rme) };
}

let collect: (() => void) | null = null;

/** Octets on the heap and beside it, after everything that nobody needs was collected. */
function usedHeap(): number {
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function round(n: number): number {
  return Number(n.toFixed(1));
}
