/** flanneld's rules of one family (--ip-masq, --iptables-forward-rules): one restore --noflush text. The order matters. */
import { familyOf } from "../../api/ip.ts";

export type FlannelRules = {
  readonly network: string;
  readonly subnet: string;
  readonly ipMasq: boolean;
  /** Jumps that are in place already are not appended again. */
  readonly hasMasqJump?: boolean;
  readonly hasForwardJump?: boolean;
};

const MASQ = '-m comment --comment "flanneld masq"';
const FORWARD = '-m comment --comment "flanneld forward"';

export function flannelRules({ network, subnet, ipMasq, hasMasqJump, hasForwardJump }: FlannelRules): string {
  const multicast = familyOf(network) === 4 ? "224.0.0.0/4" : "ff00::/8";
  const masquerade = [
    "*nat",
    ":FLANNEL-POSTRTG - [0:0]",
    ...(hasMasqJump === true ? [] : [`-A POSTROUTING ${MASQ} -j FLANNEL-POSTRTG`]),
    // kube-proxy's marked traffic is masqueraded by kube-proxy.
    `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${MASQ} -j RETURN`,
    // Between pods nothing is rewritten, nor is what arrives for this node's pods from outside.
    `-A FLANNEL-POSTRTG -s ${subnet} -d ${network} ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${network} -d ${subnet} ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG ! -s ${network} -d ${subnet} ${MASQ} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${network} ! -d ${multicast} ${MASQ} -j MASQUERADE --random-fully`,
    `-A FLANNEL-POSTRTG ! -s ${network} -d ${network} ${MASQ} -j MASQUERADE --random-fully`,
    "COMMIT",
  ];
  const forward = [
    "*filter",
    ":FLANNEL-FWD - [0:0]",
    ...(hasForwardJump === true ? [] : [`-A FORWARD ${FORWARD} -j FLANNEL-FWD`]),
    `-A FLANNEL-FWD -s ${network} ${FORWARD} -j ACCEPT`,
    `-A FLANNEL-FWD -d ${network} ${FORWARD} -j ACCEPT`,
    "COMMIT",
  ];
  return `${[...(ipMasq ? masquerade : []), ...forward].join("\n")}\n`;
}
