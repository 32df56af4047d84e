/** Service (core/v1). Fields that the API server defaults are optional here; the service controller fills them in. */
import { familyOf, isIp, parseCidr, parseIp } from "./ip.ts";
import { type Report, show } from "./issue.ts";
import {
  checkLabels,
  isDns1035Label,
  isDnsLabel,
  isDnsSubdomain,
  type KubeObject,
  kindSchema,
  type Labels,
} from "./meta.ts";
import type { Protocol } from "./pod.ts";
import { any, bool, intOrString, list, map, obj, oneOf, opaque, port, type Schema, str } from "./schema.ts";

export type IpFamilyName = "IPv4" | "IPv6";
export type ServicePort = {
  readonly name?: string;
  readonly protocol?: Protocol;
  readonly port: number;
  readonly targetPort?: number | string;
  readonly nodePort?: number;
  readonly appProtocol?: string;
};
export type ServiceSpec = {
  readonly type?: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";
  readonly selector?: Labels;
  readonly ports?: readonly ServicePort[];
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly ipFamilies?: readonly IpFamilyName[];
  readonly ipFamilyPolicy?: "SingleStack" | "PreferDualStack" | "RequireDualStack";
  readonly externalIPs?: readonly string[];
  readonly externalName?: string;
  readonly externalTrafficPolicy?: "Cluster" | "Local";
  readonly internalTrafficPolicy?: "Cluster" | "Local";
  readonly healthCheckNodePort?: number;
  readonly loadBalancerIP?: string;
  readonly loadBalancerSourceRanges?: readonly string[];
  readonly publishNotReadyAddresses?: boolean;
  readonly sessionAffinity?: "None" | "ClientIP";
  readonly sessionAffinityConfig?: { readonly clientIP?: { readonly timeoutSeconds?: number } };
  readonly allocateLoadBalancerNodePorts?: boolean;
  readonly loadBalancerClass?: string;
  readonly trafficDistribution?: string;
};
export type LoadBalancerIngress = {
  readonly ip?: string;
  readonly hostname?: string;
  readonly ipMode?: "VIP" | "Proxy";
};
export type ServiceStatus = { readonly loadBalancer?: { readonly ingress?: readonly LoadBalancerIngress[] } };
export type Service = KubeObject & {
  readonly kind: "Service";
  readonly spec: ServiceSpec;
  readonly status?: ServiceStatus;
};

export const serviceSchema: Schema = kindSchema(
  {
    spec: obj({
      allocateLoadBalancerNodePorts: bool,
      clusterIP: str,
      clusterIPs: list(str),
      externalIPs: list(str),
      externalName: str,
      externalTrafficPolicy: oneOf("Cluster", "Local"),
      healthCheckNodePort: { type: "int", min: 0, max: 65535 },
      internalTrafficPolicy: oneOf("Cluster", "Local"),
      ipFamilies: list(oneOf("IPv4", "IPv6")),
      ipFamilyPolicy: oneOf("SingleStack", "PreferDualStack", "RequireDualStack"),
      loadBalancerClass: str,
      loadBalancerIP: str,
      loadBalancerSourceRanges: list(str),
      ports: list(
        obj(
          {
            name: str,
            protocol: oneOf("TCP", "UDP", "SCTP"),
            port,
            targetPort: intOrString,
            nodePort: { type: "int", min: 0, max: 65535 },
            appProtocol: str,
          },
          "port",
        ),
      ),
      publishNotReadyAddresses: bool,
      selector: map(str),
      sessionAffinity: oneOf("None", "ClientIP"),
      sessionAffinityConfig: obj({ clientIP: obj({ timeoutSeconds: { type: "int", min: 1, max: 86400 } }) }),
      topologyKeys: any,
      trafficDistribution: str,
      type: oneOf("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    }),
    status: opaque,
  },
  "spec",
);

/** Rules of the API server's ValidateService that need more than one field. */
export function checkService(service: Service, report: Report): void {
  const { metadata, spec } = service;
  if (typeof metadata.name === "string" && !isDns1035Label(metadata.name))
    report(
      "error",
      ["metadata", "name"],
      show(metadata.name),
      "a DNS label that starts with a letter (RFC 1035, at most 63 characters)",
    );
  if (typeof spec !== "object" || spec === null) return;
  checkLabels(spec.selector, ["spec", "selector"], report);
  checkPorts(service, report);
  checkAddresses(service, report);
  checkFamilies(service, report);
  if (spec.type === "ExternalName") {
    if (typeof spec.externalName !== "string" || !isDnsSubdomain(spec.externalName.replace(/\.$/, "")))
      report("error", ["spec", "externalName"], show(spec.externalName), "a DNS name");
    if (spec.clusterIP !== undefined && spec.clusterIP !== "" && spec.clusterIP !== "None")
      report("error", ["spec", "clusterIP"], show(spec.clusterIP), "nothing, the type is ExternalName");
  }
  const external = spec.type === "NodePort" || spec.type === "LoadBalancer" || (spec.externalIPs?.length ?? 0) > 0;
  if (spec.externalTrafficPolicy !== undefined && !external)
    report(
      "error",
      ["spec", "externalTrafficPolicy"],
      show(spec.externalTrafficPolicy),
      "nothing, the type is ClusterIP",
    );
  if (
    spec.sessionAffinityConfig !== undefined &&
    spec.sessionAffinity !== "ClientIP" &&
    spec.sessionAffinityConfig !== null
  )
    report("error", ["spec", "sessionAffinityConfig"], "a mapping", "nothing unless sessionAffinity is ClientIP");
  if (spec.loadBalancerSourceRanges !== undefined && spec.type !== "LoadBalancer")
    report("error", ["spec", "loadBalancerSourceRanges"], "a list", "nothing unless type is LoadBalancer");
}

function checkPorts(service: Service, report: Report): void {
  const { spec } = service;
  const ports = Array.isArray(spec.ports) ? (spec.ports as readonly ServicePort[]) : [];
  const headless = spec.clusterIP === "None";
  if (ports.length === 0 && spec.type !== "ExternalName" && !headless)
    report("error", ["spec", "ports"], spec.ports === undefined ? "nothing" : show(spec.ports), "one port at least");
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [i, p] of ports.entries()) {
    if (typeof p !== "object" || p === null) continue;
    const at = ["spec", "ports", i] as const;
    const protocol = p.protocol ?? "TCP";
    if (p.name === undefined || p.name === "") {
      if (ports.length > 1) report("error", [...at, "name"], "nothing", "a name, there is more than one port");
    } else if (typeof p.name === "string") {
      if (!isDnsLabel(p.name))
        report("error", [...at, "name"], show(p.name), "a DNS label (a-z, 0-9, -, at most 63 characters)");
      if (names.has(p.name))
        report("error", [...at, "name"], show(p.name), "a name that no other port of the service has");
      names.add(p.name);
    }
    const number = `${protocol} ${p.port}`;
    if (numbers.has(number))
      report("error", [...at, "port"], number, "a protocol and port that no other port of the service has");
    numbers.add(number);
    checkTargetPort(p, at, report);
    if (p.nodePort !== undefined && p.nodePort !== null && p.nodePort !== 0) {
      if (spec.type !== "NodePort" && spec.type !== "LoadBalancer")
        report("error", [...at, "nodePort"], show(p.nodePort), "nothing, the type is ClusterIP");
      const node = `${protocol} ${p.nodePort}`;
      if (nodePorts.has(node))
        report("error", [...at, "nodePort"], node, "a node port that no other port of the service has");
      nodePorts.add(node);
    }
  }
}

function checkTargetPort(p: ServicePort, at: readonly (string | number)[], report: Report): void {
  const t = p.targetPort;
  if (typeof t === "number" && (t < 1 || t > 65535))
    report("error", [...at, "targetPort"], show(t), "an integer from 1 to 65535");
  if (typeof t === "string" && !(/^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(t) && /[a-z]/.test(t)))
    report(
      "error",
      [...at, "targetPort"],
      show(t),
      "a port number or a port name (at most 15 of a-z, 0-9, -, one letter at least)",
    );
}

function checkAddresses(service: Service, report: Report): void {
  const { spec } = service;
  const { clusterIP } = spec;
  if (typeof clusterIP === "string" && clusterIP !== "" && clusterIP !== "None" && !isIp(clusterIP))
    report("error", ["spec", "clusterIP"], show(clusterIP), "an IP address, None or nothing");
  if (Array.isArray(spec.clusterIPs)) {
    for (const [i, ip] of (spec.clusterIPs as readonly string[]).entries())
      if (typeof ip === "string" && ip !== "None" && !isIp(ip))
        report("error", ["spec", "clusterIPs", i], show(ip), "an IP address or None");
    const first = spec.clusterIPs[0];
    if (clusterIP !== undefined && clusterIP !== "" && first !== undefined && first !== clusterIP)
      report("error", ["spec", "clusterIPs", 0], show(first), `the same as clusterIP, ${clusterIP}`);
    if (spec.clusterIPs.length === 2 && familyOf(String(first)) === familyOf(String(spec.clusterIPs[1])))
      report("error", ["spec", "clusterIPs", 1], show(spec.clusterIPs[1]), "an address of the other family");
    if (spec.clusterIPs.length > 2)
      report("error", ["spec", "clusterIPs"], `${spec.clusterIPs.length} addresses`, "one of each family at most");
  }
  if (Array.isArray(spec.externalIPs))
    for (const [i, ip] of (spec.externalIPs as readonly string[]).entries())
      if (typeof ip === "string" && (!isIp(ip) || isUnusable(ip)))
        report("error", ["spec", "externalIPs", i], show(ip), "a unicast IP address");
  if (Array.isArray(spec.loadBalancerSourceRanges))
    for (const [i, cidr] of (spec.loadBalancerSourceRanges as readonly string[]).entries())
      if (typeof cidr === "string" && parseCidr(cidr.trim()) === null)
        report("error", ["spec", "loadBalancerSourceRanges", i], show(cidr), "a CIDR such as 10.0.0.0/8");
}

/** What does not depend on the cluster's own families (ValidateServiceClusterIPsRelatedFields). */
function checkFamilies({ spec }: Service, report: Report): void {
  const families = Array.isArray(spec.ipFamilies) ? (spec.ipFamilies as readonly IpFamilyName[]) : [];
  const ips = Array.isArray(spec.clusterIPs) ? (spec.clusterIPs as readonly string[]) : [];
  if (spec.type === "ExternalName") {
    for (const field of ["ipFamilies", "ipFamilyPolicy"] as const)
      if (spec[field] !== undefined)
        report("error", ["spec", field], show(spec[field]), "nothing, the type is ExternalName");
    return;
  }
  if (families.length > 2) report("error", ["spec", "ipFamilies"], show(families), "each family once at most");
  else if (families.length === 2 && families[0] === families[1])
    report("error", ["spec", "ipFamilies", 1], show(families[1]), "the other family");
  for (const [i, family] of families.entries()) {
    const ip = ips[i] ?? (i === 0 && spec.clusterIP !== "" ? spec.clusterIP : undefined);
    if (ip !== undefined && isIp(ip) && `IPv${familyOf(ip)}` !== family)
      report("error", ["spec", ips[i] === undefined ? "clusterIP" : "clusterIPs"], show(ip), `an ${family} address`);
  }
  if (spec.ipFamilyPolicy !== "SingleStack") return;
  const expected = "PreferDualStack or RequireDualStack";
  if (families.length > 1)
    report("error", ["spec", "ipFamilyPolicy"], show(spec.ipFamilyPolicy), `${expected}, there are two ipFamilies`);
  else if (ips.length > 1)
    report("error", ["spec", "ipFamilyPolicy"], show(spec.ipFamilyPolicy), `${expected}, there are two clusterIPs`);
}

/** Unspecified, loopback and link-local addresses cannot be external addresses of a Service. */
function isUnusable(text: string): boolean {
  const ip = parseIp(text);
  return (
    ip !== null &&
    (ip.value === 0n ||
      text.startsWith("127.") ||
      text === "::1" ||
      text.startsWith("169.254.") ||
      /^fe[89ab]/i.test(text))
  );
}

export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === "None" || service.spec.clusterIPs?.[0] === "None";
}

/** The ClusterIPs that are addresses, primary first. */
export function clusterIps(service: Service): readonly string[] {
  const { clusterIP, clusterIPs } = service.spec;
  const all =
    clusterIPs !== undefined && clusterIPs.length > 0 ? clusterIPs : clusterIP === undefined ? [] : [clusterIP];
  return all.filter((ip) => ip !== "" && ip !== "None");
}
