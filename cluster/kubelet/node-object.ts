/** The Node object that a kubelet registers. */
import { HOSTNAME_LABEL, type Node, ZONE_LABEL } from "../api/node.ts";

export type NodeDescription = {
  readonly name: string;
  /** InternalIPs, primary first. */
  readonly ips: readonly string[];
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly podCidrs?: readonly string[];
  readonly maxPods?: number;
};

export function nodeObject(description: NodeDescription): Node {
  const { name, ips, zone, labels, podCidrs, maxPods = 110 } = description;
  const capacity = { cpu: "8", memory: "16Gi", pods: String(maxPods) };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        [HOSTNAME_LABEL]: name,
        ...(zone === undefined ? {} : { [ZONE_LABEL]: zone }),
        ...labels,
      },
    },
    spec: podCidrs === undefined || podCidrs[0] === undefined ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    status: {
      addresses: [...ips.map((address) => ({ type: "InternalIP", address })), { type: "Hostname", address: name }],
      capacity,
      allocatable: capacity,
      conditions: [
        { type: "MemoryPressure", status: "False", reason: "KubeletHasSufficientMemory" },
        { type: "DiskPressure", status: "False", reason: "KubeletHasNoDiskPressure" },
        { type: "PIDPressure", status: "False", reason: "KubeletHasSufficientPID" },
        { type: "Ready", status: "True", reason: "KubeletReady" },
      ],
    },
  };
}
