/**
 * Services: what the API server adds to them. Defaults, ClusterIPs and node ports; values that are given are kept and
 * never handed out again.
 *
 * Addresses are drawn as Kubernetes draws them, from the upper part of the range first (KEP-3070, the lower part is for
 * static ones), but from a salt and the Service's name, so that one Service more moves no other. Load balancer
 * addresses come from a pool if there is one, as from MetalLB.
 */
import { hashText } from "../../dataplane/sim/random.ts";
import { ClusterError } from "../api/cluster-error.ts";
import { type Cidr, canonicalIp, contains, type Family, familyOf, nth, parseCidr, parseIp, sizeOf } from "../api/ip.ts";
import { keyOf, splitKey } from "../api/meta.ts";
import {
  clusterIps,
  type IpFamilyName,
  isHeadless,
  type Service,
  type ServicePort,
  type ServiceSpec,
} from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";

export type ServiceSettings = {
  /** One CIDR, or one of each family, primary first. */
  readonly serviceCidrs: readonly string[];
  readonly nodePortRange?: readonly [first: number, last: number];
  /** Where addresses of load balancers come from; absent: they stay pending unless the Service names one. */
  readonly loadBalancerCidrs?: readonly string[];
};

type Pool = { readonly cidr: Cidr; readonly text: string };
type Families = {
  readonly families: readonly IpFamilyName[];
  readonly policy: NonNullable<ServiceSpec["ipFamilyPolicy"]>;
};

function nameOf({ cidr }: Pool): IpFamilyName {
  return cidr.family === 4 ? "IPv4" : "IPv6";
}

export class ServiceController implements Controller {
  readonly name: string = "service";
  readonly kinds: readonly Kind[] = ["Service"];
  readonly #store: Store;
  readonly #salt: number;
  readonly #pools: readonly Pool[];
  readonly #ports: readonly [number, number];
  readonly #balancers: readonly Pool[];

  constructor(store: Store, salt: number, settings: ServiceSettings) {
    this.#store = store;
    this.#salt = salt;
    this.#pools = settings.serviceCidrs.map((text) => poolOf(text, "service CIDR"));
    this.#ports = settings.nodePortRange ?? [30000, 32767];
    this.#balancers = (settings.loadBalancerCidrs ?? []).map((text) => poolOf(text, "load balancer CIDR"));
    const [a, b] = this.#pools;
    if (a !== undefined && b !== undefined && a.cidr.family === b.cidr.family)
      throw new ClusterError("CidrInvalid", `service CIDRs ${a.text} and ${b.text}: two of one family`);
  }

  keys(event: WatchEvent): readonly string[] {
    return event.type === "DELETED" ? [] : [keyOf(event.object)];
  }

  async sync(keys: readonly string[]): Promise<void> {
    const used = this.#usage();
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const service = this.#store.get("Service", namespace, name);
      if (service === undefined) continue;
      const spec = this.#complete(service, used);
      const status = this.#status(service, spec, used);
      await this.#store.update({ ...service, spec, ...(status === undefined ? {} : { status }) });
    }
  }

  /** Who has which address and port. */
  #usage(): Map<string, string> {
    const used = new Map<string, string>();
    const take = (
      what: string,
      service: Service,
      reason: "AddressInUse" | "PortInUse",
      path: readonly (string | number)[],
    ): void => {
      const holder = used.get(what);
      const me = keyOf(service);
      if (holder !== undefined && holder !== me)
        throw new ClusterError(reason, `${what} is in use by Service ${holder}`, service, path);
      used.set(what, me);
    };
    for (const service of this.#store.list("Service")) {
      for (const ip of clusterIps(service)) {
        this.#checkRange(ip, service);
        take(canonicalIp(ip), service, "AddressInUse", ["spec", "clusterIP"]);
      }
      for (const [i, p] of (service.spec.ports ?? []).entries())
        if (p.nodePort)
          take(`node port ${p.nodePort}/${p.protocol ?? "TCP"}`, service, "PortInUse", [
            "spec",
            "ports",
            i,
            "nodePort",
          ]);
      if (service.spec.healthCheckNodePort)
        take(`node port ${service.spec.healthCheckNodePort}/TCP`, service, "PortInUse", [
          "spec",
          "healthCheckNodePort",
        ]);
      for (const { ip } of service.status?.loadBalancer?.ingress ?? [])
        if (ip !== undefined) used.set(`load balancer ${canonicalIp(ip)}`, keyOf(service));
    }
    return used;
  }

  #checkRange(text: string, service: Service): void {
    const ip = parseIp(text);
    if (ip !== null && this.#pools.some((p) => contains(p.cidr, ip))) return;
    throw new ClusterError(
      "AddressOutOfRange",
      `${text} is not in the service CIDR ${this.#pools.map((p) => p.text).join(", ")}`,
      service,
      ["spec", "clusterIP"],
    );
  }

  #complete(service: Service, used: Map<string, string>): ServiceSpec {
    const { spec } = service;
    const type = spec.type ?? "ClusterIP";
    const common: ServiceSpec = { ...spec, type, sessionAffinity: spec.sessionAffinity ?? "None" };
    if (type === "ExternalName")
      return spec.ports === undefined ? common : { ...common, ports: spec.ports.map(defaultPort) };
    const external = type !== "ClusterIP" || (spec.externalIPs?.length ?? 0) > 0;
    const wantsNodePorts =
      type === "NodePort" || (type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
    const ports = (spec.ports ?? []).map((p, i) => {
      const port = defaultPort(p);
      return wantsNodePorts && !p.nodePort
        ? { ...port, nodePort: this.#nodePort(service, `${i}`, port.protocol ?? "TCP", used) }
        : port;
    });
    const health =
      type === "LoadBalancer" && spec.externalTrafficPolicy === "Local" && !spec.healthCheckNodePort
        ? { healthCheckNodePort: this.#nodePort(service, "health", "TCP", used) }
        : {};
    const sticky =
      spec.sessionAffinity === "ClientIP" && spec.sessionAffinityConfig?.clientIP?.timeoutSeconds === undefined
        ? { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } } }
        : {};
    return {
      ...common,
      ports,
      internalTrafficPolicy: spec.internalTrafficPolicy ?? "Cluster",
      ...(external ? { externalTrafficPolicy: spec.externalTrafficPolicy ?? "Cluster" } : {}),
      ...health,
      ...sticky,
      ...this.#addresses(service, used),
    };
  }

  #addresses(service: Service, used: Map<string, string>): Partial<ServiceSpec> {
    const given = clusterIps(service);
    const { families, policy } = this.#families(service, given);
    const common = { ipFamilies: families, ipFamilyPolicy: policy };
    if (isHeadless(service)) return { clusterIP: "None", clusterIPs: ["None"], ...common };
    const clusterIPs = families.map((name) => {
      const family: Family = name === "IPv4" ? 4 : 6;
      return given.find((ip) => familyOf(ip) === family) ?? this.#clusterIp(service, family, used);
    });
    return { clusterIP: clusterIPs[0] ?? "", clusterIPs, ...common };
  }

  /**
   * Families and policy, as the API server infers what is not said (pkg/registry/core/service/storage/alloc.go): one family
   * unless two are named or the policy asks for them. A headless Service without a selector may have both on any cluster.
   */
  #families(service: Service, given: readonly string[]): Families {
    const { ipFamilies = [], ipFamilyPolicy, selector = {} } = service.spec;
    const available = this.#pools.map(nameOf);
    const named = given.map((ip): IpFamilyName => (familyOf(ip) === 4 ? "IPv4" : "IPv6"));
    const asked = [...ipFamilies, ...named.slice(ipFamilies.length)];
    const free = isHeadless(service) && Object.keys(selector).length === 0;
    const policy = ipFamilyPolicy ?? (free || asked.length > 1 ? "RequireDualStack" : "SingleStack");
    const cidrs = this.#pools.map((p) => p.text).join(", ");
    const refuse = (field: string, message: string): never => {
      throw new ClusterError("FamilyMissing", message, service, ["spec", field]);
    };
    const first = asked[0] ?? available[0] ?? "IPv4";
    const other = first === "IPv4" ? "IPv6" : "IPv4";
    if (free) return { families: policy === "SingleStack" ? [first] : [first, asked[1] ?? other], policy };
    const missing = asked.find((f) => !available.includes(f));
    if (missing !== undefined) refuse("ipFamilies", `${missing} is not a family of the service CIDR ${cidrs}`);
    if (policy === "RequireDualStack" && available.length < 2)
      refuse("ipFamilyPolicy", `RequireDualStack needs a service CIDR of each family, there is ${cidrs}`);
    return { families: policy === "SingleStack" || available.length < 2 ? [first] : [first, other], policy };
  }

  #clusterIp(service: Service, family: Family, used: Map<string, string>): string {
    const pool = this.#pools.find((p) => p.cidr.family === family);
    if (pool === undefined)
      throw new ClusterError("CidrExhausted", `there is no service CIDR for IPv${family}`, service, [
        "spec",
        "clusterIP",
      ]);
    return this.#draw(pool, "service CIDR", "", service, used);
  }

  /** An address of the pool, without its first and (IPv4) last one. */
  #draw(pool: Pool, what: string, prefix: string, service: Service, used: Map<string, string>): string {
    const size = Number(sizeOf(pool.cidr) > 65536n ? 65536n : sizeOf(pool.cidr)) - (pool.cidr.family === 4 ? 2 : 1);
    const band = Math.min(Math.max(16, size >> 4), 256);
    const upper = size > 2 * band ? size - band : 0;
    const start = hashText(`${this.#salt} ${what} ${keyOf(service)}`);
    for (let i = 0; i < size; i++) {
      const offset = i < upper ? band + ((start + i) % upper) : (start + i) % (size - upper);
      const ip = nth(pool.cidr, offset + 1);
      if (used.has(prefix + ip)) continue;
      used.set(prefix + ip, keyOf(service));
      return ip;
    }
    throw new ClusterError(
      "CidrExhausted",
      `${what} ${pool.text}: no free address (${size} of ${size} in use)`,
      service,
      ["spec", "clusterIP"],
    );
  }

  #nodePort(service: Service, what: string, protocol: string, used: Map<string, string>): number {
    const [first, last] = this.#ports;
    const size = last - first + 1;
    const start = hashText(`${this.#salt} ${keyOf(service)} ${what}`);
    for (let i = 0; i < size; i++) {
      const port = first + ((start + i) % size);
      if (used.has(`node port ${port}/${protocol}`)) continue;
      used.set(`node port ${port}/${protocol}`, keyOf(service));
      return port;
    }
    throw new ClusterError(
      "PortsExhausted",
      `node ports ${first}-${last}: none free (${size} of ${size} in use)`,
      service,
      ["spec", "ports"],
    );
  }

  #status(service: Service, spec: ServiceSpec, used: Map<string, string>): Service["status"] {
    const { status } = service;
    if (spec.type !== "LoadBalancer" || (status?.loadBalancer?.ingress?.length ?? 0) > 0) return status;
    const asked = spec.loadBalancerIP;
    if (asked !== undefined && asked !== "") return { loadBalancer: { ingress: [{ ip: asked, ipMode: "VIP" }] } };
    const pools = (spec.ipFamilies ?? []).flatMap((name) => this.#balancers.filter((p) => nameOf(p) === name));
    if (pools.length === 0) return status;
    const ingress = pools.map((pool) => {
      const ip = this.#draw(pool, "load balancer CIDR", "load balancer ", service, used);
      return { ip, ipMode: "VIP" } as const;
    });
    return { loadBalancer: { ingress } };
  }
}

function defaultPort(p: ServicePort): ServicePort {
  return {
    ...p,
    protocol: p.protocol ?? "TCP",
    targetPort: p.targetPort === undefined || p.targetPort === "" ? p.port : p.targetPort,
  };
}

function poolOf(text: string, what: string): Pool {
  const cidr = parseCidr(text);
  if (cidr === null) throw new ClusterError("CidrInvalid", `${what} ${text}: not a CIDR`);
  if (sizeOf(cidr) < 4n)
    throw new ClusterError("CidrInvalid", `${what} ${text}: too small, /${cidr.family === 4 ? 30 : 126} at least`);
  return { cidr, text };
}
