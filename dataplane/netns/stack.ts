/** The protocols of a namespace, bound together: the one place that knows them all (inet_init of net/ipv4/af_inet.c). */
import { LOOPBACK_MTU, Loopback } from "../dev/loopback.ts";
import { NetDev } from "../dev/netdev.ts";
import type { World } from "../host/world.ts";
import { icmpReceive } from "../ip/icmp.ts";
import { icmpSend } from "../ip/icmp-error.ts";
import { ipReceive } from "../ip/input.ts";
import { sendReset } from "../ip/tcp-reset.ts";
import { icmp6Receive } from "../ip6/icmp.ts";
import { icmp6Send } from "../ip6/icmp-error.ts";
import { ip6Receive } from "../ip6/input.ts";
import { arpReceive } from "../neigh/arp.ts";
import { REJECT_TCP_RESET } from "../netfilter/hooks.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import { answerable, answerable6 } from "../skb/verify-checksum.ts";
import { sctpReceive } from "../sock/sctp.ts";
import { tcpReceive } from "../sock/tcp.ts";
import { udp6Receive, udpReceive } from "../sock/udp.ts";
import { DropReason } from "../wire/drop-reason.ts";
import { ETH_P_IPV6 } from "../wire/ethernet.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Mac } from "../wire/mac-addr.ts";
import { type Handlers, NetNs, type PacketHandler } from "./netns.ts";

function protocols(): (PacketHandler | null)[] {
  const table = new Array<PacketHandler | null>(256).fill(null);
  table[ipv4.PROTO_ICMP] = icmpReceive;
  table[ipv4.PROTO_TCP] = tcpReceive;
  table[ipv4.PROTO_UDP] = udpReceive;
  table[ipv4.PROTO_SCTP] = sctpReceive;
  return table;
}

function protocols6(): (PacketHandler | null)[] {
  const table = new Array<PacketHandler | null>(256).fill(null);
  table[ipv4.PROTO_ICMPV6] = icmp6Receive;
  table[ipv4.PROTO_TCP] = tcpReceive;
  table[ipv4.PROTO_UDP] = udp6Receive;
  table[ipv4.PROTO_SCTP] = sctpReceive;
  return table;
}

/** The neighbour did not answer: tell the sender, and drop (arp_error_report, ndisc_error_report). */
function linkFailure(ns: NetNs, skb: Skb): void {
  const six = skb.protocol === ETH_P_IPV6;
  if (six) icmp6Send(ns, skb, icmpv6.DEST_UNREACH, icmpv6.ADDR_UNREACH, 0);
  else icmpSend(ns, skb, icmpv4.DEST_UNREACH, icmpv4.HOST_UNREACH, 0);
  const solicited = six || (skb.dst !== null && isKey6(skb.dst.nextHop));
  drop(ns, skb, DropReason.NEIGH_FAILED, skb.trace && `nobody answered ${solicited ? "the solicitation" : "ARP"}`);
}

/** Answers what a rule rejects, unless its checksum is wrong: its sender cannot be who it says. */
function reject(ns: NetNs, skb: Skb): void {
  if (skb.protocol === ETH_P_IPV6) {
    if (!answerable6(skb)) return;
    if (skb.rejectWith === REJECT_TCP_RESET) sendReset(ns, skb, true);
    else icmp6Send(ns, skb, icmpv6.DEST_UNREACH, skb.rejectWith, 0);
    return;
  }
  if (!answerable(skb)) return;
  if (skb.rejectWith === REJECT_TCP_RESET) sendReset(ns, skb, true);
  else icmpSend(ns, skb, icmpv4.DEST_UNREACH, skb.rejectWith, 0);
}

const HANDLERS: Handlers = {
  ipv4: ipReceive,
  ipv6: ip6Receive,
  arp: arpReceive,
  protocols: protocols(),
  protocols6: protocols6(),
  linkFailure,
  reject,
  icmpError: icmpSend,
  icmp6Error: icmp6Send,
};

/** A new namespace: loopback only, and that one down, as after unshare(CLONE_NEWNET). */
export function createNetns(world: World, name: string, node: string): NetNs {
  const ns = new NetNs(world, name, node, HANDLERS);
  const lo = new NetDev(ns, "lo", new Loopback(), 0 as Mac, LOOPBACK_MTU);
  lo.noarp = true;
  lo.ifindex = ns.takeIfindex(1);
  ns.devs.set(lo.ifindex, lo);
  ns.devsByName.set("lo", lo);
  return ns;
}
