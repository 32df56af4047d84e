/** The network configuration lists of the networks, as their manifests install them. */
import type { FlannelBackend } from "../agents/flannel/net-conf.ts";

export type Network = "flannel-vxlan" | "flannel-host-gw";
export const NETWORKS: readonly Network[] = ["flannel-vxlan", "flannel-host-gw"];

/** flannel's backend of each network. */
export const FLANNEL_BACKENDS: Readonly<Record<Network, FlannelBackend>> = {
  "flannel-vxlan": "vxlan",
  "flannel-host-gw": "host-gw",
};

/** kube-flannel.yml's list: flannel delegates to bridge, portmap serves host ports. */
export function conflistOf(_network: Network): string {
  return `${JSON.stringify(
    {
      name: "cbr0",
      cniVersion: "0.3.1",
      plugins: [
        { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    },
    null,
    2,
  )}\n`;
}
