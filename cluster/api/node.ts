/** Node (core/v1): addresses, pod CIDRs, taints. */
import { isIp, parseCidr } from "./ip.ts";
import { type Report, show } from "./issue.ts";
import { type KubeObject, kindSchema } from "./meta.ts";
import { any, bool, list, obj, oneOf, opaque, type Schema, str } from "./schema.ts";

export type Taint = {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
};
export type NodeAddress = { readonly type: string; readonly address: string };
export type NodeCondition = {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason?: string;
  readonly message?: string;
};
export type NodeSpec = {
  readonly podCIDR?: string;
  readonly podCIDRs?: readonly string[];
  readonly unschedulable?: boolean;
  readonly taints?: readonly Taint[];
  readonly providerID?: string;
};
export type NodeStatus = {
  readonly addresses?: readonly NodeAddress[];
  readonly conditions?: readonly NodeCondition[];
  readonly capacity?: Readonly<Record<string, string>>;
  readonly allocatable?: Readonly<Record<string, string>>;
};
export type Node = KubeObject & { readonly kind: "Node"; readonly spec?: NodeSpec; readonly status?: NodeStatus };

export const ZONE_LABEL = "topology.kubernetes.io/zone";
export const HOSTNAME_LABEL = "kubernetes.io/hostname";

export const nodeSchema: Schema = kindSchema({
  spec: obj({
    podCIDR: str,
    podCIDRs: list(str),
    providerID: str,
    taints: list(
      obj(
        { key: str, value: str, effect: oneOf("NoSchedule", "PreferNoSchedule", "NoExecute"), timeAdded: any },
        "key",
        "effect",
      ),
    ),
    unschedulable: bool,
    configSource: any,
    externalID: str,
  }),
  status: opaque,
});

export function checkNode(node: Node, report: Report): void {
  const cidrs = node.spec?.podCIDRs;
  if (Array.isArray(cidrs))
    for (const [i, cidr] of (cidrs as readonly string[]).entries())
      if (typeof cidr === "string" && parseCidr(cidr) === null)
        report("error", ["spec", "podCIDRs", i], show(cidr), "a CIDR such as 10.244.1.0/24");
  const cidr = node.spec?.podCIDR;
  if (typeof cidr === "string" && cidr !== "" && parseCidr(cidr) === null)
    report("error", ["spec", "podCIDR"], show(cidr), "a CIDR such as 10.244.1.0/24");
  const addresses = node.status?.addresses;
  if (!Array.isArray(addresses)) return;
  for (const [i, a] of (addresses as readonly NodeAddress[]).entries())
    if (a?.type === "InternalIP" && !isIp(String(a.address)))
      report("error", ["status", "addresses", i, "address"], show(a.address), "an IP address");
}

/** The node's pod CIDRs, primary first. */
export function podCidrs(node: Node): readonly string[] {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  return podCIDRs !== undefined && podCIDRs.length > 0
    ? podCIDRs
    : podCIDR === undefined || podCIDR === ""
      ? []
      : [podCIDR];
}

/** The node's InternalIPs, primary first. */
export function nodeIps(node: Node): readonly string[] {
  return (node.status?.addresses ?? []).filter((a) => a.type === "InternalIP").map((a) => a.address);
}
