/**
 * Conntrack entries of UDP that lead to endpoints which serve no longer (pkg/proxy/conntrack/cleanup.go): a client that keeps
 * its source port would go on to be sent there. TCP finds out by itself, and SCTP is left alone.
 */
import type { ConntrackFlush } from "../../dataplane/netns/rtnl-ops.ts";
import type { Family } from "../api/ip.ts";
import type { EndpointsTracker } from "./endpoints-tracker.ts";
import type { ServicePortInfo, ServiceTracker } from "./service-tracker.ts";

export class UdpCleanup {
  readonly #family: "ipv4" | "ipv6";
  readonly #services: ServiceTracker;
  readonly #endpoints: EndpointsTracker;
  /** UDP ports that Services had at the last sync. */
  readonly #known: Map<string, readonly ServicePortInfo[]> = new Map();

  constructor(family: Family, services: ServiceTracker, endpoints: EndpointsTracker) {
    this.#family = family === 4 ? "ipv4" : "ipv6";
    this.#services = services;
    this.#endpoints = endpoints;
  }

  /** What to forget after a sync about these Services. A port that is new has nothing to forget. */
  after(keys: Iterable<string>): readonly ConntrackFlush[] {
    const ops: ConntrackFlush[] = [];
    for (const key of keys) {
      const now = this.#services.portsOf(key).filter((p) => p.protocol === "UDP");
      const before = this.#known.get(key) ?? [];
      if (now.length === 0) this.#known.delete(key);
      else this.#known.set(key, now);
      for (const old of before) {
        const stays = now.find((p) => p.portName === old.portName);
        const serving =
          stays === undefined ? [] : this.#endpoints.endpointsOf(key, old.id.port).filter((e) => e.serving);
        const except = serving.map((e) => e.text);
        for (const { dst, dstPort } of destinations(old)) {
          const kept = stays !== undefined && destinations(stays).some((d) => d.dst === dst && d.dstPort === dstPort);
          ops.push(this.#flush(dst, dstPort, kept ? except : []));
        }
      }
    }
    return ops;
  }

  #flush(dst: string | undefined, dstPort: number, except: readonly string[]): ConntrackFlush {
    const place = dst === undefined ? {} : { dst };
    return { op: "conntrack.flush", netns: "host", family: this.#family, protocol: "udp", dstPort, ...place, except };
  }
}

type Destination = { readonly dst: string | undefined; readonly dstPort: number };

/** The addresses of a Service port; a node port is on any. */
function destinations({ clusterIp, externalIps, loadBalancerIps, port, nodePort }: ServicePortInfo): Destination[] {
  const own = [clusterIp, ...externalIps, ...loadBalancerIps].map((dst) => ({ dst, dstPort: port }));
  return nodePort === 0 ? own : [...own, { dst: undefined, dstPort: nodePort }];
}
