/**
 * How many packets per CPU second cross the emulator: pod → bridge → VXLAN → bridge → pod, every payload compared where it
 * arrives. Established flows, and (with a ruleset of many Services) the first packets of new ones.
 */
import type { NetNs } from "../dataplane/netns/netns.ts";
import { applyOps } from "../dataplane/netns/rtnl-apply.ts";
import { ANY } from "../dataplane/sock/port-table.ts";
import { UdpSocket } from "../dataplane/sock/udp.ts";
import { equal } from "../dataplane/wire/bytes.ts";
import { type Ipv4Addr, ipv4, ipv4Of } from "../dataplane/wire/ipv4-addr.ts";
import { serviceRules } from "./layouts/service-rules.ts";
import { type TwoNodes, twoNodes } from "./layouts/two-nodes.ts";
import { allocatedOctets, cpuSeconds, type Metric, median } from "./measure.ts";

export type ForwardOptions = {
  /** Packets in a sample, and how many samples. */
  readonly packets: number;
  readonly samples: number;
  /** Services in the ruleset of the ClusterIP measurements. */
  readonly services: number;
  /** Called with what is being measured. */
  readonly progress?: (what: string) => void;
};

const PORT = 9;
/** Octets of payload that make a 64-octet frame, and a 1450-octet IP packet. */
const SMALL = 18;
const LARGE = 1450 - 28;
const BURST = 32;
/** Source ports of new flows, and milliseconds between bursts: all ports take longer than a connection without answer lives. */
const PORTS = 0x4000;
const STEP = 80;

export function benchForward(options: ForwardOptions): Metric[] {
  return [
    vxlan("forward.vxlan.udp64", SMALL, options),
    vxlan("forward.vxlan.udp1450", LARGE, options),
    established(options),
    newFlows(options),
  ];
}

function vxlan(metric: string, size: number, options: ForwardOptions): Metric {
  options.progress?.(metric);
  const layout = twoNodes();
  return measure(metric, layout, size, options, sender(layout.pods[0], ipv4("10.244.2.2"), PORT, size));
}

function established(options: ForwardOptions): Metric {
  const metric = "forward.clusterip.established.udp64";
  options.progress?.(metric);
  const layout = withServices(options.services);
  const send = sender(layout.pods[0], serviceAddress(options.services - 1), 80, SMALL);
  return measure(metric, layout, SMALL, options, send, { services: options.services });
}

/**
 * Each packet from a port that no connection has; to services all over the ruleset. Time goes on with each burst, so that
 * connections end before their port comes round again: as many are made as end.
 */
function newFlows(options: ForwardOptions): Metric {
  const metric = "forward.clusterip.newflow.udp64";
  options.progress?.(metric);
  const layout = withServices(options.services);
  const { fill } = pattern(SMALL);
  const { world, pods } = layout;
  const sockets: UdpSocket[] = [];
  for (let port = 0x8000; port < 0x8000 + PORTS; port++) {
    const socket = UdpSocket.bind(pods[0], ANY, port, IGNORE);
    if (socket === null) throw new Error(`${metric}: port ${port} is taken`);
    sockets.push(socket);
  }
  let flow = 0;
  const send = (): void => {
    const service = Math.imul(flow, 0x9e3779b1) >>> 0;
    sockets[flow % PORTS]?.send(serviceAddress(service % options.services), 80, fill, 0, SMALL);
    flow++;
    if (flow % BURST === 0) world.loop.run({ deadline: world.loop.time + STEP });
  };
  return measure(metric, layout, SMALL, options, send, { services: options.services });
}

function measure(
  metric: string,
  layout: TwoNodes,
  size: number,
  options: ForwardOptions,
  send: () => void,
  details: Readonly<Record<string, number>> = {},
): Metric {
  const { fill } = pattern(size);
  const { world, pods } = layout;
  let received = 0;
  let wrong = 0;
  const sink = UdpSocket.bind(pods[1], ANY, PORT, {
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
  const { fill } = pattern(size);
  const socket = UdpSocket.bind(ns, ANY, 0, IGNORE);
  if (socket === null) throw new Error("no free port");
  return () => void socket.send(to, port, fill, 0, size);
}

function pattern(size: number): { fill: Uint8Array } {
  return { fill: Uint8Array.from({ length: size }, (_, i) => (i * 7 + 3) & 0xff) };
}

function serviceAddress(n: number): Ipv4Addr {
  return ipv4Of(ipv4("10.96.0.0") + 10 + n);
}

/** The two-node layout with kube-proxy's shape of rules on both nodes; every service leads to the far pod. */
function withServices(count: number): TwoNodes {
  const layout = twoNodes();
  const text = serviceRules(count, serviceAddress, ["10.244.2.2", "10.244.2.2"], PORT);
  for (const host of layout.nodes) {
    applyOps(host, [{ op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true, source: "bench" }]);
  }
  return layout;
}
