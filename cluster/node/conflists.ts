/** The network configuration lists of the networks, as their manifests install them. */

export type Network = "flannel-vxlan";
export const NETWORKS: readonly Network[] = ["flannel-vxlan"];

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
