import { afterEach, describe, expect, it } from "vitest";
import { serviceRules } from "../../bench/layouts/service-rules.ts";
import { type TwoNodes, twoNodes } from "../../bench/layouts/two-nodes.ts";
import type { NetNs } from "../netns/netns.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { TraceStep } from "../skb/trace.ts";
import { PingSocket } from "../sock/ping.ts";
import { ANY } from "../sock/port-table.ts";
import { TcpListener, TcpSocket } from "../sock/tcp.ts";
import { UdpSocket } from "../sock/udp.ts";
import { formatIpv4, ipv4 } from "../wire/ipv4-addr.ts";
import { netfilterOf } from "./restore-op.ts";

const CLUSTER_IP = ipv4("10.96.0.10");

type Got = { from: string; fromPort: number; text: string };

/** A UDP server that answers what it gets with its own name. */
function server(ns: NetNs, port: number, name: string): Got[] {
  const got: Got[] = [];
  const socket = UdpSocket.bind(ns, ANY, port, {
    datagram(s, bytes, off, len, from, fromPort) {
      got.push({ from: formatIpv4(from), fromPort, text: new TextDecoder().decode(bytes.subarray(off, off + len)) });
      const answer = new TextEncoder().encode(name);
      s.send(from, fromPort, answer, 0, answer.length);
    },
  });
  expect(socket).not.toBeNull();
  return got;
}

function client(ns: NetNs, port = 0): { socket: UdpSocket; got: Got[]; errors: string[] } {
  const got: Got[] = [];
  const errors: string[] = [];
  const socket = UdpSocket.bind(ns, ANY, port, {
    datagram(_s, bytes, off, len, from, fromPort) {
      got.push({ from: formatIpv4(from), fromPort, text: new TextDecoder().decode(bytes.subarray(off, off + len)) });
    },
    error(_s, type, code, from, to, toPort) {
      errors.push(`${type}/${code} from ${formatIpv4(from)} about ${formatIpv4(to)}:${toPort}`);
    },
  });
  if (socket === null) throw new Error("no port");
  return { socket, got, errors };
}

function restore(layout: TwoNodes, text: string, nodes: readonly number[] = [0, 1], noflush = true): void {
  for (const n of nodes) {
    const host = layout.nodes[n as 0 | 1];
    applyOps(host, [{ op: "iptables.restore", netns: "host", family: "ipv4", text, noflush, source: "test" }]);
  }
}

const HELLO = new TextEncoder().encode("hello");

function send(c: { socket: UdpSocket }, to = CLUSTER_IP, port = 80): void {
  c.socket.send(to, port, HELLO, 0, HELLO.length);
}

describe("netfilter on two nodes", () => {
  let layout: TwoNodes;
  afterEach(() => {
    expect(layout.world.pool.live).toBe(0);
  });

  it("sends a ClusterIP to a pod of the other node and brings the answer back from the ClusterIP", () => {
    layout = twoNodes();
    restore(
      layout,
      serviceRules(3, (n) => (CLUSTER_IP + n) as typeof CLUSTER_IP, ["10.244.2.2"], 8080),
    );
    const seen = server(layout.pods[1], 8080, "pod 2");
    const c = client(layout.pods[0], 5000);
    send(c);
    layout.world.loop.runNow();
    expect(seen).toEqual([{ from: "10.244.1.2", fromPort: 5000, text: "hello" }]);
    expect(c.got).toEqual([{ from: "10.96.0.10", fromPort: 80, text: "pod 2" }]);
    expect(netfilterOf(layout.nodes[0].root)?.conntrack.dump()).toEqual([
      "udp      17 30 src=10.244.1.2 dst=10.96.0.10 sport=5000 dport=80 src=10.244.2.2 dst=10.244.1.2 sport=8080 dport=5000 mark=0 use=1",
      expect.stringContaining("dport=8472"),
      expect.stringContaining("dport=8472"),
    ]);
  });

  it("reports one step a hook, with the rules that matched and what NAT did", () => {
    layout = twoNodes();
    restore(
      layout,
      serviceRules(2, (n) => (CLUSTER_IP + n) as typeof CLUSTER_IP, ["10.244.2.2"], 8080),
      [0],
    );
    server(layout.pods[1], 8080, "pod 2");
    const steps: Extract<TraceStep, { step: "hook" }>[] = [];
    layout.world.observer = {
      attach: () => ({
        report(_ns, _skb, step) {
          if (step.step === "hook") steps.push(step);
        },
        answer: () => null,
      }),
    };
    send(client(layout.pods[0], 5000), (CLUSTER_IP + 1) as typeof CLUSTER_IP);
    layout.world.observer = null;
    layout.world.loop.runNow();
    expect(steps[0]).toEqual({
      step: "hook",
      hook: "prerouting",
      dev: "cni0",
      rules: [
        { table: "nat", chain: "PREROUTING", number: 1, text: "-j KUBE-SERVICES" },
        {
          table: "nat",
          chain: "KUBE-SERVICES",
          number: 2,
          text: "-d 10.96.0.11/32 -p udp -m udp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAA1",
        },
        { table: "nat", chain: "KUBE-SVC-AAAAAAAAAAAAAAA1", number: 2, text: "-j KUBE-SEP-0AAAAAAAAAAAAAA1" },
        {
          table: "nat",
          chain: "KUBE-SEP-0AAAAAAAAAAAAAA1",
          number: 2,
          text: "-p udp -m udp -j DNAT --to-destination 10.244.2.2:8080",
        },
      ],
      verdict: "ACCEPT",
      examined: 7,
      linear: 7,
      ctState: "NEW",
      nat: "10.96.0.11:80 → 10.244.2.2:8080",
    });
    expect(steps.map((s) => s.hook)).toEqual(["prerouting", "forward", "postrouting", "output", "postrouting"]);
  });

  it("masquerades what is marked", () => {
    layout = twoNodes();
    restore(
      layout,
      serviceRules(1, () => CLUSTER_IP, ["10.244.2.2"], 8080).replace("! -s 10.244.0.0/16", "-s 10.244.0.0/16"),
      [0],
    );
    const seen = server(layout.pods[1], 8080, "pod 2");
    const c = client(layout.pods[0], 5000);
    send(c);
    send(c);
    layout.world.loop.runNow();
    expect(seen.map((g) => g.from)).toEqual(["10.244.1.0", "10.244.1.0"]);
    expect(seen[0]?.fromPort).not.toBe(5000);
    expect(seen[1]?.fromPort).toBe(seen[0]?.fromPort);
    expect(c.got).toEqual([
      { from: "10.96.0.10", fromPort: 80, text: "pod 2" },
      { from: "10.96.0.10", fromPort: 80, text: "pod 2" },
    ]);
  });

  it("lets a pod reach itself through its Service, masqueraded, with hairpin on its port", () => {
    layout = twoNodes();
    applyOps(layout.nodes[0], [{ op: "link.set", netns: "host", name: "veth0", hairpin: true }]);
    restore(
      layout,
      serviceRules(1, () => CLUSTER_IP, ["10.244.1.2"], 8080),
      [0],
    );
    const seen = server(layout.pods[0], 8080, "myself");
    const c = client(layout.pods[0], 5000);
    send(c);
    layout.world.loop.runNow();
    expect(seen.map((g) => g.from)).toEqual(["10.244.1.1"]);
    expect(c.got).toEqual([{ from: "10.96.0.10", fromPort: 80, text: "myself" }]);
  });

  it("serves the node itself, which speaks from the tunnel's address", () => {
    layout = twoNodes();
    restore(
      layout,
      serviceRules(1, () => CLUSTER_IP, ["10.244.2.2"], 8080),
    );
    applyOps(layout.nodes[0], [{ op: "route.add", netns: "host", dst: "default", dev: "eth0" }]);
    const seen = server(layout.pods[1], 8080, "pod 2");
    const c = client(layout.nodes[0].root, 5000);
    send(c);
    layout.world.loop.runNow();
    expect(seen.map((g) => g.from)).toEqual(["10.244.1.0"]);
    expect(c.got.map((g) => `${g.from} ${g.text}`)).toEqual(["10.96.0.10 pod 2"]);
  });

  it("rejects with an ICMP error that names the address which the sender used", () => {
    layout = twoNodes();
    restore(layout, "*filter\n-A FORWARD -d 10.96.0.10 -p udp -j REJECT\nCOMMIT\n", [0]);
    applyOps(layout.nodes[0], [{ op: "route.add", netns: "host", dst: "default", dev: "eth0" }]);
    const c = client(layout.pods[0], 5000);
    send(c);
    layout.world.loop.runNow();
    expect(c.errors).toEqual(["3/3 from 10.244.1.1 about 10.96.0.10:80"]);
  });

  it("brings a port unreachable of the endpoint home through NAT", () => {
    layout = twoNodes();
    restore(
      layout,
      serviceRules(1, () => CLUSTER_IP, ["10.244.2.2"], 8080),
    );
    const c = client(layout.pods[0], 5000);
    send(c);
    layout.world.loop.runNow();
    expect(c.errors).toEqual(["3/3 from 10.96.0.10 about 10.96.0.10:80"]);
  });

  it("carries TCP through a ClusterIP, and refuses with a reset where a rule says so", () => {
    layout = twoNodes();
    const rules = serviceRules(1, () => CLUSTER_IP, ["10.244.2.2"], 8080).replaceAll("udp", "tcp");
    restore(layout, rules);
    const heard: string[] = [];
    const decode = (b: Uint8Array, off: number, len: number): string =>
      new TextDecoder().decode(b.subarray(off, off + len));
    TcpListener.listen(layout.pods[1], ANY, 8080, () => ({
      data(socket, b, off, len) {
        heard.push(decode(b, off, len));
        socket.write(new TextEncoder().encode("answer"));
      },
    }));
    const socket = TcpSocket.connect(layout.pods[0], CLUSTER_IP, 80, {
      connected: (s) => void s.write(HELLO),
      data: (_s, b, off, len) => void heard.push(decode(b, off, len)),
    });
    expect(socket).toBeInstanceOf(TcpSocket);
    layout.world.loop.run({ deadline: 1000 });
    expect(heard).toEqual(["hello", "answer"]);
    expect(
      netfilterOf(layout.nodes[0].root)
        ?.conntrack.dump()
        .find((l) => l.startsWith("tcp")),
    ).toMatch(/ESTABLISHED src=10.244.1.2 dst=10.96.0.10 .* src=10.244.2.2 dst=10.244.1.2 sport=8080 .*\[ASSURED\]/);

    restore(layout, "*filter\n-I FORWARD -p tcp --dport 9999 -j REJECT --reject-with tcp-reset\nCOMMIT\n", [0]);
    const failures: string[] = [];
    TcpSocket.connect(layout.pods[0], ipv4("10.244.2.2"), 9999, {
      data: () => {},
      failed: (_s, why) => void failures.push(why),
    });
    layout.world.loop.run({ deadline: 2000 });
    expect(failures).toEqual(["ECONNREFUSED"]);
    if (socket instanceof TcpSocket) socket.abort();
    layout.world.loop.run({ deadline: 200_000 });
  });

  it("keeps clients of one port apart when both are masqueraded to one server", () => {
    layout = twoNodes();
    const host = layout.nodes[0];
    const path = host.addNetns("second");
    applyOps(host, [
      {
        op: "link.add",
        netns: path,
        name: "eth0",
        kind: "veth",
        up: true,
        peer: { name: "veth1", netns: "host", master: "cni0", up: true },
      },
      { op: "addr.add", netns: path, dev: "eth0", address: "10.244.1.3/24" },
      { op: "route.add", netns: path, dst: "default", via: "10.244.1.1" },
    ]);
    restore(layout, "*nat\n-A POSTROUTING -s 10.244.1.0/24 -o eth0 -j MASQUERADE\nCOMMIT\n", [0]);
    const seen = server(layout.nodes[1].root, 53, "node 2");
    const clients = [client(layout.pods[0], 5000), client(host.netns(path), 5000)];
    for (const c of clients) send(c, ipv4("192.168.0.12"), 53);
    layout.world.loop.runNow();
    expect(seen.map((g) => g.from)).toEqual(["192.168.0.11", "192.168.0.11"]);
    expect(new Set(seen.map((g) => g.fromPort)).size).toBe(2);
    for (const c of clients) expect(c.got).toEqual([{ from: "192.168.0.12", fromPort: 53, text: "node 2" }]);
  });

  it("pings through masquerade", () => {
    layout = twoNodes();
    restore(layout, "*nat\n-A POSTROUTING -s 10.244.1.0/24 -o eth0 -j MASQUERADE\nCOMMIT\n", [0]);
    const replies: string[] = [];
    const ping = new PingSocket(layout.pods[0], ipv4("192.168.0.12"), {
      reply: (seq, from) => void replies.push(`${seq} ${formatIpv4(from)}`),
      error: () => {},
    });
    ping.send(ipv4("192.168.0.12"), 1, HELLO);
    layout.world.loop.runNow();
    ping.close();
    expect(replies).toEqual(["1 192.168.0.12"]);
  });

  it("takes every way through a Service when the caller answers for chance", () => {
    layout = twoNodes();
    const reached: string[] = [];
    for (const take of [true, false]) {
      layout = twoNodes();
      restore(
        layout,
        serviceRules(1, () => CLUSTER_IP, ["192.168.0.12", "10.244.2.2"], 8080),
      );
      layout.world.chance = () => take;
      server(layout.nodes[1].root, 8080, "node 2");
      server(layout.pods[1], 8080, "pod 2");
      const c = client(layout.pods[0], 5000);
      send(c);
      layout.world.loop.runNow();
      reached.push(...c.got.map((g) => g.text));
    }
    expect(reached).toEqual(["node 2", "pod 2"]);
  });
});
