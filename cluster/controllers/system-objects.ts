/** What a real cluster has before anybody applies a manifest: namespaces, the API server's Service, and DNS. */
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import { type Cidr, familyOf, nth, parseCidr } from "../api/ip.ts";
import type { KubeObject } from "../api/meta.ts";
import type { Service } from "../api/service.ts";
import type { Deployment } from "../api/workloads.ts";
import { namespaceObject } from "./namespace.ts";

export type SystemSettings = {
  readonly serviceCidr: string;
  readonly clusterDomain?: string;
  /** Where the API server listens, for the endpoints of default/kubernetes. */
  readonly apiServer: { readonly ip: string; readonly port: number };
  /** How many CoreDNS pods; 0: none, and kube-dns has no endpoints. */
  readonly dnsReplicas?: number;
};

/** The address of kube-dns: the tenth of the service CIDR, as kubeadm sets it. */
export function dnsServiceIp(serviceCidr: string): string {
  return nth(parsed(serviceCidr), 10);
}

export function systemObjects(settings: SystemSettings): readonly KubeObject[] {
  const cidr = parsed(settings.serviceCidr);
  const namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"].map(namespaceObject);
  const replicas = settings.dnsReplicas ?? 2;
  const objects: KubeObject[] = [
    ...namespaces,
    kubernetesService(cidr),
    kubernetesEndpoints(settings.apiServer),
    dnsService(cidr),
  ];
  if (replicas > 0) objects.push(coreDns(replicas));
  return objects;
}

function parsed(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === null) throw new Error(`service CIDR ${text}: not a CIDR`);
  return cidr;
}

function kubernetesService(cidr: Cidr): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kubernetes", namespace: "default", labels: { component: "apiserver", provider: "kubernetes" } },
    spec: { clusterIP: nth(cidr, 1), ports: [{ name: "https", port: 443, protocol: "TCP", targetPort: 6443 }] },
  };
}

function kubernetesEndpoints({ ip, port }: SystemSettings["apiServer"]): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "kubernetes", namespace: "default", labels: { "kubernetes.io/service-name": "kubernetes" } },
    addressType: familyOf(ip) === 4 ? "IPv4" : "IPv6",
    endpoints: [{ addresses: [ip], conditions: { ready: true } }],
    ports: [{ name: "https", port, protocol: "TCP" }],
  };
}

const DNS_LABELS = { "k8s-app": "kube-dns" };

function dnsService(cidr: Cidr): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "kube-dns",
      namespace: "kube-system",
      labels: { ...DNS_LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" },
    },
    spec: {
      clusterIP: nth(cidr, 10),
      selector: DNS_LABELS,
      ports: [
        { name: "dns", port: 53, protocol: "UDP", targetPort: 53 },
        { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: 53 },
        { name: "metrics", port: 9153, protocol: "TCP", targetPort: 9153 },
      ],
    },
  };
}

function coreDns(replicas: number): Deployment {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "coredns", namespace: "kube-system", labels: DNS_LABELS },
    spec: {
      replicas,
      selector: { matchLabels: DNS_LABELS },
      template: {
        metadata: { labels: DNS_LABELS },
        spec: {
          dnsPolicy: "Default",
          tolerations: [
            { key: "CriticalAddonsOnly", operator: "Exists" },
            { key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule" },
          ],
          containers: [
            {
              name: "coredns",
              image: "registry.k8s.io/coredns/coredns:v1.11.3",
              args: ["-conf", "/etc/coredns/Corefile"],
              ports: [
                { name: "dns", containerPort: 53, protocol: "UDP" },
                { name: "dns-tcp", containerPort: 53, protocol: "TCP" },
                { name: "metrics", containerPort: 9153, protocol: "TCP" },
              ],
            },
          ],
        },
      },
    },
  };
}
