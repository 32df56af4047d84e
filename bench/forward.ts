/**
 * How many packets per CPU second cross the emulator, every payload compared where it arrives: the plain path, established
 * flows through a ClusterIP among many Services, and the first packets of new flows, in each mode of kube-proxy. Two layouts:
 *
 *   vxlan   pod → bridge → VXLAN → bridge → pod on another node, kube-proxy and conntrack on both nodes
 *   node    pod → veth → PREROUTING → FORWARD → POSTROUTING → veth → pod, as the figures of Linux were taken
 *
 * userspace mode has no established flows that the data plane forwards: a relay in kube-proxy takes each datagram and sends
 * another one. It is measured in one node, where that is all that differs.
 */
import type { ProxyMode } from "../cluster/kube-proxy/config.ts";
import type { NetNs } from "../dataplane/netns/netns.ts";
import { ANY } from "../dataplane/sock/port-table.ts";
import { UdpSocket } from "../dataplane/sock/udp.ts";
import { equal } from "../dataplane/wire/bytes.ts";
import { type Ipv4Addr, ipv4 } from "../dataplane/wire/ipv4-addr.ts";
import { clusterIp, SERVICE_PORT, startKubeProxy } from "./layouts/kube-proxy.ts";
import type { Layout } from "./layouts/layout.ts";
import { oneNode } from "./layouts/one-node.ts";
import { twoNodes } from "./layouts/two-nodes.ts";
import { allocatedOctets, cpuSeconds, type Metric, median } from "./measure.ts";
import { PacketSource } from "./packet-source.ts";

export type ForwardOptions = {
  /** Packets in a sample, and how many samples. */
  readonly packets: number;
  readonly samples: number;
  /** Services in the ruleset of the ClusterIP measurements. */
  readonly services: number;
  /** Only what has this in its name or mode; "" or absent: everything. */
  readonly only?: string;
  /** Called with what is being measured. */
  readonly progress?: (what: string) => void;
};

const LAYOUTS = { vxlan: () => twoNodes(), node: () => oneNode() } as const;
type LayoutName = keyof typeof LAYOUTS;
const MODES: readonly ProxyMode[] = ["iptables", "ipvs", "nftables"];

const PORT = 9;
/** Octets of payload that make a 64-octet frame, and a 1450-octet IP packet. */
const SMALL = 18;
const LARGE = 1450 - 28;
const BURST = 32;
/** Source ports of new flows, and how many of them live at a time: a port comes round when its last connection has ended. */
const PORTS = 0x4000;
const LIVING = 12_000;
/** Milliseconds that a connection without an answer lives: conntrack's, and that of ipvs, which outlives it. */
const LIFETIME = 30_000;
const IPVS_LIFETIME = 300_000;

/** What is measured: in which layout, and in which mode of kube-proxy where one runs. */
type Case = {
  readonly layout: LayoutName;
  readonly what: "udp64" | "udp1450" | "established.udp64" | "newflow.udp64";
  readonly mode: ProxyMode | "";
};

const CASES: readonly Case[] = [
  { layout: "vxlan", what: "udp64", mode: "" },
  { layout: "vxlan", what: "udp1450", mode: "" },
  { layout: "node", what: "udp64", mode: "" },
  ...(["node", "vxlan"] as const).flatMap((layout) =>
    MODES.flatMap((mode): Case[] => [
      { layout, what: "established.udp64", mode },
      { layout, what: "newflow.udp64", mode },
    ]),
  ),
  { layout: "node", what: "newflow.udp64", mode: "userspace" },
];

/** Every Service has a relay in userspace mode, and every relay a port of the node. */
const MOST_RELAYS = 10_000;

export async function benchForward(options: ForwardOptions): Promise<Metric[]> {
  const metrics: Metric[] = [];
  for (const c of CASES) {
    const name = `forward.${c.layout}.${c.what}`;
    if (!`${name} ${c.mode}`.includes(options.only ?? "")) continue;
    options.progress?.(`${name} ${c.mode}`);
    if (c.mode === "") {
      metrics.push(plain(name, LAYOUTS[c.layout](), c.what === "udp1450" ? LARGE : SMALL, options));
      continue;
    }
    const services = c.mode === "userspace" ? Math.min(options.services, MOST_RELAYS) : options.services;
    const layout = await withServices(c.layout, c.mode, services);
    const run = c.what === "newflow.udp64" ? newFlows : established;
    metrics.push(run(name, c.mode, layout, { ...options, services }));
  }
  return metrics;
}

function plain(metric: string, layout: Layout, size: number, options: ForwardOptions): Metric {
  const to = ipv4(layout.endpoints[0]);
  return measure(metric, layout, size, options, sender(layout.client, to, PORT, size), {});
}

function established(metric: string, mode: ProxyMode, layout: Layout, options: ForwardOptions): Metric {
  const to = clusterIp(options.services - 1);
  const send = sender(layout.client, to, SERVICE_PORT, SMALL);
  const details = { mode, services: options.services };
  return measure(metric, layout, SMALL, options, send, details);
}

/**
 * Each packet from a port that no connection has; to services all over the ruleset. Time goes on with each burst, so that
 * connections end before their port comes round again: as many are made as end, and in every mode as many live.
 */
function newFlows(metric: string, mode: ProxyMode, layout: Layout, options: ForwardOptions): Metric {
  const { world } = layout;
  const source = new PacketSource(layout, pattern(SMALL));
  const step = ((mode === "ipvs" ? IPVS_LIFETIME : LIFETIME) * BURST) / LIVING;
  let flow = 0;
  const send = (): void => {
    const service = (Math.imul(flow, 0x9e3779b1) >>> 0) % options.services;
    source.send(0x8000 + (flow % PORTS), clusterIp(service), SERVICE_PORT);
    flow++;
    if (flow % BURST === 0) world.loop.run({ deadline: world.loop.time + step });
  };
  const details = { mode, services: options.services };
  return measure(metric, layout, SMALL, options, send, details);
}

function measure(
  metric: string,
  layout: Layout,
  size: number,
  options: ForwardOptions,
  send: () => void,
  details: Readonly<Record<string, string | number>>,
): Metric {
  const fill = pattern(size);
  const { world, server } = layout;
  let received = 0;
  let wrong = 0;
  const sink = UdpSocket.bind(server, ANY, PORT, {
    datagram(_socket, bytes, off, len) {
      received++;
      if (len !== size || !equal(bytes, off, fill, 0, size)) wrong++;
    },
  });
  if (sink === null) throw new Error(`${metric}: port ${PORT} is taken`);
  const work = (packets: number): void => {
    for (let sent = 0; sent < packets; sent += BURST) {
      for (let i = 0; i < BURST; i++) send();
      world.loop.runNow();
    }
  };
  work(Math.min(options.packets, 100_000));
  received = 0;
  const made = world.pool.made;
  const rates: number[] = [];
  const packets = Math.ceil(options.packets / BURST) * BURST;
  for (let i = 0; i < options.samples; i++) rates.push(packets / cpuSeconds(() => work(packets)));
  const delivered = received;
  const packetsMade = world.pool.made - made;
  const allocated = allocatedOctets(() => work(packets)) / packets;
  sink.close();
  return {
    metric,
    value: Math.round(median(rates)),
    unit: "packets/cpu-s",
    ...details,
    sent: packets * options.samples,
    delivered,
    corrupted: wrong,
    packetsMade,
    allocatedOctetsPerPacket: Number(allocated.toFixed(2)),
  };
}

const IGNORE = { datagram: (): void => {} };

function sender(ns: NetNs, to: Ipv4Addr, port: number, size: number): () => void {
  const fill = pattern(size);
  const socket = UdpSocket.bind(ns, ANY, 0, IGNORE);
  if (socket === null) throw new Error("no free port");
  return () => void socket.send(to, port, fill, 0, size);
}

function pattern(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + 3) & 0xff);
}

/** The layout with kube-proxy on its nodes; every Service leads to the server. */
async function withServices(name: LayoutName, mode: ProxyMode, count: number): Promise<Layout> {
  const layout = LAYOUTS[name]();
  for (const host of layout.nodes) await startKubeProxy(host, mode, count, layout.endpoints, PORT);
  return layout;
}
