/**
 * What kube-proxy knows of Services, one entry per port, for one address family.
 *
 * Events only mark: `set` and `delete` remember which Services changed, and a sync takes them with `takeChanged`.
 * Headless and ExternalName Services have no entries, nor have those that another proxy serves.
 */
import { canonicalIp, type Family, familyOf, parseCidr } from "../api/ip.ts";
import type { Protocol } from "../api/pod.ts";
import { clusterIps, type Service } from "../api/service.ts";
import { formatServicePortName, type ServicePortName } from "./names.ts";

export type ServicePortInfo = {
  readonly id: ServicePortName;
  /** namespace/name:port */
  readonly portName: string;
  readonly protocol: Protocol;
  readonly clusterIp: string;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
  readonly externalIps: readonly string[];
  readonly loadBalancerIps: readonly string[];
  readonly sourceRanges: readonly string[];
  /** Seconds of ClientIP affinity; 0: none. */
  readonly stickySeconds: number;
  readonly externalPolicyLocal: boolean;
  readonly internalPolicyLocal: boolean;
  /** 0: none. */
  readonly healthCheckNodePort: number;
};

const DEFAULT_STICKY_SECONDS = 10800;

export class ServiceTracker {
  readonly #family: Family;
  readonly #ports: Map<string, readonly ServicePortInfo[]> = new Map();
  #changed: Set<string> = new Set();

  constructor(family: Family) {
    this.#family = family;
  }

  set(service: Service): void {
    const key = `${service.metadata.namespace}/${service.metadata.name}`;
    const ports = portsOf(service, this.#family);
    if (ports.length === 0) this.#ports.delete(key);
    else this.#ports.set(key, ports);
    this.#changed.add(key);
  }

  delete(namespace: string, name: string): void {
    this.#ports.delete(`${namespace}/${name}`);
    this.#changed.add(`${namespace}/${name}`);
  }

  /** The ports of a Service, in the order in which it lists them. */
  portsOf(key: string): readonly ServicePortInfo[] {
    return this.#ports.get(key) ?? [];
  }

  keys(): readonly string[] {
    return [...this.#ports.keys()].sort();
  }

  /** Services that changed since they were last taken. */
  get changed(): ReadonlySet<string> {
    return this.#changed;
  }

  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }
}

/** Whether traffic from outside the cluster can reach the port at all. */
export function externallyAccessible(info: ServicePortInfo): boolean {
  return info.nodePort !== 0 || info.loadBalancerIps.length > 0 || info.externalIps.length > 0;
}

/** Even with external policy Local the cluster's endpoints are needed, for pods and nodes that call from inside. */
export function usesClusterEndpoints(info: ServicePortInfo): boolean {
  return !info.internalPolicyLocal || externallyAccessible(info);
}

export function usesLocalEndpoints(info: ServicePortInfo): boolean {
  return info.internalPolicyLocal || (info.externalPolicyLocal && externallyAccessible(info));
}

function canonicalCidr(text: string): string {
  const [ip = "", ...rest] = text.split("/");
  return [canonicalIp(ip), ...rest].join("/");
}

function portsOf(service: Service, family: Family): readonly ServicePortInfo[] {
  const { spec, metadata, status } = service;
  const labels = metadata.labels ?? {};
  if (
    spec.type === "ExternalName" ||
    "service.kubernetes.io/headless" in labels ||
    "service.kubernetes.io/service-proxy-name" in labels
  )
    return [];
  const clusterIp = clusterIps(service)
    .map(canonicalIp)
    .find((ip) => familyOf(ip) === family);
  if (clusterIp === undefined) return [];
  const external = spec.type === "NodePort" || spec.type === "LoadBalancer";
  const externalPolicyLocal = spec.externalTrafficPolicy === "Local";
  const common = {
    clusterIp,
    externalIps: (spec.externalIPs ?? []).map(canonicalIp).filter((ip) => familyOf(ip) === family),
    loadBalancerIps: (status?.loadBalancer?.ingress ?? []).flatMap((i) =>
      i.ip !== undefined && i.ip !== "" && i.ipMode !== "Proxy" && familyOf(i.ip) === family ? [canonicalIp(i.ip)] : [],
    ),
    sourceRanges: (spec.loadBalancerSourceRanges ?? [])
      .map((c) => canonicalCidr(c.trim()))
      .filter((c) => parseCidr(c)?.family === family),
    stickySeconds:
      spec.sessionAffinity === "ClientIP"
        ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_STICKY_SECONDS)
        : 0,
    externalPolicyLocal,
    internalPolicyLocal: spec.internalTrafficPolicy === "Local",
    healthCheckNodePort: spec.type === "LoadBalancer" && externalPolicyLocal ? (spec.healthCheckNodePort ?? 0) : 0,
  };
  return (spec.ports ?? []).map((p) => {
    const id = { namespace: metadata.namespace ?? "default", name: metadata.name, port: p.name ?? "" };
    return {
      id,
      portName: formatServicePortName(id),
      protocol: p.protocol ?? "TCP",
      port: p.port,
      nodePort: external ? (p.nodePort ?? 0) : 0,
      ...common,
    };
  });
}
