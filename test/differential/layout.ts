/**
 * What both labs are built from: the two nodes that flannel would lay out, as the same list of operations, with every MAC
 * fixed. Pods a and b are on node 1, pod c is on node 2.
 *
 *   a 10.244.1.2 ─┐                                                            ┌─ c 10.244.2.2
 *                 cni0 10.244.1.1 ─ flannel.1 10.244.1.0 ══ flannel.1 10.244.2.0 ─ cni0 10.244.2.1
 *   b 10.244.1.3 ─┘           eth0 192.168.0.11 ── cable ── eth0 192.168.0.12
 */
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";

/** A namespace of the lab. */
export type Place = "node-1" | "node-2" | "a" | "b" | "c";
export const PLACES: readonly Place[] = ["node-1", "node-2", "a", "b", "c"];

type Node = "node-1" | "node-2";
export type PodPlan = { readonly node: Node; readonly address: string; readonly mac: string; readonly port: string };

export const PODS: Readonly<Record<"a" | "b" | "c", PodPlan>> = {
  a: { node: "node-1", address: "10.244.1.2", mac: "0a:58:0a:f4:01:02", port: "vetha" },
  b: { node: "node-1", address: "10.244.1.3", mac: "0a:58:0a:f4:01:03", port: "vethb" },
  c: { node: "node-2", address: "10.244.2.2", mac: "0a:58:0a:f4:02:02", port: "vethc" },
};

export const NODES: Readonly<Record<Node, { readonly address: string; readonly mac: string }>> = {
  "node-1": { address: "192.168.0.11", mac: "52:54:00:00:00:11" },
  "node-2": { address: "192.168.0.12", mac: "52:54:00:00:00:12" },
};

/** MAC of the bridge of a node, which is where its pods' default route leads. */
export const GATEWAY_MAC: Readonly<Record<Node, string>> = {
  "node-1": "0a:58:0a:f4:01:01",
  "node-2": "0a:58:0a:f4:02:01",
};

/** A node's operations: its root namespace is "host", each pod's is named as the pod. Card eth0 is there already, and up. */
export function nodeOps(node: Node): RtnlOp[] {
  const n = node === "node-1" ? 1 : 2;
  const other = 3 - n;
  const netns = "host";
  const ops: RtnlOp[] = [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "addr.add", netns, dev: "eth0", address: `192.168.0.1${n}/24` },
    { op: "link.add", netns, name: "cni0", kind: "bridge", mac: GATEWAY_MAC[node], mtu: 1450, up: true },
    { op: "addr.add", netns, dev: "cni0", address: `10.244.${n}.1/24` },
    {
      op: "link.add",
      netns,
      name: "flannel.1",
      kind: "vxlan",
      vni: 1,
      local: `192.168.0.1${n}`,
      dev: "eth0",
      mac: `0a:00:00:00:00:0${n}`,
      learning: false,
      up: true,
    },
    { op: "addr.add", netns, dev: "flannel.1", address: `10.244.${n}.0/32` },
  ];
  for (const [pod, plan] of Object.entries(PODS)) {
    if (plan.node !== node) continue;
    const peer = { name: plan.port, netns, mtu: 1450, mac: `0a:58:ff:00:0${n}:0${pod}`, master: "cni0", up: true };
    ops.push(
      { op: "link.add", netns: pod, name: "eth0", kind: "veth", mac: plan.mac, mtu: 1450, up: true, peer },
      { op: "addr.add", netns: pod, dev: "eth0", address: `${plan.address}/24` },
      { op: "route.add", netns: pod, dst: "default", via: `10.244.${n}.1` },
      { op: "link.set", netns: pod, name: "lo", up: true },
    );
  }
  const via = `10.244.${other}.0`;
  const mac = `0a:00:00:00:00:0${other}`;
  ops.push(
    { op: "neigh.replace", netns, dev: "flannel.1", address: via, mac },
    { op: "fdb.replace", netns, dev: "flannel.1", mac, dst: `192.168.0.1${other}` },
    { op: "route.add", netns, dst: `10.244.${other}.0/24`, via, dev: "flannel.1", onlink: true },
  );
  return ops;
}
