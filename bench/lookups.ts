/**
 * What the first packet of a flow costs in rule lookups: the hooks of a node with N Services, for the first, the middle and
 * the last Service of the ruleset, and for an address that is none, rule by rule and by hash. Each call is a new connection.
 * Timed by the `benchmark` package; rules examined are counted, which is what the time comes from.
 */
import Benchmark from "benchmark";
import { Host } from "../dataplane/host/host.ts";
import { World } from "../dataplane/host/world.ts";
import { NF_INET_PRE_ROUTING } from "../dataplane/netfilter/hooks.ts";
import { netfilterOf } from "../dataplane/netfilter/restore-op.ts";
import type { NetNs } from "../dataplane/netns/netns.ts";
import { applyOps } from "../dataplane/netns/rtnl-apply.ts";
import type { Skb } from "../dataplane/skb/skb.ts";
import * as ethernet from "../dataplane/wire/ethernet.ts";
import * as ipv4 from "../dataplane/wire/ipv4.ts";
import { ipv4 as address, type Ipv4Addr, ipv4Of } from "../dataplane/wire/ipv4-addr.ts";
import * as udp from "../dataplane/wire/udp.ts";
import { serviceRules } from "./layouts/service-rules.ts";
import type { Metric } from "./measure.ts";

export type LookupOptions = {
  /** The largest ruleset; every power of ten from 10 up to it is measured. */
  readonly services: number;
  readonly samples: number;
  readonly progress?: (what: string) => void;
};

const ENDPOINTS = ["10.244.2.2", "10.244.3.2"];

export function benchLookups(options: LookupOptions): Metric[] {
  const metrics: Metric[] = [];
  for (let services = 10; services <= Math.max(10, options.services); services *= 10) {
    options.progress?.(`lookups among ${services} Services`);
    metrics.push(...measure(services, options));
  }
  return metrics;
}

function measure(services: number, options: LookupOptions): Metric[] {
  const host = new Host(new World(1), "node");
  const text = serviceRules(services, serviceAddress, ENDPOINTS, 9);
  const begun = process.cpuUsage();
  applyOps(host, [
    { op: "link.add", netns: "host", name: "eth0", kind: "dummy", up: true },
    { op: "addr.add", netns: "host", dev: "eth0", address: "192.168.0.11/24" },
    { op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true, source: "bench" },
  ]);
  const took = process.cpuUsage(begun);
  const load = (took.user + took.system) / 1000;
  const metrics: Metric[] = [
    {
      metric: "lookups.iptables.load",
      value: Number(load.toFixed(1)),
      unit: "cpu-ms",
      services,
      rules: services * 8 + 8,
    },
  ];
  const targets: readonly (readonly [string, Ipv4Addr])[] = [
    ["first", serviceAddress(0)],
    ["middle", serviceAddress(services >> 1)],
    ["last", serviceAddress(services - 1)],
    ["none", address("10.200.0.1")],
  ];
  for (const evaluator of ["linear", "indexed"] as const) {
    host.world.evaluator = evaluator;
    for (const [position, to] of targets) metrics.push(time(host.root, services, position, to, options));
  }
  return metrics;
}

function time(ns: NetNs, services: number, position: string, to: Ipv4Addr, options: LookupOptions): Metric {
  const look = lookup(ns, to);
  const examined = look();
  const linear = netfilterOf(ns)?.linear ?? 0;
  const bench = new Benchmark(position, look, { minSamples: options.samples, maxTime: 0.5 });
  bench.run();
  const { mean, rme } = bench.stats;
  const value = Number((mean * 1e9).toFixed(0));
  const conntrack = netfilterOf(ns)?.conntrack;
  conntrack?.deleteWhere(() => true);
  return {
    metric: "lookups.iptables.first-packet",
    value,
    unit: "ns",
    services,
    position,
    rulesExamined: examined,
    rulesLinear: linear,
    relativeErrorPercent: Number(rme.toFixed(1)),
    evaluator: ns.world.evaluator,
  };
}

/** Runs PREROUTING over the first packet of a new flow; answers how many rules were looked at. */
function lookup(ns: NetNs, to: Ipv4Addr): () => number {
  const { pool } = ns.world;
  const dev = ns.dev("eth0") ?? null;
  let flow = 0;
  return () => {
    const nf = netfilterOf(ns);
    const skb = pool.alloc(ipv4.HEADER_LEN + udp.HEADER_LEN);
    fill(skb, to, flow++);
    skb.dev = dev;
    nf?.hook(ns, NF_INET_PRE_ROUTING, skb, dev, null);
    pool.free(skb);
    return nf?.examined ?? 0;
  };
}

function fill(skb: Skb, to: Ipv4Addr, flow: number): void {
  const b = skb.buf;
  const at = skb.data;
  const th = at + ipv4.HEADER_LEN;
  skb.network = at;
  skb.transport = th;
  skb.end = th + udp.HEADER_LEN;
  skb.protocol = ethernet.ETH_P_IP;
  udp.write(b, th, 1024 + (flow % 60000), 80, udp.HEADER_LEN);
  const from = ipv4Of(address("10.244.1.2") + (Math.floor(flow / 60000) % 200));
  ipv4.write(b, at, ipv4.HEADER_LEN + udp.HEADER_LEN, 1, 0, 64, ipv4.PROTO_UDP, from, to, 0);
}

function serviceAddress(n: number): Ipv4Addr {
  return ipv4Of(address("10.96.0.0") + 10 + n);
}
