/** EndpointSlice (discovery.k8s.io/v1) and Endpoints (core/v1), which is mirrored into slices. */
import { isIp } from "./ip.ts";
import { type Report, show } from "./issue.ts";
import { type KubeObject, kindSchema } from "./meta.ts";
import type { Protocol } from "./pod.ts";
import { any, bool, list, map, obj, oneOf, port, type Schema, str } from "./schema.ts";

export const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
export const MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by";

export type ObjectReference = {
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
};
export type EndpointConditions = {
  /** Absent means true. */
  readonly ready?: boolean;
  /** Absent means the same as ready. */
  readonly serving?: boolean;
  readonly terminating?: boolean;
};
export type Endpoint = {
  readonly addresses: readonly string[];
  readonly conditions?: EndpointConditions;
  readonly hostname?: string;
  readonly targetRef?: ObjectReference;
  readonly nodeName?: string;
  readonly zone?: string;
  readonly hints?: {
    readonly forZones?: readonly { readonly name: string }[];
    readonly forNodes?: readonly { readonly name: string }[];
  };
};
export type EndpointPort = {
  readonly name?: string;
  readonly protocol?: Protocol;
  readonly port?: number;
  readonly appProtocol?: string;
};
export type EndpointSlice = KubeObject & {
  readonly kind: "EndpointSlice";
  readonly addressType: "IPv4" | "IPv6" | "FQDN";
  readonly endpoints: readonly Endpoint[];
  readonly ports?: readonly EndpointPort[];
};

export type EndpointAddress = {
  readonly ip: string;
  readonly hostname?: string;
  readonly nodeName?: string;
  readonly targetRef?: ObjectReference;
};
export type EndpointSubset = {
  readonly addresses?: readonly EndpointAddress[];
  readonly notReadyAddresses?: readonly EndpointAddress[];
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol?: Protocol }[];
};
export type Endpoints = KubeObject & { readonly kind: "Endpoints"; readonly subsets?: readonly EndpointSubset[] };

const names: Schema = list(obj({ name: str }, "name"));
export const endpointSliceSchema: Schema = kindSchema(
  {
    addressType: oneOf("IPv4", "IPv6", "FQDN"),
    endpoints: list(
      obj(
        {
          addresses: list(str),
          conditions: obj({ ready: bool, serving: bool, terminating: bool }),
          deprecatedTopology: map(str),
          hints: obj({ forZones: names, forNodes: names }),
          hostname: str,
          nodeName: str,
          targetRef: any,
          zone: str,
        },
        "addresses",
      ),
    ),
    ports: list(obj({ name: str, protocol: oneOf("TCP", "UDP", "SCTP"), port, appProtocol: str })),
  },
  "addressType",
);

const address: Schema = obj({ ip: str, hostname: str, nodeName: str, targetRef: any }, "ip");
export const endpointsSchema: Schema = kindSchema({
  subsets: list(
    obj({
      addresses: list(address),
      notReadyAddresses: list(address),
      ports: list(obj({ name: str, port, protocol: oneOf("TCP", "UDP", "SCTP"), appProtocol: str }, "port")),
    }),
  ),
});

export function checkEndpointSlice(slice: EndpointSlice, report: Report): void {
  if (!Array.isArray(slice.endpoints)) return;
  if (slice.endpoints.length > 1000)
    report("error", ["endpoints"], `${slice.endpoints.length} endpoints`, "1000 at most");
  if (slice.addressType === "FQDN") return;
  for (const [i, endpoint] of (slice.endpoints as readonly Endpoint[]).entries())
    for (const [j, ip] of (Array.isArray(endpoint?.addresses)
      ? (endpoint.addresses as readonly string[])
      : []
    ).entries())
      if (typeof ip === "string" && (!isIp(ip) || ip.includes(":") !== (slice.addressType === "IPv6")))
        report("error", ["endpoints", i, "addresses", j], show(ip), `an ${slice.addressType} address`);
}

export function checkEndpoints(endpoints: Endpoints, report: Report): void {
  if (!Array.isArray(endpoints.subsets)) return;
  for (const [i, subset] of (endpoints.subsets as readonly EndpointSubset[]).entries())
    for (const field of ["addresses", "notReadyAddresses"] as const)
      for (const [j, a] of (Array.isArray(subset?.[field])
        ? (subset[field] as readonly EndpointAddress[])
        : []
      ).entries())
        if (typeof a?.ip === "string" && !isIp(a.ip))
          report("error", ["subsets", i, field, j, "ip"], show(a.ip), "an IP address");
}

export function serviceNameOf(slice: EndpointSlice): string | undefined {
  return slice.metadata.labels?.[SERVICE_NAME_LABEL];
}
