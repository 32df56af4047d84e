/** subnet.env: what flanneld tells the flannel CNI plugin of a node. */
import { nth, parseCidr } from "../../api/ip.ts";

export type SubnetEnv = {
  readonly network: string;
  readonly subnet: string;
  readonly mtu: number;
  readonly ipMasq: boolean;
};

/** FLANNEL_SUBNET is the subnet's first address, with its length. */
export function formatSubnetEnv({ network, subnet, mtu, ipMasq }: SubnetEnv): string {
  const cidr = parseCidr(subnet);
  if (cidr === null) throw new Error(`flannel: subnet ${subnet}: not a CIDR`);
  return `FLANNEL_NETWORK=${network}\nFLANNEL_SUBNET=${nth(cidr, 1)}/${cidr.bits}\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=${ipMasq}\n`;
}
