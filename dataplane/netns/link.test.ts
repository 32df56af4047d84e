import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { netfilterOf } from "../netfilter/restore-op.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";
import { applyOps } from "./rtnl-apply.ts";
import type { RtnlOp } from "./rtnl-ops.ts";

const MASQUERADE = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s 10.5.0.1/32 -j MASQUERADE\nCOMMIT\n";

/** A host that has sent a datagram masqueraded by d0, and one by no rule. */
function masquerading(): Host {
  const host = new Host(new World(), "node");
  const netns = "host";
  applyOps(host, [
    { op: "link.add", netns, name: "d0", kind: "dummy", up: true },
    { op: "addr.add", netns, dev: "d0", address: "10.1.0.1/24" },
    { op: "addr.add", netns, dev: "lo", address: "10.5.0.1/32" },
    { op: "neigh.replace", netns, dev: "d0", address: "10.1.0.9", mac: "02:00:00:00:00:09" },
    { op: "iptables.restore", netns, family: "ipv4", text: MASQUERADE, noflush: true },
  ]);
  const data = new Uint8Array(4);
  const mapped = UdpSocket.bind(host.root, ipv4("10.5.0.1"), 5000, { datagram: () => {} });
  mapped?.send(ipv4("10.1.0.9"), 53, data, 0, data.length);
  const plain = UdpSocket.bind(host.root, ANY, 5001, { datagram: () => {} });
  plain?.send(ipv4("10.1.0.9"), 53, data, 0, data.length);
  return host;
}

describe("an interface that goes", () => {
  it.each<readonly [string, RtnlOp]>([
    ["down", { op: "link.set", netns: "host", name: "d0", up: false }],
    ["without its address", { op: "addr.del", netns: "host", dev: "d0", address: "10.1.0.1/24" }],
  ])("%s takes the connections with it that it masqueraded, and no others", (_how, op) => {
    const host = masquerading();
    const ports = (): string[] =>
      netfilterOf(host.root)
        ?.conntrack.dump()
        .map((l) => /sport=(\d+)/.exec(l)?.[1] ?? "") ?? [];
    expect(ports().sort()).toEqual(["5000", "5001"]);
    applyOps(host, [op]);
    expect(ports()).toEqual(["5001"]);
  });
});
