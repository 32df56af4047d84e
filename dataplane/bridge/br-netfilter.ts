/**
 * Bridged IP packets through the IP hooks, as net/bridge/br_netfilter_hooks.c and br_netfilter_ipv6.c do while
 * bridge-nf-call-iptables (of IPv6: -ip6tables) is 1: PREROUTING when a frame enters the bridge, FORWARD and POSTROUTING when
 * it is bridged on. A packet that goes up to the host has had its PREROUTING and does not get it twice.
 */
import type { NetDev } from "../dev/netdev.ts";
import { nfPass } from "../ip/hook.ts";
import { checkHeader } from "../ip/input.ts";
import { nfPass6 } from "../ip6/hook.ts";
import { checkHeader as checkHeader6 } from "../ip6/input.ts";
import { currentState, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE, neighFor, neighOutput } from "../neigh/neigh.ts";
import { NF_INET_FORWARD, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { PACKET_HOST, PACKET_OTHERHOST, type Skb } from "../skb/skb.ts";
import { i32, setU16, setU32, u16 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { dstAt } from "../wire/ip-header.ts";
import { isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import type { Bridge, BridgePort } from "./bridge.ts";

const CONNECTED = NUD_REACHABLE | NUD_PERMANENT | NUD_NOARP;

/** Whether the hooks of its family are to see a packet. */
export function isFiltered(ns: NetNs, skb: Skb): boolean {
  const { protocol } = skb;
  if (protocol === ethernet.ETH_P_IP) return ns.sysctls.bridgeNfCallIptables;
  return protocol === ethernet.ETH_P_IPV6 && ns.sysctls.bridgeNfCallIp6tables;
}

/**
 * Answers the packet to go on with: the same, the datagram that it completed (conntrack sees no fragments), or null if it
 * is gone or waits for its other fragments. `skb.data` is at the Ethernet header before and after.
 */
export function bridgePrerouting(bridge: Bridge, port: BridgePort, frame: Skb): Skb | null {
  const br = bridge.dev as NetDev;
  const ns = br.ns;
  let skb = frame;
  const six = skb.protocol === ethernet.ETH_P_IPV6;
  const bad = six ? checkHeader6(skb, br) : checkHeader(skb);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return null;
  }
  if (isTracked(ns, six) && isFragment(skb, six)) {
    const whole = six ? ns.reassembler6.add(skb, false) : ns.reassembler.add(skb);
    if (whole === null) return null;
    skb = whole;
    skb.data = skb.mac;
  }
  // Whatever the rules, a bad header ends here, and octets behind the packet are cut off.
  skb.sabotage = true;
  if ((six ? ns.nf6 : ns.nf) === null) return skb;
  const before = dstAt(skb.buf, skb.network);
  const pktType = skb.pktType;
  skb.physIn = port.dev;
  skb.dev = br;
  // The IP layer sees a packet for this host, whoever the frame is for; the type is put back after.
  if (pktType === PACKET_OTHERHOST) skb.pktType = PACKET_HOST;
  skb.data = skb.network;
  if (!(six ? nfPass6 : nfPass)(ns, NF_INET_PRE_ROUTING, skb, br, null)) return null;
  skb.data = skb.mac;
  skb.pktType = pktType;
  if (dstAt(skb.buf, skb.network) !== before && !rewritten(port, br, skb)) return null;
  return skb;
}

function isTracked(ns: NetNs, six: boolean): boolean {
  return (six ? ns.nf6 : ns.nf)?.tracking === true;
}

function isFragment(skb: Skb, six: boolean): boolean {
  const { buf: b, network: at } = skb;
  return six ? ipv6.fragmentHeader(b, at, skb.end) >= 0 : ipv4.isFragment(b, at);
}

/** DNAT changed where the packet goes: to a neighbour on this bridge, or up to be routed. */
function rewritten(port: BridgePort, br: NetDev, skb: Skb): boolean {
  const ns = br.ns;
  const address = dstAt(skb.buf, skb.network);
  const forwards = isKey6(address) ? ns.sysctls.ip6Forward : ns.sysctls.ipForward;
  const dst = ns.fib.dst(address);
  if (dst.type === "none" || (dst.type === "unicast" && dst.dev !== br && !forwards)) {
    drop(ns, skb, DropReason.IP_INNOROUTES);
    return false;
  }
  if (dst.type === "unicast" && dst.dev === br) {
    const neigh = neighFor(br, dst.nextHop);
    if ((currentState(ns, neigh) & CONNECTED) !== 0) {
      ethernet.setDst(skb.buf, skb.data, neigh.mac);
      return true;
    }
    // The neighbour must be asked, or confirmed: the bridge goes on in `bridgeRedirected`.
    skb.bridgedDnat = port.dev;
    skb.senderHi = u16(skb.buf, skb.data + 6);
    skb.senderLo = i32(skb.buf, skb.data + 8);
    skb.data = skb.network;
    neighOutput(ns, neigh, skb);
    return false;
  }
  ethernet.setDst(skb.buf, skb.data, br.mac);
  skb.pktType = PACKET_HOST;
  return true;
}

/** br_dev_xmit of a packet that PREROUTING led to a neighbour on this bridge: it comes from where it came from. */
export function bridgeRedirected(bridge: Bridge, skb: Skb): void {
  const from = skb.bridgedDnat as NetDev;
  skb.bridgedDnat = null;
  const port = bridge.port(from);
  if (port === undefined) {
    drop(from.ns, skb, DropReason.DEV_READY, skb.trace && `${from.name} has left the bridge`);
    return;
  }
  setU16(skb.buf, skb.data + 6, skb.senderHi);
  setU32(skb.buf, skb.data + 8, skb.senderLo);
  bridge.frame(port, skb);
}

/** FORWARD and POSTROUTING of a bridged packet. Answers false if it is gone. */
export function bridgeForward(bridge: Bridge, target: BridgePort, skb: Skb): boolean {
  const br = bridge.dev as NetDev;
  const ns = br.ns;
  const six = skb.protocol === ethernet.ETH_P_IPV6;
  if ((six ? ns.nf6 : ns.nf) === null) return true;
  const pass = six ? nfPass6 : nfPass;
  const dev = skb.dev;
  const pktType = skb.pktType;
  skb.physOut = target.dev;
  skb.data = skb.network;
  skb.pktType = PACKET_HOST;
  if (!pass(ns, NF_INET_FORWARD, skb, br, br)) return false;
  if (ns.ipvs !== null && !ns.ipvs.forward(ns, skb)) return false;
  if (!pass(ns, NF_INET_POST_ROUTING, skb, br, br)) return false;
  skb.data = skb.mac;
  skb.pktType = pktType;
  skb.dev = dev;
  skb.sabotage = false;
  return true;
}
