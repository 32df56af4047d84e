/**
 * The names of the cluster, as CoreDNS' kubernetes plugin serves them (Kubernetes DNS-Based Service Discovery, schema
 * 1.1.0): read from the store at each question, so that an answer is never stale.
 *
 *   NAME.NS.svc.ZONE                 A, AAAA, SRV; CNAME for ExternalName; headless: one address per ready endpoint
 *   _PORT._PROTO.NAME.NS.svc.ZONE    SRV
 *   HOST.NAME.NS.svc.ZONE            one endpoint: its hostname, or its address with dashes
 *   A-B-C-D.NS.pod.ZONE              that address, whoever has it ("pods insecure")
 *   in-addr.arpa, ip6.arpa           PTR of ClusterIPs and endpoints
 *
 * A name that exists without records of the type is NODATA, others are NXDOMAIN; a headless Service without a ready
 * endpoint does not exist, as in CoreDNS. Leaves out: wildcards (gone since CoreDNS 1.9), federation, zone transfer.
 */
import { type Endpoint, type EndpointPort, type EndpointSlice, serviceNameOf } from "../api/endpoint-slice.ts";
import { type Family, familyOf, formatIp, type Ip, parseIp } from "../api/ip.ts";
import { clusterIps, isHeadless, type Service } from "../api/service.ts";
import type { Store } from "../store/store.ts";

export type DnsRecord =
  | { readonly type: "A" | "AAAA" | "CNAME" | "PTR" | "NS"; readonly name: string; readonly data: string }
  | { readonly type: "TXT"; readonly name: string; readonly data: string }
  | {
      readonly type: "SRV";
      readonly name: string;
      readonly data: {
        readonly priority: number;
        readonly weight: number;
        readonly port: number;
        readonly target: string;
      };
    };

/** `nodata`: the name exists. `outside`: the name is in no zone that is served here. */
export type Lookup =
  | { readonly kind: "answer"; readonly records: readonly DnsRecord[]; readonly extra: readonly DnsRecord[] }
  | { readonly kind: "nodata" | "nxdomain" | "outside" };

/** One thing that a service name stands for. */
type Target = { readonly ip: string; readonly port: number; readonly host: string };

const NODATA: Lookup = { kind: "nodata" };
const NXDOMAIN: Lookup = { kind: "nxdomain" };
const SCHEMA_VERSION = "1.1.0";
const MAX_CNAMES = 8;

export class KubernetesZone {
  readonly #store: Store;
  readonly zone: string;

  constructor(store: Store, zone: string = "cluster.local") {
    this.#store = store;
    this.zone = zone.toLowerCase().replace(/\.$/, "");
  }

  lookup(name: string, type: string, depth: number = 0): Lookup {
    const lower = name.toLowerCase().replace(/\.$/, "");
    if (lower.endsWith(".in-addr.arpa") || lower.endsWith(".ip6.arpa")) return this.#reverse(name, lower, type);
    if (lower !== this.zone && !lower.endsWith(`.${this.zone}`)) return { kind: "outside" };
    const labels = lower === this.zone ? [] : lower.slice(0, -this.zone.length - 1).split(".");
    const last = labels.pop();
    switch (last) {
      case undefined:
        return type === "NS" ? answer([{ type: "NS", name, data: `ns.dns.${this.zone}` }]) : NODATA;
      case "svc":
        return this.#service(name, labels, type, depth);
      case "pod":
        return this.#pod(name, labels, type);
      case "dns-version":
        if (labels.length > 0) return NXDOMAIN;
        return type === "TXT" ? answer([{ type: "TXT", name, data: SCHEMA_VERSION }]) : NODATA;
      case "dns":
        return this.#nameServer(name, labels, type);
      default:
        return NXDOMAIN;
    }
  }

  /** ns.dns.ZONE is the DNS service itself. */
  #nameServer(name: string, labels: readonly string[], type: string): Lookup {
    if (labels.length === 0) return NODATA;
    if (labels.join(".") !== "ns") return NXDOMAIN;
    const service = this.#store.get("Service", "kube-system", "kube-dns");
    return addresses(name, type, service === undefined ? [] : clusterIps(service));
  }

  #pod(name: string, labels: readonly string[], type: string): Lookup {
    const namespace = labels.at(-1);
    if (namespace === undefined) return NODATA;
    if (!this.#hasNamespace(namespace)) return NXDOMAIN;
    if (labels.length === 1) return NODATA;
    const host = labels[0] ?? "";
    const text = /^\d+-\d+-\d+-\d+$/.test(host) ? host.replaceAll("-", ".") : host.replaceAll("-", ":");
    const ip = labels.length > 2 ? null : parseIp(text);
    return ip === null ? NXDOMAIN : addresses(name, type, [formatIp(ip)]);
  }

  #service(name: string, labels: readonly string[], type: string, depth: number): Lookup {
    const parts = [...labels];
    const namespace = parts.pop();
    if (namespace === undefined) return NODATA;
    const serviceName = parts.pop();
    if (serviceName === undefined) return this.#hasNamespace(namespace) ? NODATA : NXDOMAIN;
    const service = this.#store.get("Service", namespace, serviceName);
    if (service === undefined || parts.length > 2) return NXDOMAIN;
    const [first = "", second = ""] = parts;
    if (parts.length === 2 && (!first.startsWith("_") || !second.startsWith("_"))) return NXDOMAIN;
    if (service.spec.type === "ExternalName")
      return parts.length > 0 ? NXDOMAIN : this.#externalName(name, service, type, depth);
    const wanted = parts.length === 2 ? { port: first.slice(1), protocol: second.slice(1) } : null;
    const host = parts.length === 1 ? first : null;
    const targets =
      isHeadless(service) || host !== null
        ? this.#endpoints(service, host, wanted)
        : this.#clusterTargets(service, wanted);
    if (targets.length === 0) return NXDOMAIN;
    return type === "SRV"
      ? srv(name, targets)
      : addresses(
          name,
          type,
          targets.map((t) => t.ip),
        );
  }

  #externalName(name: string, service: Service, type: string, depth: number): Lookup {
    const target = (service.spec.externalName ?? "").replace(/\.$/, "");
    const alias: DnsRecord = { type: "CNAME", name, data: target };
    if (type === "CNAME" || depth >= MAX_CNAMES || (type !== "A" && type !== "AAAA"))
      return type === "SRV" ? NODATA : answer([alias]);
    const next = this.lookup(target, type, depth + 1);
    return answer(next.kind === "answer" ? [alias, ...next.records] : [alias]);
  }

  #clusterTargets(service: Service, wanted: Wanted): readonly Target[] {
    const host = `${service.metadata.name}.${service.metadata.namespace}.svc.${this.zone}`;
    const ports = (service.spec.ports ?? []).filter((p) => matchesPort(wanted, p.name, p.protocol));
    return ports.flatMap((p) => clusterIps(service).map((ip) => ({ ip, port: p.port, host })));
  }

  #endpoints(service: Service, host: string | null, wanted: Wanted): readonly Target[] {
    const base = `${service.metadata.name}.${service.metadata.namespace}.svc.${this.zone}`;
    return this.#slicesOf(service).flatMap((slice) =>
      slice.endpoints.filter(isServed).flatMap((endpoint) =>
        endpoint.addresses.flatMap((ip) => {
          const label = endpointLabel(endpoint, ip);
          if (host !== null && label !== host) return [];
          const ports: readonly EndpointPort[] =
            slice.ports !== undefined && slice.ports.length > 0 ? slice.ports : [{}];
          return ports
            .filter((p) => matchesPort(wanted, p.name, p.protocol))
            .map((p) => ({ ip, port: p.port ?? -1, host: `${label}.${base}` }));
        }),
      ),
    );
  }

  #slicesOf(service: Service): readonly EndpointSlice[] {
    const namespace = service.metadata.namespace ?? "";
    return this.#store
      .list("EndpointSlice", { namespace, labels: { "kubernetes.io/service-name": service.metadata.name } })
      .filter((s) => s.addressType !== "FQDN");
  }

  #reverse(name: string, lower: string, type: string): Lookup {
    const ip = reverseIp(lower);
    if (ip === null) return { kind: "outside" };
    const text = formatIp(ip);
    const found: string[] = [];
    for (const service of this.#store.list("Service"))
      if (clusterIps(service).some((i) => sameIp(i, text)))
        found.push(`${service.metadata.name}.${service.metadata.namespace}.svc.${this.zone}`);
    if (found.length === 0)
      for (const slice of this.#store.list("EndpointSlice"))
        for (const endpoint of slice.endpoints.filter(isServed)) {
          const address = endpoint.addresses.find((i) => sameIp(i, text));
          const service = serviceNameOf(slice);
          if (address !== undefined && service !== undefined)
            found.push(`${endpointLabel(endpoint, address)}.${service}.${slice.metadata.namespace}.svc.${this.zone}`);
        }
    if (found.length === 0) return { kind: "outside" };
    return type === "PTR" ? answer([...new Set(found)].map((data) => ({ type: "PTR", name, data }))) : NODATA;
  }

  #hasNamespace(name: string): boolean {
    return this.#store.get("Namespace", "", name) !== undefined;
  }
}

type Wanted = { readonly port: string; readonly protocol: string } | null;

function matchesPort(wanted: Wanted, name: string | undefined, protocol: string | undefined): boolean {
  return wanted === null || (wanted.port === (name ?? "") && wanted.protocol === (protocol ?? "TCP").toLowerCase());
}

function isServed(endpoint: Endpoint): boolean {
  return endpoint.conditions?.ready ?? true;
}

/** The name of an endpoint below its service: what the pod calls itself, or its address with dashes. */
function endpointLabel(endpoint: Endpoint, ip: string): string {
  return endpoint.hostname !== undefined && endpoint.hostname !== ""
    ? endpoint.hostname.toLowerCase()
    : ip.replace(/[.:]/g, "-");
}

function sameIp(a: string, canonical: string): boolean {
  if (a === canonical) return true;
  const ip = a.includes(":") && canonical.includes(":") ? parseIp(a) : null;
  return ip !== null && formatIp(ip) === canonical;
}

function answer(records: readonly DnsRecord[], extra: readonly DnsRecord[] = []): Lookup {
  return { kind: "answer", records, extra };
}

function recordsOf(name: string, ips: readonly string[], family: Family): readonly DnsRecord[] {
  const type = family === 4 ? "A" : "AAAA";
  return [...new Set(ips)].filter((ip) => familyOf(ip) === family).map((data) => ({ type, name, data }));
}

function addresses(name: string, type: string, ips: readonly string[]): Lookup {
  const records = type === "A" ? recordsOf(name, ips, 4) : type === "AAAA" ? recordsOf(name, ips, 6) : [];
  return records.length === 0 ? NODATA : answer(records);
}

/** One SRV for each host and port, equal weights out of 100; the addresses of the hosts go along. */
function srv(name: string, targets: readonly Target[]): Lookup {
  const unique = [...new Map(targets.map((t) => [`${t.host} ${t.port}`, t])).values()].filter((t) => t.port >= 0);
  if (unique.length === 0) return NODATA;
  const weight = Math.max(1, Math.floor(100 / unique.length));
  const records = unique.map(
    (t): DnsRecord => ({ type: "SRV", name, data: { priority: 0, weight, port: t.port, target: t.host } }),
  );
  const extra = new Map(targets.map((t) => [`${t.host} ${t.ip}`, recordsOf(t.host, [t.ip], familyOf(t.ip))]));
  return answer(records, [...extra.values()].flat());
}

/** "1.0.96.10.in-addr.arpa", or a name of 32 nibbles for IPv6. */
export function reverseName(ip: Ip): string {
  if (ip.family === 4) return `${formatIp(ip).split(".").reverse().join(".")}.in-addr.arpa`;
  return `${ip.value.toString(16).padStart(32, "0").split("").reverse().join(".")}.ip6.arpa`;
}

/** The address in 4.3.2.1.in-addr.arpa or a nibble name of ip6.arpa. */
function reverseIp(name: string): Ip | null {
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) return parseIp(v4.slice(1, 5).reverse().join("."));
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (v6 === null) return null;
  const digits = (v6[1] ?? "").replaceAll(".", "").split("").reverse().join("");
  return parseIp(digits.match(/.{4}/g)?.join(":") ?? "");
}
