/** Bridged IPv6 packets and ip6tables. Linux was asked the same with namespaces of its own, and answered the same. */
import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { A, B, tryConnect } from "../ip6/testing.ts";
import { saveRules } from "../netfilter/restore-op.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { PingSocket } from "../sock/ping.ts";
import { ANY } from "../sock/port-table.ts";
import { TcpListener } from "../sock/tcp.ts";
import { ipKey } from "../wire/ip-key.ts";

const SERVICE = "fd00:96::1";

/** a and b on one bridge, which is their router. */
function bridged(): Host {
  const host = new Host(new World(), "node");
  for (const name of ["a", "b"]) host.addNetns(name);
  const ops: RtnlOp[] = [
    { op: "sysctl.set", netns: "host", key: "net.ipv6.conf.all.forwarding", value: "1" },
    { op: "link.add", netns: "host", name: "br0", kind: "bridge", up: true },
    { op: "addr.add", netns: "host", dev: "br0", address: "fd00:5::1/64" },
  ];
  for (const [name, netns] of [
    ["a", A],
    ["b", B],
  ] as const)
    ops.push(
      {
        op: "link.add",
        netns,
        name: "eth0",
        kind: "veth",
        up: true,
        peer: { name: `v${name}`, netns: "host", up: true },
      },
      { op: "link.set", netns: "host", name: `v${name}`, master: "br0" },
      { op: "addr.add", netns, dev: "eth0", address: `fd00:5::${name}/64` },
      { op: "route.add", netns, dst: "::/0", via: "fd00:5::1" },
    );
  applyOps(host, ops);
  return host;
}

function rules(host: Host, table: string, ...lines: string[]): void {
  const text = `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
  applyOps(host, [{ op: "iptables.restore", netns: "host", family: "ipv6", text, noflush: true }]);
}

describe("br_netfilter for IPv6", () => {
  it.each([
    ["1", "connected"],
    ["0", "nothing"],
  ])("turns the reply of a neighbour back while bridge-nf-call-ip6tables is 1 (%s: %s)", (value, expected) => {
    const host = bridged();
    TcpListener.listen(host.netns(B), ANY, 8080, () => ({ data: () => {}, ended: (s) => s.close() }));
    rules(host, "nat", `-A PREROUTING -d ${SERVICE}/128 -p tcp --dport 80 -j DNAT --to-destination [fd00:5::b]:8080`);
    applyOps(host, [{ op: "sysctl.set", netns: "host", key: "net.bridge.bridge-nf-call-ip6tables", value }]);
    expect(tryConnect(host, A, SERVICE, 80)).toBe(expected);
    host.world.loop.run();
    expect(host.world.pool.live).toBe(0);
  });

  it("shows what is bridged on to FORWARD, with its ports, and drops what a rule drops", () => {
    const host = bridged();
    TcpListener.listen(host.netns(B), ANY, 81, () => ({ data: () => {}, ended: (s) => s.close() }));
    TcpListener.listen(host.netns(B), ANY, 82, () => ({ data: () => {}, ended: (s) => s.close() }));
    rules(
      host,
      "filter",
      "-A FORWARD -i br0 -o br0 -m physdev --physdev-in va --physdev-out vb -p tcp --dport 81",
      "-A FORWARD -p tcp --dport 82 -j DROP",
    );
    expect(tryConnect(host, A, "fd00:5::b", 81)).toBe("connected");
    expect(tryConnect(host, A, "fd00:5::b", 82)).toBe("nothing");
    const seen = /\[(\d+):\d+\] -A FORWARD .*physdev/.exec(saveRules(host.root, true, "ipv6"))?.[1];
    expect(Number(seen)).toBeGreaterThan(2);
  });

  it("puts fragments together for conntrack, and cuts them again as they came", () => {
    const host = bridged();
    rules(
      host,
      "filter",
      "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
      "-A FORWARD -m length --length 3000:4000",
    );
    let got = 0;
    const echo = new PingSocket(host.netns(A), ipKey("fd00:5::b"), {
      reply: (_seq, _from, _ttl, _b, _off, len) => {
        got = len;
      },
      error: () => {},
    });
    expect(echo.send(ipKey("fd00:5::b"), 1, new Uint8Array(3000), {})).toBe(true);
    host.world.loop.run({ deadline: host.world.loop.time + 2_000 });
    expect(got).toBe(3000);
    // Request and reply, each seen whole.
    expect(saveRules(host.root, true, "ipv6")).toMatch(/\[2:6096\] -A FORWARD -m length --length 3000:4000/);
    host.world.loop.run();
    expect(host.world.pool.live).toBe(0);
  });

  it("translates between neighbours on the bridge: the frame goes on to who the address is now", () => {
    const host = bridged();
    TcpListener.listen(host.netns(B), ANY, 8080, () => ({ data: () => {}, ended: (s) => s.close() }));
    rules(host, "nat", "-A PREROUTING -d fd00:5::c/128 -p tcp --dport 80 -j DNAT --to-destination [fd00:5::b]:8080");
    // Nobody has that address: a's neighbour entry points at the router's MAC, as a proxy would have it.
    applyOps(host, [{ op: "neigh.replace", netns: A, dev: "eth0", address: "fd00:5::c", mac: "02:00:00:00:00:99" }]);
    expect(tryConnect(host, A, "fd00:5::c", 80)).toBe("connected");
  });
});
