/** Two nodes with a bridge, a pod on each, and a VXLAN between them, as flannel lays it out; no control plane. */
import { Host } from "../../dataplane/host/host.ts";
import { Underlay, type UnderlayOptions } from "../../dataplane/host/underlay.ts";
import { World } from "../../dataplane/host/world.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { ipv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { mac } from "../../dataplane/wire/mac-addr.ts";
import type { Layout } from "./layout.ts";

export type TwoNodes = Layout & {
  readonly underlay: Underlay;
  readonly nodes: readonly [Host, Host];
  /** The client and the server. */
  readonly pods: readonly [NetNs, NetNs];
};

/**
 * Node n is 192.168.0.1n, its pods are in 10.244.n.0/24, the bridge is cni0 and the tunnel flannel.1. The client is
 * 10.244.1.2, the server has 10.244.2.2 and .3.
 */
export function twoNodes(seed = 1, options: UnderlayOptions = {}): TwoNodes {
  const world = new World(seed);
  const underlay = new Underlay(world, options);
  const first = node(world, underlay, 1);
  const second = node(world, underlay, 2);
  peer(first.host, 2);
  peer(second.host, 1);
  applyOps(second.host, [{ op: "addr.add", netns: second.pod, dev: "eth0", address: "10.244.2.3/24" }]);
  const client = first.host.netns(first.pod);
  const link = client.dev("eth0");
  if (link === undefined) throw new Error("the client has no eth0");
  const server = second.host.netns(second.pod);
  return {
    world,
    underlay,
    nodes: [first.host, second.host],
    pods: [client, server],
    client,
    server,
    clientAddress: ipv4("10.244.1.2"),
    endpoints: ["10.244.2.2", "10.244.2.3"],
    link,
    gateway: mac("0a:58:0a:f4:01:01"),
  };
}

function node(world: World, underlay: Underlay, n: number): { host: Host; pod: string } {
  const host = new Host(world, `node-${n}`);
  host.addNic("eth0", underlay, mac(`52:54:00:00:00:1${n}`), 1500);
  const path = host.addNetns("pod");
  const netns = "host";
  const ops: RtnlOp[] = [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "addr.add", netns, dev: "eth0", address: `192.168.0.1${n}/24` },
    { op: "link.add", netns, name: "cni0", kind: "bridge", mac: `0a:58:0a:f4:0${n}:01`, mtu: 1450, up: true },
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
    {
      op: "link.add",
      netns: path,
      name: "eth0",
      kind: "veth",
      mac: `0a:58:0a:f4:0${n}:02`,
      mtu: 1450,
      up: true,
      peer: { name: "veth0", netns: "host", mtu: 1450, master: "cni0", up: true },
    },
    { op: "addr.add", netns: path, dev: "eth0", address: `10.244.${n}.2/24` },
    { op: "route.add", netns: path, dst: "default", via: `10.244.${n}.1` },
    { op: "link.set", netns: path, name: "lo", up: true },
  ];
  applyOps(host, ops);
  return { host, pod: path };
}

function peer(host: Host, other: number): void {
  const netns = "host";
  const via = `10.244.${other}.0`;
  applyOps(host, [
    { op: "neigh.replace", netns, dev: "flannel.1", address: via, mac: `0a:00:00:00:00:0${other}` },
    { op: "fdb.replace", netns, dev: "flannel.1", mac: `0a:00:00:00:00:0${other}`, dst: `192.168.0.1${other}` },
    { op: "route.add", netns, dst: `10.244.${other}.0/24`, via, dev: "flannel.1", onlink: true },
  ]);
}
