import { beforeEach, describe, expect, it } from "vitest";
import { applyOps } from "../netns/rtnl-apply.ts";
import type { Skb } from "../skb/skb.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as sctp from "../wire/sctp.ts";
import { ACK, FIN, RST, SYN } from "../wire/tcp.ts";
import type { Conn } from "./conn.ts";
import { NF_ACCEPT, NF_DROP, NF_INET_FORWARD, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING } from "./hooks.ts";
import { Bench, type PacketSpec } from "./testing.ts";

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
  bench.restore("*filter\n-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n");
});

const OUT: PacketSpec = { src: "10.0.0.2", dst: "10.1.0.2", sport: 1000, dport: 80 };
const BACK: PacketSpec = { src: "10.1.0.2", dst: "10.0.0.2", sport: 80, dport: 1000 };

/** Puts a packet through the host; answers its state. */
function pass(spec: PacketSpec): string {
  return through(bench.packet(spec));
}

function through(skb: Skb): string {
  const { ctState } = bench.traced(NF_INET_PRE_ROUTING, skb);
  bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1");
  bench.hook(NF_INET_POST_ROUTING, skb, "eth0", "eth1");
  bench.world.pool.free(skb);
  return ctState;
}

function only(): Conn {
  const all = [...bench.nf.conntrack.entries()];
  expect(all).toHaveLength(1);
  return all[0] as Conn;
}

function wait(ms: number): void {
  bench.world.loop.run({ deadline: bench.world.loop.time + ms });
}

const dump = (): string[] => bench.nf.conntrack.dump();

describe("UDP", () => {
  it("is new until it is answered, and a stream after two seconds", () => {
    expect(pass(OUT)).toBe("NEW");
    expect(pass(OUT)).toBe("NEW");
    expect(dump()).toEqual([
      "udp      17 30 src=10.0.0.2 dst=10.1.0.2 sport=1000 dport=80 [UNREPLIED] src=10.1.0.2 dst=10.0.0.2 sport=80 dport=1000 mark=0 use=1",
    ]);
    expect(pass(BACK)).toBe("ESTABLISHED");
    expect(pass(OUT)).toBe("ESTABLISHED");
    expect(dump()[0]).not.toContain("ASSURED");
    wait(2001);
    pass(OUT);
    expect(dump()[0]).toMatch(/^udp +17 120 .*\[ASSURED\]/);
  });

  it("ends with its time", () => {
    pass(OUT);
    wait(29_999);
    expect(dump()).toHaveLength(1);
    wait(2);
    expect(dump()).toEqual([]);
    expect(pass(BACK)).toBe("NEW");
  });

  it("lives as long as the sysctl says", () => {
    const key = "net.netfilter.nf_conntrack_udp_timeout";
    applyOps(bench.host, [{ op: "sysctl.set", netns: "host", key, value: "5" }]);
    pass(OUT);
    expect(dump()[0]).toContain("udp      17 5 ");
  });
});

const tcp = (spec: PacketSpec, flags: number, seq: number, ack = 0): PacketSpec => ({
  ...spec,
  proto: "tcp",
  flags,
  seq,
  ack: (flags & ACK) !== 0 ? ack : 0,
});

/** SYN, SYN-ACK, ACK. */
function handshake(): void {
  expect(pass(tcp(OUT, SYN, 100))).toBe("NEW");
  expect(pass(tcp(BACK, SYN | ACK, 500, 101))).toBe("ESTABLISHED");
  expect(pass(tcp(OUT, ACK, 101, 501))).toBe("ESTABLISHED");
}

const state = (): string => dump()[0]?.split(/ +/)[3] ?? "gone";
const left = (): number => Number(dump()[0]?.split(/ +/)[2]);

describe("TCP", () => {
  it("goes from SYN_SENT to ESTABLISHED, and closes from either side", () => {
    pass(tcp(OUT, SYN, 100));
    expect([state(), left()]).toEqual(["SYN_SENT", 120]);
    pass(tcp(BACK, SYN | ACK, 500, 101));
    expect([state(), left()]).toEqual(["SYN_RECV", 60]);
    pass(tcp(OUT, ACK, 101, 501));
    expect([state(), left()]).toEqual(["ESTABLISHED", 432_000]);
    expect(dump()[0]).toContain("[ASSURED]");
    pass(tcp(OUT, FIN | ACK, 101, 501));
    expect([state(), left()]).toEqual(["FIN_WAIT", 120]);
    pass(tcp(BACK, ACK, 501, 102));
    expect([state(), left()]).toEqual(["CLOSE_WAIT", 60]);
    pass(tcp(BACK, FIN | ACK, 501, 102));
    expect([state(), left()]).toEqual(["LAST_ACK", 30]);
    pass(tcp(OUT, ACK, 102, 502));
    expect([state(), left()]).toEqual(["TIME_WAIT", 120]);
  });

  it("closes with a reset, and forgets a connection whose first answer is one", () => {
    handshake();
    pass(tcp(BACK, RST | ACK, 501, 101));
    expect([state(), left()]).toEqual(["CLOSE", 10]);
    bench.nf.conntrack.deleteWhere(() => true);
    pass(tcp(OUT, SYN, 100));
    expect(pass(tcp(BACK, RST | ACK, 0, 101))).toBe("ESTABLISHED");
    expect(dump()).toEqual([]);
  });

  it("starts a new connection with a SYN after the old one closed", () => {
    handshake();
    const before = only().id;
    pass(tcp(OUT, FIN | ACK, 101, 501));
    pass(tcp(BACK, FIN | ACK, 501, 102));
    pass(tcp(OUT, ACK, 102, 502));
    expect(state()).toBe("TIME_WAIT");
    expect(pass(tcp(OUT, SYN, 9000))).toBe("NEW");
    expect(state()).toBe("SYN_SENT");
    expect(only().id).not.toBe(before);
  });

  it.each([
    ["a SYN-ACK without a SYN", tcp(BACK, SYN | ACK, 1, 1)],
    ["a FIN alone", tcp(OUT, FIN, 1)],
    ["a reset without a connection", tcp(OUT, RST, 1)],
    ["SYN and FIN at once", tcp(OUT, SYN | FIN, 1)],
    ["no flag at all", tcp(OUT, 0, 1)],
  ])("finds %s invalid", (_what, spec) => {
    expect(pass(spec)).toBe("INVALID");
    expect(dump()).toEqual([]);
  });

  it("picks up a connection in the middle, unless tcp_loose is 0", () => {
    expect(pass(tcp(OUT, ACK, 5000, 7000))).toBe("NEW");
    expect(state()).toBe("ESTABLISHED");
    expect(left()).toBe(300);
    expect(pass(tcp(BACK, ACK, 7000, 5000))).toBe("ESTABLISHED");
    bench.nf.conntrack.deleteWhere(() => true);
    applyOps(bench.host, [
      { op: "sysctl.set", netns: "host", key: "net.netfilter.nf_conntrack_tcp_loose", value: "0" },
    ]);
    expect(pass(tcp(OUT, ACK, 5000, 7000))).toBe("INVALID");
  });

  it("finds segments far outside the window invalid, unless be_liberal is set", () => {
    handshake();
    expect(pass({ ...tcp(OUT, ACK, 101, 501), payload: 100 })).toBe("ESTABLISHED");
    expect(pass({ ...tcp(OUT, ACK, 900_000, 501), payload: 100 })).toBe("INVALID");
    expect(pass(tcp(BACK, ACK, 501, 900_000))).toBe("INVALID");
    expect(pass(tcp(OUT, RST, 3_000_000_000))).toBe("INVALID");
    expect(state()).toBe("ESTABLISHED");
    const key = "net.netfilter.nf_conntrack_tcp_be_liberal";
    applyOps(bench.host, [{ op: "sysctl.set", netns: "host", key, value: "1" }]);
    expect(pass({ ...tcp(OUT, ACK, 900_000, 501), payload: 100 })).toBe("ESTABLISHED");
  });

  it("scales windows once both ends said how", () => {
    const scale = { options: [{ kind: "windowScale", shift: 7 }], window: 1000 } as const;
    pass({ ...tcp(OUT, SYN, 100), ...scale });
    pass({ ...tcp(BACK, SYN | ACK, 500, 101), ...scale });
    pass({ ...tcp(OUT, ACK, 101, 501), window: 1000 });
    // 128,000 octets may be on their way now.
    expect(pass({ ...tcp(BACK, ACK, 501 + 100_000, 101), payload: 100 })).toBe("ESTABLISHED");
    expect(pass({ ...tcp(BACK, ACK, 501 + 400_000, 101), payload: 100 })).toBe("INVALID");
  });
});

describe("ICMP", () => {
  it("tracks an echo and its reply", () => {
    expect(pass({ ...OUT, proto: "icmp", type: 8, id: 9 })).toBe("NEW");
    expect(pass({ ...BACK, proto: "icmp", type: 0, id: 9 })).toBe("ESTABLISHED");
    expect(pass({ ...BACK, proto: "icmp", type: 0, id: 10 })).toBe("INVALID");
    expect(dump()).toEqual([
      "icmp     1 30 src=10.0.0.2 dst=10.1.0.2 type=8 code=0 id=9 src=10.1.0.2 dst=10.0.0.2 type=0 code=0 id=9 mark=0 use=1",
    ]);
  });

  it("finds a reply without a request invalid", () => {
    expect(pass({ ...OUT, proto: "icmp", type: 0 })).toBe("INVALID");
  });

  it("relates an error to the connection of the packet that it quotes", () => {
    const quoted = bench.packet(OUT);
    const bytes = quoted.buf.slice(quoted.network, quoted.end);
    const error = (dst: string): PacketSpec => ({
      src: "10.1.0.9",
      dst,
      proto: "icmp",
      type: 3,
      code: 3,
      payload: bytes,
    });
    expect(pass(error("10.0.0.2"))).toBe("INVALID");
    through(quoted);
    expect(pass(error("10.0.0.2"))).toBe("RELATED");
    expect(pass(error("10.0.0.7"))).toBe("INVALID");
  });

  it.each([
    [22, "INVALID"],
    [24, "RELATED"],
  ])("takes a quote for one that is cut after %i octets: %s, as both ports are needed", (octets, state) => {
    const quoted = bench.packet(OUT);
    const bytes = quoted.buf.slice(quoted.network, quoted.network + octets);
    through(quoted);
    expect(pass({ src: "10.1.0.9", dst: "10.0.0.2", proto: "icmp", type: 3, code: 3, payload: bytes })).toBe(state);
  });
});

describe("SCTP and others", () => {
  /** Tags: what comes back bears 1, which the INIT announced, and what goes out 2. */
  const out = (chunk: number, more: PacketSpec = {}): PacketSpec => ({ ...OUT, proto: "sctp", chunk, tag: 2, ...more });
  const back = (chunk: number, more: PacketSpec = {}): PacketSpec => ({
    ...BACK,
    proto: "sctp",
    chunk,
    tag: 1,
    ...more,
  });
  const open = (): void => {
    pass(out(sctp.INIT, { tag: 0, initTag: 1 }));
    pass(back(sctp.INIT_ACK, { initTag: 2 }));
    pass(out(sctp.COOKIE_ECHO));
    pass(back(sctp.COOKIE_ACK));
  };

  it("follows an association from INIT to its end", () => {
    expect(pass(out(sctp.INIT, { tag: 0, initTag: 1 }))).toBe("NEW");
    expect(state()).toBe("CLOSED");
    expect(pass(back(sctp.INIT_ACK, { initTag: 2 }))).toBe("ESTABLISHED");
    expect(state()).toBe("COOKIE_WAIT");
    pass(out(sctp.COOKIE_ECHO));
    expect(state()).toBe("COOKIE_ECHOED");
    pass(back(sctp.COOKIE_ACK));
    expect(state()).toBe("ESTABLISHED");
    expect(dump()[0]).toContain("[ASSURED]");
    pass(out(sctp.SHUTDOWN));
    pass(back(sctp.SHUTDOWN_ACK));
    pass(out(sctp.SHUTDOWN_COMPLETE));
    expect(state()).toBe("CLOSED");
  });

  it.each([
    ["an INIT that bears a tag", out(sctp.INIT, { tag: 5 })],
    ["data without an association", out(sctp.DATA)],
    ["an abort without an association", out(sctp.ABORT)],
  ])("finds %s invalid", (_, spec) => {
    expect(pass(spec)).toBe("INVALID");
    expect(dump()).toEqual([]);
  });

  it.each([
    ["data", out(sctp.DATA, { tag: 9 })],
    ["data of the other direction's tag", out(sctp.DATA, { tag: 1 })],
    ["an abort", back(sctp.ABORT, { tag: 2 })],
    ["an abort with the T flag", back(sctp.ABORT, { tag: 1, chunkFlags: 1 })],
    ["the echo of another cookie", out(sctp.COOKIE_ECHO, { tag: 9 })],
  ])("finds %s with a wrong tag invalid", (_, spec) => {
    open();
    expect(pass(spec)).toBe("INVALID");
    expect(state()).toBe("ESTABLISHED");
    expect(pass(out(sctp.DATA))).toBe("ESTABLISHED");
  });

  it("takes an abort that bears the receiver's tag and says so", () => {
    open();
    expect(pass(back(sctp.ABORT, { tag: 2, chunkFlags: 1 }))).toBe("ESTABLISHED");
    expect(state()).toBe("CLOSED");
  });

  it("takes up the tags of an association that began anew elsewhere, by its heartbeats", () => {
    open();
    expect(pass(out(sctp.HEARTBEAT, { tag: 7 }))).toBe("ESTABLISHED");
    expect(pass(back(sctp.HEARTBEAT_ACK, { tag: 8 }))).toBe("ESTABLISHED");
    expect(pass(back(sctp.DATA, { tag: 1 }))).toBe("INVALID");
    expect(pass(back(sctp.DATA, { tag: 8 }))).toBe("ESTABLISHED");
    expect(pass(out(sctp.HEARTBEAT, { tag: 7 }))).toBe("ESTABLISHED");
    expect(pass(out(sctp.DATA, { tag: 7 }))).toBe("ESTABLISHED");
  });

  it("follows another path, which begins with a heartbeat", () => {
    expect(pass(out(sctp.HEARTBEAT))).toBe("NEW");
    expect(state()).toBe("HEARTBEAT_SENT");
    expect(pass(back(sctp.HEARTBEAT_ACK))).toBe("ESTABLISHED");
    expect(state()).toBe("ESTABLISHED");
    expect(pass(back(sctp.DATA, { tag: 3 }))).toBe("INVALID");
  });

  it("tracks an unknown protocol by its addresses", () => {
    expect(pass({ ...OUT, proto: 47 })).toBe("NEW");
    expect(pass({ ...BACK, proto: 47 })).toBe("ESTABLISHED");
  });
});

describe("the table", () => {
  it("keeps a connection only when its first packet gets through", () => {
    bench.restore("*filter\n-I FORWARD -j DROP\nCOMMIT\n");
    const skb = bench.packet(OUT);
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1")).toBe(NF_DROP);
    expect(dump()).toEqual([]);
  });

  it("gives up an unanswered entry when it is full, and else drops", () => {
    applyOps(bench.host, [{ op: "sysctl.set", netns: "host", key: "net.netfilter.nf_conntrack_max", value: "2" }]);
    const establish = (sport: number): void => {
      pass({ ...OUT, sport });
      pass({ ...BACK, dport: sport });
      wait(2001);
      pass({ ...OUT, sport });
    };
    establish(1);
    establish(2);
    const skb = bench.packet({ ...OUT, sport: 3 });
    expect(bench.hook(NF_INET_PRE_ROUTING, skb)).toBe(NF_DROP);
    expect(bench.nf.conntrack.full).toBe(1);
    bench.nf.conntrack.deleteWhere((c) => c.original.ports >>> 16 === 2);
    expect(bench.hook(NF_INET_PRE_ROUTING, skb)).toBe(NF_ACCEPT);
  });

  it("lets the second of two first packets go on with the entry of the first", () => {
    const [a, b] = [bench.packet(OUT), bench.packet(OUT)];
    for (const skb of [a, b]) bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(a.ct).not.toBe(b.ct);
    expect(bench.hook(NF_INET_POST_ROUTING, a, "eth0", "eth1")).toBe(NF_ACCEPT);
    expect(bench.hook(NF_INET_POST_ROUTING, b, "eth0", "eth1")).toBe(NF_ACCEPT);
    expect(b.ct).toBe(a.ct);
    expect(bench.nf.conntrack.count).toBe(1);
  });

  it("finds each of many thousands, and sweeps out those whose time is over", () => {
    for (let i = 0; i < 5000; i++) pass({ ...OUT, sport: i + 1 });
    expect(bench.nf.conntrack.count).toBe(5000);
    for (let i = 0; i < 5000; i += 97) expect(pass({ ...BACK, dport: i + 1 })).toBe("ESTABLISHED");
    wait(200_000);
    for (let i = 0; i < 3000; i++) pass({ ...OUT, src: "10.0.0.9", sport: i + 1 });
    expect(bench.nf.conntrack.count).toBe(3000);
  });

  it("keeps the entry of a packet that comes round by loopback", () => {
    const skb = bench.packet(OUT);
    bench.hook(NF_INET_PRE_ROUTING, skb);
    const conn = skb.ct;
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(skb.ct).toBe(conn);
  });

  it("does not track a fragment behind the first", () => {
    const skb = bench.packet(OUT);
    ipv4.setFlagsFrag(skb.buf, skb.network, 8);
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(skb.ct).toBeNull();
  });

  it("answers questions about tuples", () => {
    const text = (rule: string) => `*filter\n-F\n-A FORWARD -m conntrack ${rule} -j DROP\nCOMMIT\n`;
    const dropped = (rule: string, spec: PacketSpec): boolean => {
      bench.restore(text(rule));
      const skb = bench.packet(spec);
      bench.hook(NF_INET_PRE_ROUTING, skb);
      const verdict = bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1");
      if (verdict === NF_ACCEPT) bench.hook(NF_INET_POST_ROUTING, skb, "eth0", "eth1");
      return verdict === NF_DROP;
    };
    pass(OUT);
    for (const rule of [
      "--ctdir REPLY",
      "--ctorigsrc 10.0.0.0/24",
      "! --ctreplsrc 10.0.0.2",
      "--ctorigdstport 80:90",
      "--ctrepldstport 1000",
      "--ctproto udp",
      "--ctstatus CONFIRMED",
      "--ctexpire 1:30",
    ]) {
      expect(dropped(rule, BACK), rule).toBe(true);
    }
    for (const rule of [
      "--ctdir ORIGINAL",
      "--ctorigdst 10.0.0.2",
      "--ctstatus ASSURED",
      "--ctexpire 31:99",
      "! --ctproto 17",
    ]) {
      expect(dropped(rule, BACK), rule).toBe(false);
    }
  });
});
