/** How a rule tells traffic of this node's pods from other traffic: by source address or by the device it came in on. */
import { type Family, parseCidr } from "../api/ip.ts";
import type { ProxyConfig } from "./config.ts";

/** Null where nothing can be told (then there is no masquerade by origin). */
export type LocalDetector = {
  /** Matches for iptables. */
  readonly ifLocal: string;
  readonly ifNotLocal: string;
  /** The same for nft; `header` is "ip" or "ip6". */
  nft(header: string, local: boolean): string;
} | null;

export function localDetector(config: ProxyConfig, family: Family, nodePodCidrs: readonly string[]): LocalDetector {
  switch (config.detectLocalMode) {
    case "ClusterCIDR":
      return byCidr(config.clusterCIDR.split(","), family);
    case "NodeCIDR":
      return byCidr(nodePodCidrs, family);
    case "BridgeInterface":
      return byDevice(config.bridgeInterface, `"${config.bridgeInterface}"`);
    case "InterfaceNamePrefix":
      return byDevice(`${config.interfaceNamePrefix}+`, `"${config.interfaceNamePrefix}*"`);
  }
}

function byCidr(cidrs: readonly string[], family: Family): LocalDetector {
  const cidr = cidrs.map((c) => c.trim()).find((c) => parseCidr(c)?.family === family);
  if (cidr === undefined) return null;
  const nft = (header: string, local: boolean): string => `${header} saddr ${local ? "" : "!= "}${cidr}`;
  return { ifLocal: `-s ${cidr}`, ifNotLocal: `! -s ${cidr}`, nft };
}

function byDevice(iptables: string, name: string): LocalDetector {
  const nft = (_header: string, local: boolean): string => `iifname ${local ? "" : "!= "}${name}`;
  return { ifLocal: `-i ${iptables}`, ifNotLocal: `! -i ${iptables}`, nft };
}
