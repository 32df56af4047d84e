import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import type { Host } from "../host/host.ts";
import { A, B, routed } from "../ip6/testing.ts";
import { saveRules } from "../netfilter/restore-op.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { RtnlOp } from "../netns/rtnl-ops.ts";
import { SeededRandom } from "../sim/random.ts";
import { ANY } from "../sock/port-table.ts";
import { TcpListener, TcpSocket } from "../sock/tcp.ts";
import { UdpSocket } from "../sock/udp.ts";
import { formatIp, type IpKey, ipKey, key6 } from "../wire/ip-key.ts";
import { ipv6Of } from "../wire/ipv6-addr.ts";
import { formatFrame } from "../wire/print.ts";
import { schedulerOf } from "./scheduler/registry.ts";
import { Destination, VirtualService } from "./service.ts";
import { connectionsOf } from "./text.ts";

const VIP = "fd00:96::1";
const netns = "host";

/** The router is the director, with the virtual address on its loopback; b is the real server, under more addresses. */
function director(...lines: string[]): Host {
  const host = routed();
  const ops: RtnlOp[] = [
    { op: "link.set", netns, name: "lo", up: true },
    { op: "addr.add", netns, dev: "lo", address: `${VIP}/128` },
    { op: "addr.add", netns: B, dev: "eth0", address: "fd00:1::3/64" },
    { op: "ipvs.restore", netns, text: `${lines.join("\n")}\n` },
  ];
  applyOps(host, ops);
  return host;
}

/** Answers the address that was asked, so that who asks knows which server it was. */
function serve(host: Host, ns: string, port: number, transport: "tcp" | "udp"): string[] {
  const heard: string[] = [];
  if (transport === "udp") {
    UdpSocket.bind(host.netns(ns), ANY, port, {
      datagram: (socket, _b, _off, _len, from, peer, to) => {
        heard.push(`${formatIp(from)} > ${formatIp(to)}`);
        const name = Buffer.from(formatIp(to));
        socket.reply(to, from, peer, name, 0, name.length);
      },
    });
  } else
    TcpListener.listen(host.netns(ns), ANY, port, (socket) => {
      heard.push(`${formatIp(socket.remote)} > ${formatIp(socket.local)}`);
      return { data: (s) => s.close() };
    });
  return heard;
}

/** What a gets from the address and port that it asks; from whom. */
function ask(host: Host, to: string, port: number, from: string = A, source = 0): string {
  let got = "nothing";
  const socket = UdpSocket.bind(host.netns(from), ANY, source, {
    datagram: (_s, b, off, len, peer) => {
      got = `${Buffer.from(b.slice(off, off + len)).toString()} from ${formatIp(peer)}`;
    },
    error: (_s, type, code) => {
      got = `error ${type}/${code}`;
    },
  });
  socket?.send(ipKey(to), port, new Uint8Array(5), 0, 5);
  host.world.loop.run({ deadline: host.world.loop.time + 1_000 });
  socket?.close();
  return got;
}

describe("ipvs for IPv6", () => {
  it("sends to the real servers in turn, and answers as the service", () => {
    const service = `-u [${VIP}]:53`;
    const host = director(
      `-A ${service} -s rr`,
      `-a ${service} -r [fd00:1::2]:5353 -m -w 1`,
      `-a ${service} -r [fd00:1::3]:5353 -m -w 1`,
    );
    const heard = serve(host, B, 5353, "udp");
    expect([ask(host, VIP, 53), ask(host, VIP, 53), ask(host, VIP, 53)]).toEqual([
      `fd00:1::2 from ${VIP}`,
      `fd00:1::3 from ${VIP}`,
      `fd00:1::2 from ${VIP}`,
    ]);
    expect(new Set(heard)).toEqual(new Set(["fd00::2 > fd00:1::2", "fd00::2 > fd00:1::3"]));
    expect(connectionsOf(host.root, service, "[fd00:1::2]:5353")).toBe(2);
  });

  it("carries TCP, from another host and from the director itself, with conntrack and masquerade", () => {
    const service = `-t [${VIP}]:80`;
    const host = director(`-A ${service} -s rr`, `-a ${service} -r [fd00:1::2]:8080 -m -w 1`);
    const rules = "*nat\n-A POSTROUTING -m conntrack --ctstate DNAT,NEW -j MASQUERADE\nCOMMIT\n";
    applyOps(host, [
      { op: "sysctl.set", netns, key: "net.ipv4.vs.conntrack", value: "1" },
      { op: "iptables.restore", netns, family: "ipv6", text: rules, noflush: true },
    ]);
    const heard = serve(host, B, 8080, "tcp");
    for (const from of [A, "host"]) {
      let got = "nothing";
      const ns = from === "host" ? host.root : host.netns(from);
      TcpSocket.connect(ns, ipKey(VIP), 80, {
        connected: (s) => s.write(new Uint8Array(3)),
        data: () => {},
        ended: (s) => {
          got = "answered";
          s.close();
        },
        failed: (_s, why) => {
          got = why;
        },
      });
      host.world.loop.run({ deadline: host.world.loop.time + 2_000 });
      expect(got).toBe("answered");
    }
    expect(heard).toEqual(["fd00:1::1 > fd00:1::2", "fd00:1::1 > fd00:1::2"]);
    expect(saveRules(host.root, true, "ipv6")).toMatch(/\[2:\d+\] -A POSTROUTING/);
  });

  it("tells -m ipvs which packets it sent on, for which service, and how", () => {
    const service = `-u [${VIP}]:53`;
    const host = director(`-A ${service} -s rr -p 60`, `-a ${service} -r [fd00:1::2]:5353 -m -w 1`);
    const asks = [
      "--ipvs",
      "! --ipvs",
      `--vaddr ${VIP}`,
      "--vaddr fd00:96::/64 --vport 53 --vmethod MASQ --vproto udp",
      "! --vport 53",
      "--vport 5353",
      "--vmethod GATE",
      "--vportctl 53",
      "--vaddr fd00:97::/64",
    ];
    const lines = asks.map((ask) => `-A POSTROUTING -o v1 -m ipvs ${ask}`).join("\n");
    const text = `*mangle\n${lines}\nCOMMIT\n`;
    applyOps(host, [{ op: "iptables.restore", netns, family: "ipv6", text, noflush: true }]);
    serve(host, B, 5353, "udp");
    expect(ask(host, VIP, 53)).toBe(`fd00:1::2 from ${VIP}`);
    const saved = saveRules(host.root, true, "ipv6");
    const counts = [...saved.matchAll(/\[(\d+):\d+\] -A POSTROUTING -o v1 -m ipvs (.*)/g)].map(
      ([, n, what]) => `${n} ${what}`,
    );
    expect(counts).toEqual([
      "1 --ipvs",
      "0 ! --ipvs",
      `1 --vaddr ${VIP}`,
      "1 --vproto 17 --vaddr fd00:96::/64 --vport 53 --vmethod MASQ",
      "0 ! --vport 53",
      "0 --vport 5353",
      "0 --vmethod GATE",
      "1 --vportctl 53",
      "0 --vaddr fd00:97::/64",
    ]);
  });

  it("says that a service without a destination is not reachable", () => {
    const host = director(`-A -u [${VIP}]:53 -s rr`);
    expect(ask(host, VIP, 53)).toBe("error 3/3");
  });

  it("finds a service by mark, which IPv4's of the same mark is not", () => {
    const host = director(
      "-A -f 7 -s rr",
      "-a -f 7 -r 10.0.0.9 -m",
      "-A -f 7 -6 -s rr",
      "-a -f 7 -6 -r [fd00:1::3]:0 -m -w 1",
    );
    const text = `*mangle\n-A PREROUTING -d ${VIP} -j MARK --set-mark 7\nCOMMIT\n`;
    applyOps(host, [{ op: "iptables.restore", netns, family: "ipv6", text, noflush: true }]);
    serve(host, B, 9, "udp");
    expect(ask(host, VIP, 9)).toBe(`fd00:1::3 from ${VIP}`);
  });

  it("passes what real servers say of ports that are closed on as the service's word", () => {
    const host = director(`-A -u [${VIP}]:53 -s rr`, `-a -u [${VIP}]:53 -r [fd00:1::2]:5353 -m -w 1`);
    expect(ask(host, VIP, 53)).toBe("error 3/3");
    expect(connectionsOf(host.root, `-u [${VIP}]:53`, "[fd00:1::2]:5353")).toBe(1);
  });

  it("keeps the clients of a network at one server for as long as persistence says", () => {
    const service = `-u [${VIP}]:53`;
    const host = director(
      `-A ${service} -s rr -p 60 -M 120`,
      `-a ${service} -r [fd00:1::2]:53 -m -w 1`,
      `-a ${service} -r [fd00:1::3]:53 -m -w 1`,
    );
    serve(host, B, 53, "udp");
    applyOps(host, [{ op: "addr.add", netns: A, dev: "eth0", address: "fd00::1:2/64" }]);
    const ns = host.netns(A);
    const from = (source: string): string => {
      let got = "nothing";
      const socket = UdpSocket.bind(ns, ipKey(source), 0, {
        datagram: (_s, b, off, len) => {
          got = Buffer.from(b.slice(off, off + len)).toString();
        },
      });
      socket?.send(ipKey(VIP), 53, new Uint8Array(1), 0, 1);
      host.world.loop.run({ deadline: host.world.loop.time + 100 });
      socket?.close();
      return got;
    };
    const first = from("fd00::2");
    for (let i = 0; i < 4; i++) expect(from("fd00::2")).toBe(first);
    expect(from("fd00::1:2")).not.toBe(first);
    expect(from("fd00::2")).toBe(first);
  });

  it.each([
    ["-g", /fd00::2\]:\d+ > \[fd00:96::1\]:53: UDP/],
    ["-i", /fd00:1::1 > fd00:1::3: .*fd00::2.* > .*fd00:96::1/],
  ])("forwards with %s what stays as it was but for its hop limit", (method, seen) => {
    const host = director(`-A -u [${VIP}]:53 -s rr`, `-a -u [${VIP}]:53 -r [fd00:1::3]:53 ${method} -w 1`);
    const capture = new Capture().attach(host.root.dev("v1") as NetDev);
    ask(host, VIP, 53);
    const out = capture.frames.filter((f) => f.direction === "out").map((f) => f.bytes);
    const carried = out.find((b) => b[20] === 17 || b[20] === 41) as Uint8Array;
    expect(formatFrame(carried, 0, carried.length)).toMatch(seen);
    const inner = method === "-i" ? 14 + 40 : 14;
    expect(carried[inner + 7]).toBe(63);
    expect(carried.length).toBe(inner + 40 + 8 + 5);
  });
});

describe("schedulers that hash addresses of IPv6", () => {
  const address = (n: number): IpKey => {
    const a = new Uint8Array(16);
    a.set([0xfd, 0, 0, (n >>> 24) & 0xff]);
    a.set([n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, 7], 8);
    return key6(ipv6Of(a));
  };
  const service = (name: string, weights: readonly number[]): VirtualService => {
    const made = schedulerOf(name);
    if (made === undefined) throw new Error(`no scheduler ${name}`);
    const s = new VirtualService(6, ipKey(VIP), 80, 0, made, new SeededRandom(1));
    for (const [i, w] of weights.entries()) s.destinations.push(new Destination(address(0x1000 + i), 80, "masq", w));
    made.changed(s);
    return s;
  };

  it.each(["sh", "mh"])("%s shares out by weight", (name) => {
    const s = service(name, [1, 1, 2]);
    const counts = [0, 0, 0];
    for (let i = 0; i < 4_000; i++) {
      const d = s.scheduler.choose(s, { src: address(i * 2_654_435), dst: ipKey(VIP), srcPort: 1 });
      const at = s.destinations.indexOf(d as Destination);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    for (const [i, part] of [0.25, 0.25, 0.5].entries())
      expect(Math.abs((counts[i] ?? 0) / 4_000 - part)).toBeLessThan(0.06);
  });

  it("keep a client, or an address that is asked, at its server", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("sh", "mh", "dh", "lblc", "lblcr"),
        fc.nat(0xffffff),
        fc.nat(0xffffff),
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
        (name, src, dst, weights) => {
          const s = service(name, weights);
          const flow = { src: address(src), dst: address(dst), srcPort: 1 };
          const first = s.scheduler.choose(s, flow);
          expect(first).not.toBeNull();
          for (let i = 2; i < 6; i++) {
            const other = name === "sh" || name === "mh" ? { ...flow, dst: address(i) } : { ...flow, src: address(i) };
            expect(s.scheduler.choose(s, { ...other, srcPort: i })).toBe(first);
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
