/** Source address selection, after inet_select_addr (net/ipv4/devinet.c) and ipv6_dev_get_saddr (net/ipv6/addrconf.c). */
import type { NetDev } from "../dev/netdev.ts";
import { RT_SCOPE_LINK } from "../fib/route.ts";
import { commonBits6, type IpKey, isLinkLocal6 } from "../wire/ip-key.ts";
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

/**
 * The IPv6 address to speak from when talking to `target` by `dev` (RFC 6724 section 5, as far as scope, interface and the
 * longest common prefix go): for a neighbour's link-local address the device's own, else the one with most in common.
 */
export function addressFor6(dev: NetDev, target: IpKey): IpKey | 0 {
  const local = isLinkLocal6(target);
  let best: IpKey | 0 = 0;
  let bits = -1;
  const look = (candidate: NetDev): void => {
    for (const { address, scope } of candidate.addrs6) {
      if (scope > RT_SCOPE_LINK || isLinkLocal6(address) !== local) continue;
      const common = commonBits6(address, target);
      if (common <= bits) continue;
      bits = common;
      best = address;
    }
  };
  look(dev);
  if (best === 0 && !local) for (const other of dev.ns.devs.values()) if (other !== dev && other.up) look(other);
  // Discovery towards a global address may be asked from the link-local one.
  return best === 0 ? linkLocalOf(dev) : best;
}

/** The device's link-local address; 0 if it has none (ipv6_get_lladdr). */
export function linkLocalOf(dev: NetDev): IpKey | 0 {
  for (const { address } of dev.addrs6) if (isLinkLocal6(address)) return address;
  return 0;
}
