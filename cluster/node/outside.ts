/**
 * What is not a node: the router that nodes send everything else to, which answers for every address of the outside world,
 * and the host of the API server.
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { RT_SCOPE_HOST, RT_TABLE_LOCAL } from "../../dataplane/fib/route.ts";
import { Host } from "../../dataplane/host/host.ts";
import type { Underlay } from "../../dataplane/host/underlay.ts";
import type { World } from "../../dataplane/host/world.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { ipv4Of } from "../../dataplane/wire/ipv4-addr.ts";
import { macOf } from "../../dataplane/wire/mac-addr.ts";

/** The address that outside clients have (TEST-NET-3, RFC 5737). */
export const CLIENT = "203.0.113.10";
export const API_PORT = 6443;

/** The router of the nodes' network, and the client behind it: `external` in a trace. */
export async function bootExternal(world: World, underlay: Underlay, address: string, mtu: number): Promise<Host> {
  const host = new Host(world, "external");
  const dev = host.addNic("eth0", underlay, macOf(0x5254000000fe), mtu);
  const backend = new EmulatedBackend(host);
  const netns = "host";
  const network = networkText(address);
  await backend.apply([
    { op: "link.add", netns, name: "client0", kind: "dummy", up: true },
    { op: "addr.add", netns, dev: "client0", address: `${CLIENT}/32` },
    { op: "addr.add", netns, dev: "eth0", address },
    { op: "route.replace", netns, dst: network, dev: "eth0", src: CLIENT, scope: "link" },
  ]);
  const lo = host.root.dev("lo") ?? dev;
  const any = { network: ipv4Of(0), len: 0, src: 0, gateway: 0, metric: 0, mtu: 0 } as const;
  host.root.fib.add({
    ...any,
    type: "local",
    table: RT_TABLE_LOCAL,
    dev: lo,
    onlink: false,
    scope: RT_SCOPE_HOST,
    proto: "boot",
  });
  return host;
}

/** The host of the API server: it accepts connections; what it says over HTTPS is not emulated here. */
export async function bootControlPlane(world: World, underlay: Underlay, address: string, mtu: number): Promise<Host> {
  const host = new Host(world, "control-plane");
  host.addNic("eth0", underlay, macOf(0x5254000000fd), mtu);
  await new EmulatedBackend(host).apply([{ op: "addr.add", netns: "host", dev: "eth0", address }]);
  TcpListener.listen(host.root, ANY, API_PORT, () => ({ data: () => {}, ended: (socket) => socket.close() }));
  return host;
}

function networkText(address: string): string {
  const [ip = "", len = "24"] = address.split("/");
  const [a, b, c] = ip.split(".");
  return Number(len) === 24 ? `${a}.${b}.${c}.0/24` : `${a}.${b}.0.0/16`;
}
