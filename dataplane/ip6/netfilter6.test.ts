import { beforeEach, describe, expect, it } from "vitest";
import type { Host } from "../host/host.ts";
import { netfilter6Of, netfilterOf, saveRules } from "../netfilter/restore-op.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { PingSocket } from "../sock/ping.ts";
import { ANY } from "../sock/port-table.ts";
import { TcpListener } from "../sock/tcp.ts";
import { UdpSocket } from "../sock/udp.ts";
import { formatIp, ipKey, parseIp } from "../wire/ip-key.ts";
import { A, B, routed, tryConnect } from "./testing.ts";

const SERVER = "fd00:1::2";

describe("ip6tables", () => {
  let host: Host;
  beforeEach(() => {
    host = routed();
  });

  function rules(table: string, ...lines: string[]): void {
    const text = `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
    applyOps(host, [{ op: "iptables.restore", netns: "host", family: "ipv6", text, noflush: true }]);
  }

  /** What b heard, and from whom; its answer is the name of the one it heard. */
  function serve(port: number): string[] {
    const heard: string[] = [];
    UdpSocket.bind(host.netns(B), ANY, port, {
      datagram: (socket, _b, _off, len, from, peer) => {
        heard.push(`${formatIp(from)}:${peer}`);
        socket.send(from as never, peer, new Uint8Array(len), 0, len);
      },
    });
    TcpListener.listen(host.netns(B), ANY, port, (socket) => {
      heard.push(`tcp ${formatIp(socket.remote)}`);
      return { data: () => {}, ended: (s) => s.close() };
    });
    return heard;
  }

  /** What a got when it asked by UDP from port 4000. */
  function ask(to: string, port: number): string[] {
    const got: string[] = [];
    const socket = UdpSocket.bind(host.netns(A), ANY, 4000, {
      datagram: (_s, _b, _off, len, from, peer) => void got.push(`${len} octets from ${formatIp(from)}:${peer}`),
      error: (_s, type, code, from) => void got.push(`error ${type}/${code} ${formatIp(from)}`),
    });
    socket?.send(parseIp(to) as never, port, new Uint8Array(9), 0, 9);
    host.world.loop.run();
    socket?.close();
    return got;
  }

  function ping(to: string): string {
    let got = "nothing";
    const socket = new PingSocket(host.netns(A), ipKey(to), {
      reply: (_seq, from) => {
        got = `reply ${formatIp(from)}`;
      },
      error: (type, code, from) => {
        got = `error ${type}/${code} ${formatIp(from)}`;
      },
    });
    socket.send(parseIp(to) as never, 1, new Uint8Array(8), {});
    const { loop } = host.world;
    loop.run({ deadline: loop.time + 2_000 });
    socket.close();
    return got;
  }

  it("masquerades UDP, TCP and echo, and turns the replies back", () => {
    rules("nat", "-A POSTROUTING -s fd00::/64 ! -d fd00::/64 -j MASQUERADE");
    const heard = serve(53);
    expect(ask(SERVER, 53)).toEqual([`9 octets from ${SERVER}:53`]);
    expect(tryConnect(host, A, SERVER, 53)).toBe("connected");
    expect(ping(SERVER)).toBe(`reply ${SERVER}`);
    expect(heard).toEqual(["fd00:1::1:4000", "tcp fd00:1::1"]);
    expect(saveRules(host.root, true, "ipv6")).toContain("[3:");
    expect(host.world.pool.live).toBe(0);
  });

  it("sends a service address to its endpoint, and the errors with it", () => {
    const to = "-d fd00:96::a/128 -p udp -m udp";
    rules("nat", `-A PREROUTING ${to} --dport 53 -j DNAT --to-destination [${SERVER}]:5353`);
    rules("nat", `-A PREROUTING ${to} --dport 54 -j DNAT --to-destination [${SERVER}]:99`);
    rules("nat", "-A PREROUTING -d fd00:96::a/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:1::2]:5353");
    const heard = serve(5353);
    expect(ask("fd00:96::a", 53)).toEqual(["9 octets from fd00:96::a:53"]);
    expect(heard).toEqual(["fd00::2:4000"]);
    expect(ask("fd00:96::a", 54)).toEqual(["error 3/3 fd00:96::a"]);
    expect(tryConnect(host, A, "fd00:96::a", 80)).toBe("connected");
    expect(host.world.pool.live).toBe(0);
  });

  it.each([
    ["icmp6-port-unreachable", "error 3/3 fd00::1"],
    ["icmp6-adm-prohibited", "error 3/13 fd00::1"],
  ])("rejects with %s", (type, seen) => {
    rules("filter", `-A FORWARD -p udp -j REJECT --reject-with ${type}`);
    expect(ask(SERVER, 53)).toEqual([seen]);
    expect(host.world.pool.live).toBe(0);
  });

  it("resets what tcp-reset rejects", () => {
    rules("filter", "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset");
    expect(tryConnect(host, A, SERVER, 80)).toBe("ECONNREFUSED");
    expect(host.world.pool.live).toBe(0);
  });

  it("knows the states of connections, and drops what starts from the other side", () => {
    rules(
      "filter",
      ":FORWARD DROP [0:0]",
      "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-A FORWARD -i v0 -m conntrack --ctstate NEW -j ACCEPT",
    );
    serve(53);
    expect(ask(SERVER, 53)).toEqual([`9 octets from ${SERVER}:53`]);
    expect(ask(SERVER, 54)).toEqual([`error 3/3 ${SERVER}`]);
    expect(ping(SERVER)).toBe(`reply ${SERVER}`);
    expect(host.world.pool.live).toBe(0);
  });

  it("matches ICMPv6 types, and leaves neighbour discovery untracked", () => {
    rules("filter", "-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j DROP");
    rules("filter", "-A INPUT -m conntrack --ctstate INVALID -j DROP");
    expect(ping(SERVER)).toBe("nothing");
    expect(ping("fd00::1")).toBe("reply fd00::1");
    expect(saveRules(host.root, false, "ipv6")).toContain("-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j DROP");
  });

  it("has rules of its own, and one table of connections", () => {
    rules("filter", "-A FORWARD -d fd00:1::2/128 -j ACCEPT");
    expect(saveRules(host.root)).not.toContain("FORWARD -d");
    expect(netfilter6Of(host.root)).not.toBeNull();
    applyOps(host, [
      {
        op: "iptables.restore",
        netns: "host",
        family: "ipv4",
        text: "*raw\n-A OUTPUT -j ACCEPT\nCOMMIT\n",
        noflush: true,
      },
    ]);
    expect(netfilterOf(host.root)?.conntrack === netfilter6Of(host.root)?.conntrack).toBe(true);
    expect(() => rules("filter", "-A FORWARD -d 10.0.0.1 -j ACCEPT")).toThrow(/10\.0\.0\.1/);
  });
});
