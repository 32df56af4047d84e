/** `fib`: what the routes say about an address of the packet (net/ipv4/netfilter/nft_fib_ipv4.c). */

import { NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import { typeOf } from "../netfilter/match/addrtype.ts";
import type { NfPacket } from "../netfilter/packet.ts";
import { ipv4Of } from "../wire/ipv4-addr.ts";
import { ifnameId } from "./ifname.ts";
import type { Load } from "./keys.ts";

/** No interface. */
const NONE = -1;

/** The type of the address (RTN_*), or the interface that it is reached by, as `ifname.ts` numbers it. */
export function fibValue(load: Extract<Load, { kind: "fib" }>, p: NfPacket): number {
  const address = load.source ? p.src : p.dst;
  const dev = load.iif ? p.input : load.oif ? p.output : null;
  if (load.result === "type") return typeOf(p, address, dev);
  const { input } = p;
  if (input !== null && p.hook === NF_INET_PRE_ROUTING && input.driver.kind === "loopback") return ifnameId(input.name);
  if (p.src >>> 24 === 0 && input !== null && (p.dst === -1 || p.dst >>> 8 === 0xe00000)) return ifnameId(input.name);
  const dst = p.ns.fib.dst(ipv4Of(address));
  if (dst.type !== "unicast" || dst.dev === null) return NONE;
  if (dev !== null && dst.dev !== dev) return NONE;
  return ifnameId(dst.dev.name);
}
