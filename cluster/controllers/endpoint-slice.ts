/**
 * EndpointSlices: the pods that each Service selects (KEP-752, KEP-1672 for terminating ones), and the mirror of
 * Endpoints that somebody wrote by hand for a Service without a selector.
 *
 * A target port that is a name can mean another number in each pod, so pods are grouped by the ports they offer; a slice
 * holds 100 endpoints at most. Names come from the salt and what the slice holds.
 */
import {
  type Endpoint,
  type EndpointPort,
  type EndpointSlice,
  type Endpoints,
  MANAGED_BY_LABEL,
  SERVICE_NAME_LABEL,
  serviceNameOf,
} from "../api/endpoint-slice.ts";
import { familyOf } from "../api/ip.ts";
import { keyOf, ownerOf, splitKey } from "../api/meta.ts";
import { ZONE_LABEL } from "../api/node.ts";
import { isFinished, isReady, isTerminating, type Pod, podIps, runningContainers } from "../api/pod.ts";
import { type IpFamilyName, isHeadless, type Service, type ServicePort } from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import { sameValue } from "../store/same-value.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { generatedName, nameSuffix } from "./names.ts";

export const MAX_ENDPOINTS = 100;
const CONTROLLER = "endpointslice-controller.k8s.io";
const MIRRORING = "endpointslicemirroring-controller.k8s.io";

export class EndpointSliceController implements Controller {
  readonly name: string = "endpointslice";
  readonly kinds: readonly Kind[] = ["Service", "Pod", "Endpoints", "EndpointSlice"];
  readonly #store: Store;
  readonly #salt: number;
  /** `namespace key=value`, one term of each Service's selector → keys of Services. */
  readonly #bySelector: Map<string, Set<string>> = new Map();

  constructor(store: Store, salt: number) {
    this.#store = store;
    this.#salt = salt;
  }

  keys(event: WatchEvent): readonly string[] {
    const { object, previous } = event;
    switch (object.kind) {
      case "Service":
        this.#index(event);
        return [keyOf(object)];
      case "Pod":
        return this.#selecting(object as Pod, previous as Pod | undefined, event.type);
      case "Endpoints":
        return [keyOf(object)];
      default: {
        const service = serviceNameOf(object as EndpointSlice);
        const manager = object.metadata.labels?.[MANAGED_BY_LABEL];
        return service !== undefined && (manager === CONTROLLER || manager === MIRRORING)
          ? [`${object.metadata.namespace}/${service}`]
          : [];
      }
    }
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const service = this.#store.get("Service", namespace, name);
      const wanted = service === undefined ? [] : this.#wanted(service);
      await this.#write(namespace, name, wanted);
    }
  }

  #index({ object, previous, type }: WatchEvent): void {
    const old = previous === undefined ? undefined : selectorTerm(previous as Service);
    if (old !== undefined) this.#bySelector.get(old)?.delete(keyOf(object));
    const term = type === "DELETED" ? undefined : selectorTerm(object as Service);
    if (term === undefined) return;
    const keys = this.#bySelector.get(term);
    if (keys === undefined) this.#bySelector.set(term, new Set([keyOf(object)]));
    else keys.add(keyOf(object));
  }

  /** Services whose selector may find the pod, now or before; none if nothing changed that a slice shows. */
  #selecting(pod: Pod, previous: Pod | undefined, type: WatchEvent["type"]): readonly string[] {
    if (type === "MODIFIED" && previous !== undefined && sameValue(relevant(pod), relevant(previous))) return [];
    const out = new Set<string>();
    for (const labels of [pod.metadata.labels, previous?.metadata.labels])
      for (const [key, value] of Object.entries(labels ?? {}))
        for (const service of this.#bySelector.get(`${pod.metadata.namespace} ${key}=${value}`) ?? []) out.add(service);
    return [...out];
  }

  #wanted(service: Service): readonly EndpointSlice[] {
    const { spec, metadata } = service;
    if (spec.type === "ExternalName") return [];
    if (spec.selector === undefined || Object.keys(spec.selector).length === 0) return this.#mirrored(service);
    const namespace = metadata.namespace ?? "default";
    const pods = this.#store.list("Pod", { namespace, labels: spec.selector }).filter((p) => !isFinished(p));
    return (spec.ipFamilies ?? ["IPv4"]).flatMap((family) => this.#ofFamily(service, family, pods));
  }

  #ofFamily(service: Service, family: IpFamilyName, pods: readonly Pod[]): readonly EndpointSlice[] {
    const groups = new Map<string, { readonly ports: readonly EndpointPort[]; readonly endpoints: Endpoint[] }>();
    const want = family === "IPv4" ? 4 : 6;
    for (const pod of pods) {
      const ip = podIps(pod).find((i) => familyOf(i) === want);
      if (ip === undefined) continue;
      const ports = portsFor(service, pod);
      const id = JSON.stringify(ports);
      const group = groups.get(id) ?? { ports, endpoints: [] };
      group.endpoints.push(this.#endpoint(service, pod, ip));
      groups.set(id, group);
    }
    return [...groups].flatMap(([id, { ports, endpoints }]) => {
      const hinted = withHints(service, endpoints);
      return chunks(hinted, MAX_ENDPOINTS).map((part, i) =>
        this.#slice(service, family, CONTROLLER, `${id} ${i}`, ports, part),
      );
    });
  }

  #endpoint(service: Service, pod: Pod, ip: string): Endpoint {
    const { nodeName, hostname, subdomain } = pod.spec;
    const serving = isReady(pod);
    const terminating = isTerminating(pod);
    const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
    const zone =
      nodeName === undefined ? undefined : this.#store.get("Node", "", nodeName)?.metadata.labels?.[ZONE_LABEL];
    const { name, namespace, uid } = pod.metadata;
    return {
      addresses: [ip],
      conditions: { ready, serving, terminating },
      ...(hostname !== undefined && subdomain === service.metadata.name ? { hostname } : {}),
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(zone === undefined ? {} : { zone }),
      targetRef: { kind: "Pod", namespace: namespace ?? "default", name, uid: uid ?? "" },
    };
  }

  /** Endpoints of the same name, written by hand, as slices. */
  #mirrored(service: Service): readonly EndpointSlice[] {
    const given = this.#store.get("Endpoints", service.metadata.namespace ?? "", service.metadata.name);
    if (given === undefined || given.metadata.labels?.["endpointslice.kubernetes.io/skip-mirror"] === "true") return [];
    return (["IPv4", "IPv6"] as const).flatMap((family) => this.#mirror(service, given, family));
  }

  #mirror(service: Service, given: Endpoints, family: IpFamilyName): readonly EndpointSlice[] {
    const want = family === "IPv4" ? 4 : 6;
    return (given.subsets ?? []).flatMap((subset, s) => {
      const ports = (subset.ports ?? []).map((p) => ({
        name: p.name ?? "",
        port: p.port,
        protocol: p.protocol ?? ("TCP" as const),
      }));
      const endpoints = [
        ...(subset.addresses ?? []).map((a) => ({ a, ready: true })),
        ...(subset.notReadyAddresses ?? []).map((a) => ({ a, ready: false })),
      ]
        .filter(({ a }) => familyOf(a.ip) === want)
        .map(
          ({ a, ready }): Endpoint => ({
            addresses: [a.ip],
            conditions: { ready, serving: ready, terminating: false },
            ...(a.hostname === undefined ? {} : { hostname: a.hostname }),
            ...(a.nodeName === undefined ? {} : { nodeName: a.nodeName }),
            ...(a.targetRef === undefined ? {} : { targetRef: a.targetRef }),
          }),
        );
      return chunks(endpoints, MAX_ENDPOINTS).map((part, i) =>
        this.#slice(service, family, MIRRORING, `${s} ${i}`, ports, part),
      );
    });
  }

  #slice(
    service: Service,
    addressType: IpFamilyName,
    manager: string,
    id: string,
    ports: readonly EndpointPort[],
    endpoints: readonly Endpoint[],
  ): EndpointSlice {
    const { name, namespace = "default", labels } = service.metadata;
    return {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        name: generatedName(name, nameSuffix(this.#salt, `slice ${namespace}/${name} ${addressType} ${id}`)),
        namespace,
        labels: {
          ...labels,
          [SERVICE_NAME_LABEL]: name,
          [MANAGED_BY_LABEL]: manager,
          ...(isHeadless(service) ? { "service.kubernetes.io/headless": "" } : {}),
        },
        ownerReferences: [ownerOf(service)],
      },
      addressType,
      endpoints,
      ports,
    };
  }

  async #write(namespace: string, service: string, wanted: readonly EndpointSlice[]): Promise<void> {
    const names = new Set(wanted.map((s) => s.metadata.name));
    for (const old of this.#store.list("EndpointSlice", { namespace, labels: { [SERVICE_NAME_LABEL]: service } })) {
      const manager = old.metadata.labels?.[MANAGED_BY_LABEL];
      if ((manager === CONTROLLER || manager === MIRRORING) && !names.has(old.metadata.name))
        await this.#store.delete("EndpointSlice", namespace, old.metadata.name);
    }
    for (const slice of wanted)
      if (this.#store.get("EndpointSlice", namespace, slice.metadata.name) === undefined)
        await this.#store.create(slice);
      else await this.#store.update(slice);
  }
}

function selectorTerm(service: Service): string | undefined {
  const first = Object.entries(service.spec.selector ?? {})[0];
  return first === undefined ? undefined : `${service.metadata.namespace} ${first[0]}=${first[1]}`;
}

/** What of a pod a slice shows. */
function relevant(pod: Pod): unknown {
  const { labels, deletionTimestamp } = pod.metadata;
  return [
    labels,
    deletionTimestamp,
    podIps(pod),
    isReady(pod),
    isFinished(pod),
    pod.spec.nodeName,
    pod.spec.hostname,
    pod.spec.subdomain,
  ];
}

/** The Service's ports as this pod offers them; a name that no container has is left out. */
function portsFor(service: Service, pod: Pod): readonly EndpointPort[] {
  return (service.spec.ports ?? []).flatMap((p) => {
    const port = resolvePort(p, pod);
    if (port === undefined) return [];
    const { name = "", protocol = "TCP", appProtocol } = p;
    return [{ name, port, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

function resolvePort(p: ServicePort, pod: Pod): number | undefined {
  const target = p.targetPort ?? p.port;
  if (typeof target === "number") return target;
  for (const container of runningContainers(pod.spec))
    for (const port of container.ports ?? [])
      if (port.name === target && (port.protocol ?? "TCP") === (p.protocol ?? "TCP")) return port.containerPort;
  return undefined;
}

/** spec.trafficDistribution (KEP-4444, KEP-3015): each endpoint is meant for its own zone, or its own node. */
function withHints(service: Service, endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const distribution = service.spec.trafficDistribution;
  const sameNode = distribution === "PreferSameNode";
  if (!sameNode && distribution !== "PreferClose" && distribution !== "PreferSameZone") return endpoints;
  if (endpoints.some((e) => e.zone === undefined) && !sameNode) return endpoints;
  return endpoints.map((e) => ({
    ...e,
    hints: {
      ...(e.zone === undefined ? {} : { forZones: [{ name: e.zone }] }),
      ...(sameNode && e.nodeName !== undefined ? { forNodes: [{ name: e.nodeName }] } : {}),
    },
  }));
}

function chunks<T>(list: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}
