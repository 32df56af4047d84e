/** Reading a namespace back in the words of `ip -j`: links, addresses, routes, neighbours, forwarding entries. */
import { Bridge } from "../bridge/bridge.ts";
import type { NetDev } from "../dev/netdev.ts";
import { Veth } from "../dev/veth.ts";
import { type Route, RT_TABLE_LOCAL, RT_TABLE_MAIN } from "../fib/route.ts";
import { currentState, NUD_NONE, nudName } from "../neigh/neigh.ts";
import { Vxlan } from "../tunnel/vxlan.ts";
import { formatIp, isKey6 } from "../wire/ip-key.ts";
import { formatMac } from "../wire/mac-addr.ts";
import { scopeName } from "./apply-net.ts";
import { vlanHolder } from "./apply-vlan.ts";
import type { NetNs } from "./netns.ts";
import type { AddrInfo, FdbInfo, LinkInfo, NeighInfo, QdiscInfo, RouteInfo, VlanInfo } from "./rtnl-ops.ts";

export function dumpLinks(ns: NetNs): LinkInfo[] {
  return sorted(ns).map((dev) => {
    const port = dev.master?.driver instanceof Bridge ? dev.master.driver.port(dev) : undefined;
    return {
      ifindex: dev.ifindex,
      name: dev.name,
      kind: dev.driver.kind,
      mac: formatMac(dev.mac),
      mtu: dev.mtu,
      up: dev.up,
      carrier: dev.up && dev.carrier,
      promisc: dev.promisc,
      master: dev.master?.name ?? null,
      hairpin: port?.hairpin ?? false,
      isolated: port?.isolated ?? false,
      alias: dev.alias,
      ...(dev.driver instanceof Bridge ? { vlanFiltering: dev.driver.vlanFiltering } : {}),
      peerIfindex: dev.driver instanceof Veth ? (dev.driver.peer?.ifindex ?? null) : null,
    };
  });
}

export function dumpVlans(ns: NetNs): VlanInfo[] {
  return sorted(ns).flatMap((dev) => (vlanHolder(dev)?.vlans.members() ?? []).map((m) => ({ dev: dev.name, ...m })));
}

export function dumpQdiscs(ns: NetNs): QdiscInfo[] {
  return sorted(ns).flatMap(({ name: dev, qdisc, ingress, redirect }): QdiscInfo[] => [
    ...(qdisc === null
      ? []
      : [
          { dev, kind: "tbf", ...qdisc.spec, burst: qdisc.burst, sent: qdisc.sentPackets, drops: qdisc.drops } as const,
        ]),
    ...(ingress ? [{ dev, kind: "ingress", redirect: redirect?.name ?? null } as const] : []),
  ]);
}

export function dumpAddrs(ns: NetNs): AddrInfo[] {
  return sorted(ns).flatMap((dev) =>
    [...dev.addrs, ...dev.addrs6].map((a) => ({
      dev: dev.name,
      address: `${formatIp(a.address)}/${a.prefixLen}`,
      scope: scopeName(a.scope),
    })),
  );
}

/** Without the local table. */
export function dumpRoutes(ns: NetNs): RouteInfo[] {
  return [...ns.fib.routes()].filter((r) => r.table !== RT_TABLE_LOCAL).map(routeInfo);
}

function routeInfo(r: Route): RouteInfo {
  return {
    dst: r.len > 0 ? `${formatIp(r.network)}/${r.len}` : isKey6(r.network) ? "::/0" : "default",
    ...(r.gateway === 0 ? {} : { via: formatIp(r.gateway) }),
    ...(r.dev === null ? {} : { dev: r.dev.name }),
    ...(r.src === 0 ? {} : { src: formatIp(r.src) }),
    ...(r.metric === 0 ? {} : { metric: r.metric }),
    ...(r.mtu === 0 ? {} : { mtu: r.mtu }),
    ...(r.onlink ? { onlink: true } : {}),
    ...(r.type === "unicast" || r.type === "local" || r.type === "broadcast" ? {} : { type: r.type }),
    ...(r.table === RT_TABLE_MAIN ? {} : { table: r.table }),
    scope: scopeName(r.scope),
    proto: r.proto,
  };
}

export function dumpNeighs(ns: NetNs): NeighInfo[] {
  return sorted(ns).flatMap((dev) =>
    [...dev.neighs.values()]
      .filter((n) => n.state !== NUD_NONE && !dev.noarp)
      .map((n) => {
        const state = nudName(currentState(ns, n));
        const known = state !== "INCOMPLETE" && state !== "FAILED";
        return { dev: dev.name, address: formatIp(n.address), mac: known ? formatMac(n.mac) : null, state };
      }),
  );
}

export function dumpFdb(ns: NetNs): FdbInfo[] {
  const infos: FdbInfo[] = [];
  for (const dev of sorted(ns)) {
    if (dev.driver instanceof Vxlan) {
      for (const e of dev.driver.fdb.entries()) {
        const state = e.permanent ? "permanent" : "";
        infos.push({ dev: dev.name, mac: formatMac(e.mac), dst: formatIp(e.target.address), state });
      }
    } else if (dev.driver instanceof Bridge) {
      for (const e of dev.driver.fdb.entries()) {
        const at = e.target?.dev.name ?? dev.name;
        infos.push({ dev: at, mac: formatMac(e.mac), dst: null, state: e.permanent ? "permanent" : "" });
      }
    }
  }
  return infos;
}

function sorted(ns: NetNs): NetDev[] {
  return [...ns.devs.values()].sort((a, b) => a.ifindex - b.ifindex);
}
