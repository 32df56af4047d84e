/** How a rule tells traffic of this node's pods from other traffic: by source address or by the device it came in on. */
import { type Family, parseCidr } from "../api/ip.ts";
import type { ProxyConfig } from "./config.ts";

/** Matches for iptables; null where nothing can be told (then there is no masquerade by origin). */
export type LocalDetector = { readonly ifLocal: string; readonly ifNotLocal: string } | null;

export function localDetector(config: ProxyConfig, family: Family, nodePodCidrs: readonly string[]): LocalDetector {
  switch (config.detectLocalMode) {
    case "ClusterCIDR":
      return byCidr(config.clusterCIDR.split(","), family);
    case "NodeCIDR":
      return byCidr(nodePodCidrs, family);
    case "BridgeInterface":
      return byDevice(config.bridgeInterface);
    case "InterfaceNamePrefix":
      return byDevice(`${config.interfaceNamePrefix}+`);
  }
}

function byCidr(cidrs: readonly string[], family: Family): LocalDetector {
  const cidr = cidrs.map((c) => c.trim()).find((c) => parseCidr(c)?.family === family);
  return cidr === undefined ? null : { ifLocal: `-s ${cidr}`, ifNotLocal: `! -s ${cidr}` };
}

function byDevice(name: string): LocalDetector {
  return { ifLocal: `-i ${name}`, ifNotLocal: `! -i ${name}` };
}
