/** The rules of one node for given objects, without a cluster: what `proxy render` prints. */
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { Family } from "../api/ip.ts";
import type { KubeObject } from "../api/meta.ts";
import type { Service } from "../api/service.ts";
import type { ProxyConfig } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { IptablesRenderer } from "./iptables/renderer.ts";
import { IpvsRenderer } from "./ipvs/renderer.ts";
import type { ProxyNode } from "./mode.ts";
import { ServiceTracker } from "./service-tracker.ts";

export type RenderOptions = {
  readonly node: ProxyNode;
  readonly config: ProxyConfig;
  readonly family?: Family;
  readonly randomFully?: boolean;
};

/**
 * A renderer that knows the Services and EndpointSlices among the objects; `full()` is the text. Services must have
 * their ClusterIPs and node ports; those without are left out, as kube-proxy leaves them out.
 */
export function iptablesFor(objects: readonly KubeObject[], options: RenderOptions): IptablesRenderer {
  const { node, config, family = 4, randomFully = true } = options;
  const { services, endpoints } = trackersFor(objects, family, node);
  const renderer = new IptablesRenderer({ family, node, config, randomFully }, services, endpoints);
  renderer.update();
  return renderer;
}

/** The same for ipvs mode, which is IPv4 only: a renderer with its texts. */
export function ipvsFor(objects: readonly KubeObject[], options: Omit<RenderOptions, "family">): IpvsRenderer {
  const { node, config, randomFully = true } = options;
  const { services, endpoints } = trackersFor(objects, 4, node);
  const renderer = new IpvsRenderer({ node, config, randomFully }, services, endpoints);
  renderer.update();
  return renderer;
}

function trackersFor(
  objects: readonly KubeObject[],
  family: Family,
  node: ProxyNode,
): { readonly services: ServiceTracker; readonly endpoints: EndpointsTracker } {
  const services = new ServiceTracker(family);
  const endpoints = new EndpointsTracker(family, node.name);
  for (const object of objects)
    if (object.kind === "Service") services.set(object as Service);
    else if (object.kind === "EndpointSlice") endpoints.set(object as EndpointSlice);
  return { services, endpoints };
}
