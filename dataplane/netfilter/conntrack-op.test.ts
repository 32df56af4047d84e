import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { ConntrackFlush } from "../netns/rtnl-ops.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";
import { netfilterOf } from "./restore-op.ts";

/** A host with a connection to each of two ports. */
function host(): Host {
  const h = new Host(new World(), "node");
  const netns = "host";
  const text = "*filter\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n";
  applyOps(h, [
    { op: "link.add", netns, name: "d0", kind: "dummy", up: true },
    { op: "addr.add", netns, dev: "d0", address: "10.1.0.1/24" },
    { op: "neigh.replace", netns, dev: "d0", address: "10.1.0.9", mac: "02:00:00:00:00:09" },
    { op: "iptables.restore", netns, family: "ipv4", text, noflush: true },
  ]);
  const socket = UdpSocket.bind(h.root, ANY, 5000, { datagram: () => {} });
  for (const port of [53, 54]) socket?.send(ipv4("10.1.0.9"), port, new Uint8Array(4), 0, 4);
  return h;
}

function ports(h: Host): string[] {
  return (
    netfilterOf(h.root)
      ?.conntrack.dump()
      .map((line) => /dport=(\d+)/.exec(line)?.[1] ?? "") ?? []
  );
}

const flush: ConntrackFlush = { op: "conntrack.flush", netns: "host", family: "ipv4", protocol: "udp", dstPort: 53 };

describe("conntrack.flush", () => {
  it("forgets the connections to the port, and no others", () => {
    const h = host();
    expect(ports(h).sort()).toEqual(["53", "54"]);
    applyOps(h, [flush]);
    expect(ports(h)).toEqual(["54"]);
  });

  it.each<ConntrackFlush>([
    { ...flush, dstPort: 99 },
    { ...flush, protocol: "tcp" },
    { ...flush, family: "ipv6" },
    { ...flush, dst: "10.1.0.8" },
    { ...flush, except: ["10.1.0.9:53"] },
  ])("finds nothing with %j, which is fine", (op) => {
    const h = host();
    applyOps(h, [op]);
    expect(ports(h)).toHaveLength(2);
  });

  it("forgets those to one address that others answer than are named", () => {
    const h = host();
    applyOps(h, [{ ...flush, dst: "10.1.0.9", except: ["10.1.0.9:54", "10.1.0.8:53"] }]);
    expect(ports(h)).toEqual(["54"]);
  });

  it("is fine on a host without rules", () => {
    expect(() => applyOps(new Host(new World(), "node"), [flush])).not.toThrow();
  });
});
