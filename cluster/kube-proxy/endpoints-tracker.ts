/**
 * What kube-proxy knows of endpoints: the EndpointSlices of each Service, and from them the endpoints of a port.
 *
 * Ports are matched by name and never by number; an endpoint that stands in two slices counts once. Slices of the other
 * family and of type FQDN are left out.
 */
import { type EndpointSlice, type ObjectReference, serviceNameOf } from "../api/endpoint-slice.ts";
import { canonicalIp, type Family, hostPort } from "../api/ip.ts";

export type EndpointInfo = {
  readonly ip: string;
  readonly port: number;
  /** ip:port, IPv6 in brackets. */
  readonly text: string;
  readonly nodeName: string | undefined;
  readonly zone: string | undefined;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly isLocal: boolean;
  readonly zoneHints: readonly string[];
  readonly nodeHints: readonly string[];
  readonly target: ObjectReference | undefined;
};

export class EndpointsTracker {
  readonly #addressType: "IPv4" | "IPv6";
  readonly #nodeName: string;
  /** namespace/service → slice name → slice */
  readonly #slices: Map<string, Map<string, EndpointSlice>> = new Map();
  #changed: Set<string> = new Set();
  #total = 0;

  constructor(family: Family, nodeName: string) {
    this.#addressType = family === 4 ? "IPv4" : "IPv6";
    this.#nodeName = nodeName;
  }

  /** Endpoints known in all slices; decides on large cluster mode. */
  get total(): number {
    return this.#total;
  }

  set(slice: EndpointSlice): void {
    const key = this.#keyOf(slice);
    if (key === undefined) return;
    const slices = this.#slices.get(key) ?? new Map<string, EndpointSlice>();
    this.#total += weight(slice) - weight(slices.get(slice.metadata.name));
    slices.set(slice.metadata.name, slice);
    this.#slices.set(key, slices);
    this.#changed.add(key);
  }

  delete(slice: EndpointSlice): void {
    const key = this.#keyOf(slice);
    const slices = key === undefined ? undefined : this.#slices.get(key);
    if (key === undefined || slices === undefined) return;
    this.#total -= weight(slices.get(slice.metadata.name));
    slices.delete(slice.metadata.name);
    if (slices.size === 0) this.#slices.delete(key);
    this.#changed.add(key);
  }

  /** The endpoints of a Service's port, sorted by ip:port. */
  endpointsOf(key: string, portName: string): readonly EndpointInfo[] {
    const found = new Map<string, EndpointInfo>();
    for (const slice of this.#slices.get(key)?.values() ?? [])
      for (const port of slice.ports ?? [])
        if ((port.name ?? "") === portName && port.port !== undefined && port.port !== 0)
          this.#collect(slice, port.port, found);
    return [...found.values()].sort((a, b) => (a.text < b.text ? -1 : 1));
  }

  /** Services whose endpoints changed since they were last taken. */
  get changed(): ReadonlySet<string> {
    return this.#changed;
  }

  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  #keyOf(slice: EndpointSlice): string | undefined {
    const service = serviceNameOf(slice);
    return service === undefined || slice.addressType !== this.#addressType
      ? undefined
      : `${slice.metadata.namespace}/${service}`;
  }

  #collect(slice: EndpointSlice, port: number, found: Map<string, EndpointInfo>): void {
    for (const endpoint of slice.endpoints) {
      const address = endpoint.addresses[0];
      if (address === undefined) continue;
      const ip = canonicalIp(address);
      const { ready, serving, terminating } = endpoint.conditions ?? {};
      const text = hostPort(ip, port);
      const isLocal = endpoint.nodeName !== undefined && endpoint.nodeName === this.#nodeName;
      if (found.has(text) && !isLocal) continue;
      found.set(text, {
        ip,
        port,
        text,
        nodeName: endpoint.nodeName,
        zone: endpoint.zone,
        ready: ready ?? true,
        serving: serving ?? ready ?? true,
        terminating: terminating ?? false,
        isLocal,
        zoneHints: endpoint.hints?.forZones?.map((z) => z.name) ?? [],
        nodeHints: endpoint.hints?.forNodes?.map((n) => n.name) ?? [],
        target: endpoint.targetRef,
      });
    }
  }
}

function weight(slice: EndpointSlice | undefined): number {
  return slice === undefined ? 0 : slice.endpoints.length * (slice.ports?.length ?? 0);
}
