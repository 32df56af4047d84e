/** kube-proxy on a node of a layout, with many Services in one of its modes: the rules are those that it really writes. */
import { EmulatedBackend } from "../../backend/emulated.ts";
import type { EndpointSlice } from "../../cluster/api/endpoint-slice.ts";
import type { KubeObject } from "../../cluster/api/meta.ts";
import type { Node } from "../../cluster/api/node.ts";
import type { Service } from "../../cluster/api/service.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyMode } from "../../cluster/kube-proxy/config.ts";
import { KubeProxy } from "../../cluster/kube-proxy/kube-proxy.ts";
import type { Host } from "../../dataplane/host/host.ts";
import { formatIpv4, type Ipv4Addr, ipv4, ipv4Of } from "../../dataplane/wire/ipv4-addr.ts";

/** UDP port of every Service. */
export const SERVICE_PORT = 80;

export function clusterIp(n: number): Ipv4Addr {
  return ipv4Of(ipv4("10.96.0.0") + 10 + n);
}

/** Starts kube-proxy with `count` UDP Services, each with the same endpoints. */
export async function startKubeProxy(
  host: Host,
  mode: ProxyMode,
  count: number,
  endpoints: readonly string[],
  port: number,
): Promise<void> {
  const proxy = new KubeProxy({
    nodeName: host.name,
    backend: new EmulatedBackend(host),
    config: { ...DEFAULT_PROXY_CONFIG, mode, clusterCIDR: "10.244.0.0/16" },
    serviceCidrs: ["10.96.0.0/12"],
    sockets: host.root,
  });
  let revision = 0;
  const add = (object: KubeObject): void => {
    proxy.keys({ type: "ADDED", object, previous: undefined, revision: ++revision });
  };
  add(nodeObject(host.name));
  for (let n = 0; n < count; n++) {
    add(service(n));
    add(slice(n, endpoints, port));
  }
  await proxy.sync();
}

function nodeObject(name: string): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: { podCIDR: "10.244.1.0/24" },
    status: { addresses: [{ type: "InternalIP", address: "192.168.0.11" }] },
  };
}

function service(n: number): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name: `svc-${n}` },
    spec: {
      clusterIP: formatIpv4(clusterIp(n)),
      ports: [{ name: "dns", protocol: "UDP", port: SERVICE_PORT }],
    },
  };
}

function slice(n: number, endpoints: readonly string[], port: number): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `svc-${n}-a`, labels: { "kubernetes.io/service-name": `svc-${n}` } },
    addressType: "IPv4",
    endpoints: endpoints.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
    ports: [{ name: "dns", port, protocol: "UDP" }],
  };
}
