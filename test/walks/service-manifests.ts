/** Pods and Services that use everything a Service can do, for the walks of every mode of kube-proxy. */

import type { EndpointSlice } from "../../cluster/api/endpoint-slice.ts";

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

export const MANIFESTS: string = [
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
    `type: LoadBalancer, ${BOTH}, loadBalancerSourceRanges: [203.0.113.0/24], ports: [${WEB}, nodePort: 30083}]`,
  ),
  service(
    "closed",
    `type: LoadBalancer, ${BOTH}, loadBalancerSourceRanges: [10.9.9.0/24], ports: [${WEB}, nodePort: 30084}]`,
  ),
  service(
    "proxied",
    `type: LoadBalancer, ${BOTH}, ports: [${WEB}, nodePort: 30085}]`,
    "status: {loadBalancer: {ingress: [{ip: 198.51.100.77, ipMode: Proxy}]}}",
  ),
  service("outside", `${BOTH}, externalIPs: [198.51.100.7], ports: [${WEB}}]`),
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
    addressType: "IPv4",
    ports: [{ name: "web", port, protocol: "TCP" }],
    endpoints: endpoints.map(({ ip, node, conditions, hints }) => ({
      addresses: [ip],
      nodeName: node,
      conditions: { ready: true, ...conditions },
      ...(hints === undefined ? {} : { hints }),
    })),
  };
}
