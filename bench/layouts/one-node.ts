/**
 * Two pods of one node, routed: veth → PREROUTING → FORWARD → POSTROUTING → veth. How the first packets of flows were
 * measured on Linux, without bridge or tunnel.
 */
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { ipv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { mac } from "../../dataplane/wire/mac-addr.ts";
import type { Layout } from "./layout.ts";

const GATEWAY = "0a:58:0a:f4:01:01";

/** The client is 10.244.1.2; the server, in 10.244.2.0/24, has .2 and .3. */
export function oneNode(seed = 1): Layout {
  const world = new World(seed);
  const host = new Host(world, "node-1");
  const [client, server] = [host.addNetns("client"), host.addNetns("server")];
  const netns = "host";
  applyOps(host, [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "link.set", netns, name: "lo", up: true },
    ...pod(client, 1, ["10.244.1.2"]),
    ...pod(server, 2, ["10.244.2.2", "10.244.2.3"]),
  ]);
  const link = host.netns(client).dev("eth0");
  if (link === undefined) throw new Error("the client has no eth0");
  return {
    world,
    nodes: [host],
    client: host.netns(client),
    server: host.netns(server),
    clientAddress: ipv4("10.244.1.2"),
    endpoints: ["10.244.2.2", "10.244.2.3"],
    link,
    gateway: mac(GATEWAY),
  };
}

function pod(path: string, n: number, addresses: readonly string[]): RtnlOp[] {
  const host = `veth${n}`;
  return [
    {
      op: "link.add",
      netns: path,
      name: "eth0",
      kind: "veth",
      mac: `0a:58:0a:f4:0${n}:02`,
      up: true,
      peer: { name: host, netns: "host", mac: `0a:58:0a:f4:0${n}:01`, up: true },
    },
    { op: "addr.add", netns: "host", dev: host, address: `10.244.${n}.1/24` },
    ...addresses.map((a): RtnlOp => ({ op: "addr.add", netns: path, dev: "eth0", address: `${a}/24` })),
    { op: "route.add", netns: path, dst: "default", via: `10.244.${n}.1` },
    { op: "link.set", netns: path, name: "lo", up: true },
  ];
}
