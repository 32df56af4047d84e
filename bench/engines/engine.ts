/**
 * What is compared when lookups are measured: a node that holds many Services in one way or another. A new way is a file here
 * and a line in `lookups.ts`.
 */
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { Skb } from "../../dataplane/skb/skb.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { ipv4 as address, type Ipv4Addr, ipv4Of } from "../../dataplane/wire/ipv4-addr.ts";
import * as udp from "../../dataplane/wire/udp.ts";

/** What one lookup looked at, and what a walk over all rules would have looked at. */
export type Looked = { readonly examined: number; readonly linear: number };

export interface Engine {
  readonly name: string;
  /** How the names of its variants end, where it can look up in more than one way; "" for its only one. */
  readonly variants: readonly string[];
  use(variant: string): void;
  /** Puts this many Services of two endpoints in. */
  load(services: number): void;
  /** Sends the first packet of a flow that has not been before, to an address on port 80. */
  first(to: Ipv4Addr): Looked;
  /** Begins a flow; the function that it answers sends one more packet of it. */
  established(to: Ipv4Addr): () => void;
  /** Adds Service `n`, with `endpoints` endpoints, or changes it to have that many. */
  set(n: number, endpoints: number): void;
  remove(n: number): void;
}

export const ENDPOINTS: readonly string[] = ["10.244.2.2", "10.244.3.2", "10.244.4.2"];
export const TARGET_PORT = 9;

export function serviceAddress(n: number): Ipv4Addr {
  return ipv4Of(address("10.96.0.0") + 10 + n);
}

/** A node with one interface, over which all endpoints are reached. */
export function node(): Host {
  const host = new Host(new World(1), "node");
  const netns = "host";
  applyOps(host, [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "link.add", netns, name: "eth0", kind: "dummy", up: true },
    { op: "addr.add", netns, dev: "eth0", address: "192.168.0.11/24" },
    { op: "route.add", netns, dst: "10.244.0.0/16", dev: "eth0" },
    ...ENDPOINTS.map(
      (ip) => ({ op: "neigh.replace", netns, dev: "eth0", address: ip, mac: "02:00:00:00:00:09" }) as const,
    ),
  ]);
  return host;
}

/** A UDP packet of flow number `flow` to port 80 of an address. */
export function packet(host: Host, to: Ipv4Addr, flow: number): Skb {
  const skb = host.world.pool.alloc(ipv4.HEADER_LEN + udp.HEADER_LEN);
  const b = skb.buf;
  const at = skb.data;
  const th = at + ipv4.HEADER_LEN;
  skb.network = at;
  skb.transport = th;
  skb.end = th + udp.HEADER_LEN;
  skb.protocol = ethernet.ETH_P_IP;
  skb.dev = host.root.dev("eth0") ?? null;
  udp.write(b, th, 1024 + (flow % 60000), 80, udp.HEADER_LEN);
  const from = ipv4Of(address("10.244.1.2") + (Math.floor(flow / 60000) % 200));
  ipv4.write(b, at, ipv4.HEADER_LEN + udp.HEADER_LEN, 1, 0, 64, ipv4.PROTO_UDP, from, to, 0);
  return skb;
}
