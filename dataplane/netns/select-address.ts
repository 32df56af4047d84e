/** Source address selection, after inet_select_addr (net/ipv4/devinet.c). */
import type { NetDev } from "../dev/netdev.ts";
import { RT_SCOPE_LINK } from "../fib/route.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { maskOf } from "../wire/prefix.ts";

/**
 * The address to speak from when talking to `target` by `dev`: one in the target's own prefix, else the device's first,
 * else the first of any other device; 0 if there is none. Addresses of host scope (loopback's) are left out.
 */
export function addressFor(dev: NetDev, target: Ipv4Addr | 0): Ipv4Addr | 0 {
  let first: Ipv4Addr | 0 = 0;
  for (const a of dev.addrs) {
    if (a.scope > RT_SCOPE_LINK) continue;
    if (target !== 0 && ((a.address ^ target) & maskOf(a.prefixLen)) === 0) return a.address;
    if (first === 0) first = a.address;
  }
  if (first !== 0) return first;
  for (const other of dev.ns.devs.values()) {
    if (other === dev || !other.up) continue;
    for (const a of other.addrs) if (a.scope === 0) return a.address;
  }
  return 0;
}
