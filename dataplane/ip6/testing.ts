/** What the tests of IPv6 walk through. */
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { TcpSocket } from "../sock/tcp.ts";
import { ipKey } from "../wire/ip-key.ts";

export const A = "/var/run/netns/a";
export const B = "/var/run/netns/b";

/** a ── v0 router v1 ── b, each link a prefix of its own. */
export function routed(): Host {
  const host = new Host(new World(), "router");
  for (const name of ["a", "b"]) host.addNetns(name);
  const ops: RtnlOp[] = [{ op: "sysctl.set", netns: "host", key: "net.ipv6.conf.all.forwarding", value: "1" }];
  for (const [n, netns] of [A, B].entries()) {
    const mac = (end: number): string => `02:00:00:00:0${n}:0${end}`;
    const peer = { name: `v${n}`, netns: "host", mac: mac(1), up: true };
    ops.push(
      { op: "link.add", netns, name: "eth0", kind: "veth", mac: mac(2), up: true, peer },
      { op: "addr.add", netns: "host", dev: `v${n}`, address: `fd00:${n}::1/64` },
      { op: "addr.add", netns, dev: "eth0", address: `fd00:${n}::2/64` },
      { op: "route.add", netns, dst: "::/0", via: `fd00:${n}::1` },
    );
  }
  applyOps(host, ops);
  return host;
}

/** What a connection attempt comes to within two seconds: "connected", an errno name, or "nothing". */
export function tryConnect(host: Host, netns: string, to: string, port: number): string {
  let got = "nothing";
  TcpSocket.connect(host.netns(netns), ipKey(to), port, {
    data: () => {},
    connected: (socket) => {
      got = "connected";
      socket.close();
    },
    failed: (_s, why) => {
      got = why;
    },
  });
  const { loop } = host.world;
  loop.run({ deadline: loop.time + 2_000 });
  return got;
}
