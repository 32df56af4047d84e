/**
 * What is not a node: the router that nodes send everything else to, the world behind it, which answers for every address,
 * and the host of the API server.
 *
 *   nodes ── underlay ── eth0 router eth1 ── wan ── eth0 external (203.0.113.10, and 0.0.0.0/0 local)
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { RT_SCOPE_HOST, RT_TABLE_MAIN } from "../../dataplane/fib/route.ts";
import { Host } from "../../dataplane/host/host.ts";
import { Underlay } from "../../dataplane/host/underlay.ts";
import type { World } from "../../dataplane/host/world.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { ipv4Of } from "../../dataplane/wire/ipv4-addr.ts";
import { macOf } from "../../dataplane/wire/mac-addr.ts";

/** The address that outside clients have (TEST-NET-3, RFC 5737). */
export const CLIENT = "203.0.113.10";
/** The router's address on the side of the world. */
export const ROUTER_OUTSIDE = "203.0.113.1";
export const API_PORT = 6443;

export type Outside = { readonly router: Host; readonly external: Host };

/** `address` is the router's on the underlay, with the prefix length of the nodes' network. */
export async function bootOutside(world: World, underlay: Underlay, address: string, mtu: number): Promise<Outside> {
  const netns = "host";
  const wan = new Underlay(world, { delay: underlay.delay });
  const router = new Host(world, "router");
  router.addNic("eth0", underlay, macOf(0x5254000000fe), mtu);
  router.addNic("eth1", wan, macOf(0x5254000001fe), mtu);
  await new EmulatedBackend(router).apply([
    { op: "addr.add", netns, dev: "eth0", address },
    { op: "addr.add", netns, dev: "eth1", address: `${ROUTER_OUTSIDE}/24` },
    { op: "route.add", netns, dst: "default", via: CLIENT },
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
  ]);
  const external = new Host(world, "external");
  external.addNic("eth0", wan, macOf(0x5254000001fd), mtu);
  await new EmulatedBackend(external).apply([
    { op: "addr.add", netns, dev: "eth0", address: `${CLIENT}/24` },
    { op: "route.add", netns, dst: networkOf(address), via: ROUTER_OUTSIDE },
  ]);
  answerForAll(external);
  return { router, external };
}

/** A local default route: whatever nothing more specific leads to is an address of this host (AnyIP). */
function answerForAll(host: Host): void {
  const dev = host.root.dev("lo") ?? null;
  host.root.fib.add({
    network: ipv4Of(0),
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
  address: string,
  gateway: string,
  mtu: number,
): Promise<Host> {
  const host = new Host(world, "control-plane");
  host.addNic("eth0", underlay, macOf(0x5254000000fd), mtu);
  await new EmulatedBackend(host).apply([
    { op: "addr.add", netns: "host", dev: "eth0", address },
    { op: "route.add", netns: "host", dst: "default", via: gateway },
  ]);
  TcpListener.listen(host.root, ANY, API_PORT, () => ({ data: () => {}, ended: (socket) => socket.close() }));
  return host;
}

/** "192.168.0.1/24" → "192.168.0.0/24"; the plan uses 24 and 16 only. */
function networkOf(address: string): string {
  const [ip = "", len = "24"] = address.split("/");
  const [a, b, c] = ip.split(".");
  return len === "24" ? `${a}.${b}.${c}.0/24` : `${a}.${b}.0.0/16`;
}
