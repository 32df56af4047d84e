/** The rules of one node for given objects, without a cluster: what `proxy render` prints. */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import { type Family, familyOf } from "../api/ip.ts";
import type { KubeObject } from "../api/meta.ts";
import type { Service } from "../api/service.ts";
import type { ProxyConfig, ProxyMode } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { IptablesRenderer } from "./iptables/renderer.ts";
import { IpvsRenderer } from "./ipvs/renderer.ts";
import type { ProxyNode } from "./mode.ts";
import { NftablesRenderer } from "./nftables/renderer.ts";
import { ServiceTracker } from "./service-tracker.ts";
import { UserspaceMode } from "./userspace/mode.ts";

export type Tool = "iptables-restore" | "ip6tables-restore" | "ipset" | "ipvsadm" | "nft";

/** What each mode writes, in the order in which the tools are to read it. */
export const TOOLS: Readonly<Record<ProxyMode, readonly Tool[]>> = {
  iptables: ["iptables-restore", "ip6tables-restore"],
  ipvs: ["ipset", "iptables-restore", "ip6tables-restore", "ipvsadm"],
  nftables: ["nft"],
  userspace: ["iptables-restore", "ip6tables-restore"],
};

export type RenderOptions = {
  readonly node: ProxyNode;
  readonly config: ProxyConfig;
  readonly family?: Family;
  readonly randomFully?: boolean;
  /** nftables mode: what is in them and no Service's is dropped. */
  readonly serviceCidrs?: readonly string[];
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

/** The same for ipvs mode: a renderer with its texts. */
export function ipvsFor(objects: readonly KubeObject[], options: RenderOptions): IpvsRenderer {
  const { node, config, family = 4, randomFully = true } = options;
  const { services, endpoints } = trackersFor(objects, family, node);
  const renderer = new IpvsRenderer({ family, node, config, randomFully }, services, endpoints);
  renderer.update();
  return renderer;
}

/** The texts of a mode, by the tool that reads them; userspace mode has the family of the node's primary address. */
export function textsFor(
  objects: readonly KubeObject[],
  options: Omit<RenderOptions, "family">,
): ReadonlyMap<Tool, string> {
  switch (options.config.mode) {
    case "ipvs": {
      const [four, six] = [ipvsFor(objects, { ...options, family: 4 }), ipvsFor(objects, { ...options, family: 6 })];
      return new Map([
        ["ipset", four.setsText() + six.setsText()],
        ["iptables-restore", four.rulesText()],
        ["ip6tables-restore", six.rulesText()],
        ["ipvsadm", four.serversText() + six.serversText()],
      ]);
    }
    case "nftables":
      return new Map([["nft", nftablesFor(objects, options, 4) + nftablesFor(objects, options, 6)]]);
    case "userspace": {
      const family = familyOf(options.node.ips[0] ?? "");
      const tool = family === 4 ? "iptables-restore" : "ip6tables-restore";
      return new Map([[tool, userspaceFor(objects, options, family).render()]]);
    }
    default:
      return new Map([
        ["iptables-restore", iptablesFor(objects, { ...options, family: 4 }).full()],
        ["ip6tables-restore", iptablesFor(objects, { ...options, family: 6 }).full()],
      ]);
  }
}

function nftablesFor(objects: readonly KubeObject[], options: RenderOptions, family: Family): string {
  const { node, config, serviceCidrs = [] } = options;
  return new NftablesRenderer({ family, node, config, serviceCidrs, ...trackersFor(objects, family, node) }).full();
}

/** userspace mode on a node with nothing on it; which ports its relays get is chance, as on any node. */
function userspaceFor(objects: readonly KubeObject[], options: RenderOptions, family: Family): UserspaceMode {
  const { node, config, randomFully = true } = options;
  const host = new Host(new World(1), node.name);
  const backend = new EmulatedBackend(host);
  const context = {
    family,
    node,
    config,
    randomFully,
    backend,
    serviceCidrs: [],
    ...trackersFor(objects, family, node),
  } as const;
  return new UserspaceMode(context, host.root);
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
