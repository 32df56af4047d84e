/** subnet.env: what flanneld tells the flannel CNI plugin of a node. */
import { familyOf, nth, parseCidr } from "../../api/ip.ts";

export type SubnetEnv = {
  /** Of each family, IPv4 before IPv6: the whole network, and the node's part of it. */
  readonly sides: readonly { readonly network: string; readonly subnet: string }[];
  readonly mtu: number;
  readonly ipMasq: boolean;
};

/** FLANNEL_SUBNET is the subnet's first address, with its length. */
export function formatSubnetEnv({ sides, mtu, ipMasq }: SubnetEnv): string {
  const networks = sides.map(({ network, subnet }) => {
    const cidr = parseCidr(subnet);
    if (cidr === null) throw new Error(`flannel: subnet ${subnet}: not a CIDR`);
    const prefix = familyOf(subnet) === 4 ? "FLANNEL" : "FLANNEL_IPV6";
    return `${prefix}_NETWORK=${network}\n${prefix}_SUBNET=${nth(cidr, 1)}/${cidr.bits}\n`;
  });
  return `${networks.join("")}FLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=${ipMasq}\n`;
}
