/** `fib`: what the routes say about an address of the packet (net/ipv4/netfilter/nft_fib_ipv4.c, and its twin of IPv6). */

import { NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import { typeOf } from "../netfilter/match/addrtype.ts";
import type { NfPacket } from "../netfilter/packet.ts";
import { ETH_P_IPV6 } from "../wire/ethernet.ts";
import { isLinkLocal6, isUnspecifiedKey6, word6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import { ipv4Of } from "../wire/ipv4-addr.ts";
import { ifnameId } from "./ifname.ts";
import type { Load } from "./keys.ts";

/** ff02::/16. */
const LINK_GROUPS = 0xff02;

/** No interface. */
const NONE = -1;

/** The type of the address (RTN_*), or the interface that it is reached by, as `ifname.ts` numbers it. */
export function fibValue(load: Extract<Load, { kind: "fib" }>, p: NfPacket): number {
  const address = load.source ? p.src : p.dst;
  const dev = load.iif ? p.input : load.oif ? p.output : null;
  if (load.result === "type") return typeOf(p, address, dev);
  const { input } = p;
  if (input !== null && p.hook === NF_INET_PRE_ROUTING && input.driver.kind === "loopback") return ifnameId(input.name);
  if (input !== null && (p.l3 === ETH_P_IPV6 ? fromNowhere6(p) : fromNowhere(p))) return ifnameId(input.name);
  const dst = p.ns.fib.dst(ipv4Of(address));
  if (dst.type !== "unicast" || dst.dev === null) return NONE;
  if (dev !== null && dst.dev !== dev) return NONE;
  return ifnameId(dst.dev.name);
}

/** From an address of 0.0.0.0/8 to all hosts of the link. */
function fromNowhere(p: NfPacket): boolean {
  return p.src >>> 24 === 0 && (p.dst === -1 || p.dst >>> 8 === 0xe00000);
}

/** Discovery from no address yet, to the link (nft_fib_v6_skip_icmpv6). */
function fromNowhere6(p: NfPacket): boolean {
  if (p.hook !== NF_INET_PRE_ROUTING || p.proto !== PROTO_ICMPV6) return false;
  if (!isUnspecifiedKey6(p.src)) return false;
  return isLinkLocal6(p.dst) || word6(p.dst, 0) >>> 16 === LINK_GROUPS;
}
