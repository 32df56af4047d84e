/** Pods and Services that use everything a Service can do, for the walks of every mode of kube-proxy in each family. */

import type { EndpointSlice } from "../../cluster/api/endpoint-slice.ts";
import { type Family, familyOf } from "../../cluster/api/ip.ts";
import type { ClusterOptions, ProxyMode } from "../../cluster/boot.ts";

/** Addresses that the manifests and the walks name. */
export type Addresses = {
  /** An external IP, and a load balancer's of ipMode Proxy. */
  readonly external: string;
  readonly proxied: string;
  /** Source ranges that the client outside is in, and is not. */
  readonly inside: string;
  readonly elsewhere: string;
  /** Of the nodes, up to the last number. */
  readonly node: string;
  readonly loopback: string;
  readonly balancers: RegExp;
};

export const ADDRESSES: Readonly<Record<Family, Addresses>> = {
  4: {
    external: "198.51.100.7",
    proxied: "198.51.100.77",
    inside: "203.0.113.0/24",
    elsewhere: "10.9.9.0/24",
    node: "192.168.0.",
    loopback: "127.0.0.1",
    balancers: /^198\.51\.100\./,
  },
  6: {
    external: "2001:db8:7::7",
    proxied: "2001:db8:7::77",
    inside: "2001:db8::/64",
    elsewhere: "2001:db8:9::/64",
    node: "fd00:192:168::",
    loopback: "::1",
    balancers: /^2001:db8:1b::/,
  },
};

export type WalkCase = { readonly mode: ProxyMode; readonly family: Family };
type NamedCase = readonly [name: string, walk: WalkCase];

/** Every mode in each family. */
export const WALK_CASES: readonly NamedCase[] = (["iptables", "ipvs", "nftables", "userspace"] as const).flatMap(
  (mode) => ([4, 6] as const).map((family): NamedCase => [`${mode} mode, IPv${family}`, { mode, family }]),
);

/** A cluster whose primary family is this one; for IPv6 a dual-stack one where the mode serves two. */
export function clusterFor({
  mode,
  family,
}: WalkCase): Pick<ClusterOptions, "proxyMode" | "clusterCidr" | "serviceCidr"> {
  if (family === 4) return { proxyMode: mode };
  const [pods, services] = ["fd00:10:244::/56", "fd00:10:96::/112"];
  return mode === "userspace"
    ? { proxyMode: mode, clusterCidr: pods, serviceCidr: services }
    : { proxyMode: mode, clusterCidr: `${pods},10.244.0.0/16`, serviceCidr: `${services},10.96.0.0/12` };
}

/** "10.0.0.1" or "[fd00::1]", as it stands before a port. */
export function inBrackets(ip: string): string {
  return ip.includes(":") ? `[${ip}]` : ip;
}

/** Three nodes in two zones. */
const NODES = ["a", "b", "b"].map(
  (zone, i) => `apiVersion: v1
kind: Node
metadata: {name: node-${i + 1}, labels: {topology.kubernetes.io/zone: zone-${zone}}}`,
);

/** Serves HTTP at 8080 (named web) and UDP at 8081 (named dgram). */
function server(name: string, node: string, labels: string): string {
  return `apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {${labels}}}
spec:
  nodeName: ${node}
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec, --http-port=8080, --udp-port=8081, --sctp-port=8082]
      ports: [{containerPort: 8080, name: web}, {containerPort: 8081, protocol: UDP, name: dgram}, {containerPort: 8082, protocol: SCTP, name: assoc}]`;
}

function service(name: string, spec: string, status = ""): string {
  return `apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {${spec}}
${status}`;
}

const WEB = "{name: web, port: 80, targetPort: web";
const BOTH = "selector: {both: 'yes'}";
const FAR = "selector: {app: b2}";

export function manifests(family: Family): string {
  const { external, proxied, inside, elsewhere } = ADDRESSES[family];
  return [
    ...NODES,
    // a1 and c1 on node-1, b2 on node-2, c3 on node-3
    server("a1", "node-1", "app: a1, both: 'yes'"),
    server("b2", "node-2", "app: b2, both: 'yes'"),
    server("c1", "node-1", "app: c1"),
    server("c3", "node-3", "app: c3"),
    service(
      "both",
      `type: NodePort, ${BOTH}, ports: [${WEB}, nodePort: 30080}, {name: assoc, port: 80, protocol: SCTP, targetPort: assoc, nodePort: 30080}, {name: dgram, port: 80, protocol: UDP, targetPort: dgram, nodePort: 30080}]`,
    ),
    service("number", `${FAR}, ports: [{port: 8000, targetPort: 8080}]`),
    service("self", `selector: {app: a1}, ports: [${WEB}}]`),
    service(
      "sticky",
      `${BOTH}, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, ports: [${WEB}}]`,
    ),
    service("inside", `${FAR}, internalTrafficPolicy: Local, ports: [${WEB}}]`),
    service(
      "far",
      `type: LoadBalancer, ${FAR}, externalTrafficPolicy: Local, healthCheckNodePort: 30200, ports: [${WEB}, nodePort: 30081}]`,
    ),
    service("balanced", `type: LoadBalancer, ${BOTH}, ports: [${WEB}, nodePort: 30082}]`),
    service(
      "open",
      `type: LoadBalancer, ${BOTH}, loadBalancerSourceRanges: ['${inside}'], ports: [${WEB}, nodePort: 30083}]`,
    ),
    service(
      "closed",
      `type: LoadBalancer, ${BOTH}, loadBalancerSourceRanges: ['${elsewhere}'], ports: [${WEB}, nodePort: 30084}]`,
    ),
    service(
      "proxied",
      `type: LoadBalancer, ${BOTH}, ports: [${WEB}, nodePort: 30085}]`,
      `status: {loadBalancer: {ingress: [{ip: '${proxied}', ipMode: Proxy}]}}`,
    ),
    service("outside", `${BOTH}, externalIPs: ['${external}'], ports: [${WEB}}]`),
    service("two", `type: LoadBalancer, ${BOTH}, ipFamilyPolicy: PreferDualStack, ports: [${WEB}, nodePort: 30087}]`),
    service("nobody", `type: NodePort, selector: {app: nobody}, ports: [${WEB}, nodePort: 30086}]`),
    service("headless", `${BOTH}, clusterIP: None, ports: [${WEB}}]`),
    service("alias", "type: ExternalName, externalName: both.default.svc.cluster.local"),
    service("drained", `ports: [${WEB}}]`),
    service("half-drained", `ports: [${WEB}}]`),
    service("zoned", `ports: [${WEB}}]`),
    service("on-node", `ports: [${WEB}}]`),
    service("some-hints", `ports: [${WEB}}]`),
    service("unready", `publishNotReadyAddresses: true, ports: [${WEB}}]`),
    service("split", `ports: [${WEB}}]`),
    service("both-udp", "ports: [{port: 90, protocol: UDP}]"),
    service("zeros", `ports: [${WEB}}]`),
  ].join("\n---\n");
}

export type GivenEndpoint = {
  readonly ip: string;
  readonly node: string;
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
  readonly hints?: { readonly forZones?: readonly { name: string }[]; readonly forNodes?: readonly { name: string }[] };
};

/** An EndpointSlice as a controller of somebody else would write it. */
export function givenSlice(
  service: string,
  port: number,
  endpoints: readonly GivenEndpoint[],
  suffix: string = "x",
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${service}-${suffix}`, labels: { "kubernetes.io/service-name": service } },
    addressType: endpoints.some(({ ip }) => familyOf(ip) === 6) ? "IPv6" : "IPv4",
    ports: [{ name: "web", port, protocol: "TCP" }],
    endpoints: endpoints.map(({ ip, node, conditions, hints }) => ({
      addresses: [ip],
      nodeName: node,
      conditions: { ready: true, ...conditions },
      ...(hints === undefined ? {} : { hints }),
    })),
  };
}
