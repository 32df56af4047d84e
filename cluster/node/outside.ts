/**
 * What is not a node: the router that nodes send everything else to, the world behind it, which answers for every address,
 * and the host of the API server. Each has an address of each family of the cluster.
 *
 * Neither knows addresses of pods and Services: the router drops what is for them, as one at the edge of a site would.
 *
 *   nodes ── underlay ── eth0 router eth1 ── wan ── eth0 external (203.0.113.10, 2001:db8::10; 0.0.0.0/0 and ::/0 local)
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { RT_SCOPE_HOST, RT_TABLE_MAIN } from "../../dataplane/fib/route.ts";
import { Host } from "../../dataplane/host/host.ts";
import { Underlay } from "../../dataplane/host/underlay.ts";
import type { World } from "../../dataplane/host/world.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { key6 } from "../../dataplane/wire/ip-key.ts";
import { ipv4Of } from "../../dataplane/wire/ipv4-addr.ts";
import { UNSPECIFIED6 } from "../../dataplane/wire/ipv6-addr.ts";
import { macOf } from "../../dataplane/wire/mac-addr.ts";
import { type Family, formatCidr } from "../api/ip.ts";
import type { AddressPlan } from "./address-plan.ts";

/** The addresses that outside clients have (TEST-NET-3, RFC 5737; RFC 3849). */
export const CLIENTS: Readonly<Record<Family, string>> = { 4: "203.0.113.10", 6: "2001:db8::10" };
/** The router's addresses on the side of the world. */
export const ROUTER_OUTSIDE: Readonly<Record<Family, string>> = { 4: "203.0.113.1", 6: "2001:db8::1" };
const WAN_BITS: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };
export const API_PORT = 6443;
export const ROUTER = "router";

export type Outside = { readonly router: Host; readonly external: Host };

const netns = "host";

/** `inside`: CIDRs that no address outside is in. */
export async function bootOutside(
  world: World,
  underlay: Underlay,
  plan: AddressPlan,
  mtu: number,
  inside: readonly string[],
): Promise<Outside> {
  const families = plan.networks.map((n) => n.family);
  const wan = new Underlay(world, { delay: underlay.delay });
  const router = new Host(world, ROUTER);
  router.addNic("eth0", underlay, macOf(0x5254000000fe), mtu);
  router.addNic("eth1", wan, macOf(0x5254000001fe), mtu);
  await new EmulatedBackend(router).apply([
    ...plan.router.map((address): RtnlOp => ({ op: "addr.add", netns, dev: "eth0", address })),
    ...families.flatMap((family): RtnlOp[] => [
      { op: "addr.add", netns, dev: "eth1", address: `${ROUTER_OUTSIDE[family]}/${WAN_BITS[family]}` },
      { op: "route.add", netns, dst: "default", via: CLIENTS[family] },
    ]),
    ...inside.map((dst): RtnlOp => ({ op: "route.add", netns, dst, type: "blackhole" })),
    ...forwardingOps(families),
  ]);
  const external = new Host(world, "external");
  external.addNic("eth0", wan, macOf(0x5254000001fd), mtu);
  await new EmulatedBackend(external).apply([
    ...inside.map((dst): RtnlOp => ({ op: "route.add", netns, dst, type: "unreachable" })),
    ...plan.networks.flatMap((network): RtnlOp[] => {
      const { family } = network;
      return [
        { op: "addr.add", netns, dev: "eth0", address: `${CLIENTS[family]}/${WAN_BITS[family]}` },
        { op: "route.add", netns, dst: formatCidr(network), via: ROUTER_OUTSIDE[family] },
      ];
    }),
  ]);
  for (const family of families) answerForAll(external, family);
  return { router, external };
}

/** What makes a router of a host. */
export function forwardingOps(families: readonly Family[]): readonly RtnlOp[] {
  const keys = { 4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding" };
  return [...families].sort().map((family): RtnlOp => ({ op: "sysctl.set", netns, key: keys[family], value: "1" }));
}

/** A local default route: whatever nothing more specific leads to is an address of this host (AnyIP). */
function answerForAll(host: Host, family: Family): void {
  const dev = host.root.dev("lo") ?? null;
  host.root.fib.add({
    network: family === 4 ? ipv4Of(0) : key6(UNSPECIFIED6),
    len: 0,
    type: "local",
    table: RT_TABLE_MAIN,
    dev,
    gateway: 0,
    onlink: false,
    src: 0,
    scope: RT_SCOPE_HOST,
    metric: 0,
    mtu: 0,
    proto: "boot",
  });
}

/** The host of the API server: it accepts connections; what it says over HTTPS is not emulated here. */
export async function bootControlPlane(
  world: World,
  underlay: Underlay,
  plan: AddressPlan,
  mtu: number,
): Promise<Host> {
  const host = new Host(world, "control-plane");
  host.addNic("eth0", underlay, macOf(0x5254000000fd), mtu);
  await new EmulatedBackend(host).apply([
    ...plan.apiServer.map((address): RtnlOp => ({ op: "addr.add", netns, dev: "eth0", address })),
    ...plan.gateways.map((via): RtnlOp => ({ op: "route.add", netns, dst: "default", via })),
  ]);
  TcpListener.listen(host.root, ANY, API_PORT, () => ({ data: () => {}, ended: (socket) => socket.close() }));
  return host;
}
