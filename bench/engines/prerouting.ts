/** Packets through the rules at PREROUTING of a node: what engines that are netfilter's have in common. */
import type { Host } from "../../dataplane/host/host.ts";
import { NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING } from "../../dataplane/netfilter/hooks.ts";
import { netfilterOf } from "../../dataplane/netfilter/restore-op.ts";
import type { Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";
import { type Looked, packet } from "./engine.ts";

/** The first packet of flow number `flow`. */
export function firstPacket(host: Host, to: Ipv4Addr, flow: number): Looked {
  const { root, world } = host;
  const nf = netfilterOf(root);
  const skb = packet(host, to, flow);
  nf?.hook(root, NF_INET_PRE_ROUTING, skb, skb.dev, null);
  world.pool.free(skb);
  return { examined: nf?.examined ?? 0, linear: nf?.linear ?? 0 };
}

/** Begins flow number `flow`; the function that it answers sends one more packet of it. */
export function establishedFlow(host: Host, to: Ipv4Addr, flow: number): () => void {
  const { root, world } = host;
  const nf = netfilterOf(root);
  const first = packet(host, to, flow);
  nf?.hook(root, NF_INET_PRE_ROUTING, first, first.dev, null);
  nf?.hook(root, NF_INET_POST_ROUTING, first, null, first.dev);
  world.pool.free(first);
  return () => {
    const skb = packet(host, to, flow);
    nf?.hook(root, NF_INET_PRE_ROUTING, skb, skb.dev, null);
    world.pool.free(skb);
  };
}
