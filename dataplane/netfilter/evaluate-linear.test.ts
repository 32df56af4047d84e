import { describe, expect, it } from "vitest";
import { applyOps } from "../netns/rtnl-apply.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_REJECT,
  REJECT_TCP_RESET,
} from "./hooks.ts";
import { netfilter6Of, netfilterOf, saveRules } from "./restore-op.ts";
import { Bench, checksumsRight, flow, type PacketSpec, places } from "./testing.ts";

const SYN: PacketSpec = { proto: "tcp", flags: tcp.SYN, options: [{ kind: "mss", mss: 1460 }] };

function text(s: string): Uint8Array {
  return new TextEncoder().encode(s);
}

/** Whether a rule of one line matches a packet in FORWARD, from eth0 to eth1. */
function matches(rule: string, spec: PacketSpec): boolean {
  const bench = new Bench();
  bench.set("S1", "hash:ip", ["10.0.0.2"]);
  bench.set("N1", "hash:net", ["10.1.0.0/16"]);
  bench.set("P1", "hash:ip,port", ["10.1.0.2,udp:80"]);
  bench.restore(`*filter\n-A FORWARD ${rule} -j DROP\nCOMMIT\n`);
  const skb = bench.packet(spec);
  const verdict = bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1");
  bench.world.pool.free(skb);
  return verdict === NF_DROP;
}

describe("matches", () => {
  it.each<[string, PacketSpec, PacketSpec]>([
    ["-s 10.0.0.0/24", {}, { src: "10.0.1.2" }],
    ["! -s 10.0.0.0/24", { src: "10.0.1.2" }, {}],
    ["-d 10.1.0.2", {}, { dst: "10.1.0.3" }],
    ["! -d 10.1.0.2", { dst: "10.1.0.3" }, {}],
    ["-p tcp", { proto: "tcp" }, {}],
    ["! -p tcp", {}, { proto: "tcp" }],
    ["-f", { fragment: 64 }, {}],
    ["! -f", {}, { fragment: 64 }],
    ["-p udp --dport 80", {}, { dport: 81 }],
    ["-p udp --dport 80", {}, { fragment: 64 }],
    ["-p udp ! --sport 1:999", {}, { sport: 999 }],
    ["-p tcp --syn", { proto: "tcp" }, { proto: "tcp", flags: tcp.SYN | tcp.ACK }],
    ["-p tcp ! --syn", { proto: "tcp", flags: tcp.ACK }, { proto: "tcp" }],
    ["-p tcp --tcp-flags ALL NONE", { proto: "tcp", flags: 0 }, { proto: "tcp" }],
    ["-p tcp --tcp-option 2", SYN, { proto: "tcp" }],
    ["-p tcp -m tcpmss --mss 1000:1500", SYN, { ...SYN, options: [{ kind: "mss", mss: 900 }] }],
    ["-p icmp --icmp-type echo-request", { proto: "icmp" }, { proto: "icmp", type: 0 }],
    ["-p icmp --icmp-type 3/4", { proto: "icmp", type: 3, code: 4 }, { proto: "icmp", type: 3, code: 3 }],
    ["-p sctp --dport 80", { proto: "sctp" }, { proto: "sctp", dport: 81 }],
    ["-p sctp -m sctp --chunk-types any INIT,DATA", { proto: "sctp", chunk: 1 }, { proto: "sctp", chunk: 3 }],
    ["-m mark --mark 0x10/0xf0", { mark: 0x1f }, { mark: 0x2f }],
    ["-m mark ! --mark 0x4000/0x4000", {}, { mark: 0x4000 }],
    ["-p udp -m multiport --dports 53,80:90", {}, { dport: 91 }],
    ["-p udp -m multiport ! --ports 53,80:90", { dport: 91 }, {}],
    ["-m addrtype --dst-type LOCAL", { dst: "10.1.0.1" }, {}],
    ["-m addrtype --dst-type BROADCAST", { dst: "10.1.0.255" }, {}],
    ["-m addrtype --dst-type MULTICAST", { dst: "224.0.0.5" }, {}],
    ["-m addrtype --dst-type UNREACHABLE", { dst: "9.9.9.9" }, {}],
    ["-m addrtype ! --src-type UNICAST", { src: "10.0.0.1" }, {}],
    ["-m set --match-set S1 src", {}, { src: "10.0.0.3" }],
    ["-m set --match-set N1 dst", {}, { dst: "10.2.0.2" }],
    ["-m set --match-set P1 dst,dst", {}, { dport: 81 }],
    ["-m set ! --match-set P1 dst,dst", { proto: "tcp" }, {}],
    ["-m length --length 28:40", {}, { payload: 20 }],
    ["-m ttl --ttl-lt 5", { ttl: 4 }, {}],
    ["-m ttl ! --ttl-eq 64", { ttl: 4 }, {}],
    ["-m dscp --dscp-class EF", { tos: 0xb8 }, {}],
    ["-m tos --tos 0x10/0x1f", { tos: 0x30 }, { tos: 0x11 }],
    ["-m tos ! --tos Minimize-Delay", {}, { tos: 0x10 }],
    ["-m rpfilter", {}, { src: "10.1.0.9" }],
    ["-m rpfilter --invert", { src: "10.0.0.1" }, {}],
    ["-m rpfilter --loose --invert", { src: "9.9.9.9" }, { src: "10.1.0.9" }],
    ["-m rpfilter --accept-local --loose", { src: "10.0.0.1" }, { src: "9.9.9.9" }],
    ['-m string --algo bm --string "b c"', { payload: text("ab cd") }, { payload: text("ab dc") }],
    ["-m string --algo kmp --icase --string ABC", { payload: text("xaBcx") }, { payload: text("ab") }],
    ['-m string --algo bm ! --hex-string "|00ff|"', { payload: text("x") }, { payload: Uint8Array.of(1, 0, 255) }],
    ["-m string --algo bm --string b --from 30", { payload: text("..b") }, { payload: text(".b.") }],
    ["-m string --algo bm --string b --to 30", { payload: text(".b.") }, { payload: text("..b") }],
    ["-m policy --dir in --pol none -p udp", {}, { proto: "tcp" }],
    ["-m nfacct --nfacct-name n -p udp", {}, { proto: "tcp" }],
    ["-p sctp ! --chunk-types only INIT", { proto: "sctp", chunk: 3 }, { proto: "sctp" }],
  ])("%s", (rule, yes, no) => {
    expect(matches(rule, yes)).toBe(true);
    expect(matches(rule, no)).toBe(false);
  });

  it.each([
    ["-i eth0", true],
    ["-i eth1", false],
    ["! -i eth1", true],
    ["-i eth+ -o eth+", true],
    ["-o veth+", false],
    ["-i eth0+", true],
    ["-m physdev --physdev-is-bridged", false],
    ["-m physdev ! --physdev-is-in", true],
    ["-m owner --uid-owner 0", false],
    ["-m owner ! --uid-owner 0", true],
    ["-m pkttype --pkt-type unicast", true],
    ["-m pkttype --pkt-type broadcast", false],
    ["-m comment --comment x", true],
    ["-m policy --dir out --pol ipsec", false],
    ["-m socket --transparent", false],
  ])("%s of a packet from eth0 to eth1 is %s", (rule, expected) => {
    expect(matches(rule, {})).toBe(expected);
  });

  it("drops a packet whose transport header is cut short", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -p udp --dport 80\n-A FORWARD -j ACCEPT\nCOMMIT\n");
    const skb = bench.packet({});
    skb.end = skb.transport + 4;
    expect(bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1")).toBe(NF_DROP);
  });
});

/** A chain of marks and verdicts; answers where the packet went. */
function walk(text: string, spec: PacketSpec = {}): { rules: string[]; verdict: string; examined: number } {
  const bench = new Bench();
  bench.restore(text);
  const skb = bench.packet(spec);
  const { rules, verdict, examined } = bench.traced(NF_INET_FORWARD, skb, "eth0", "eth1");
  return { rules: places(rules), verdict, examined };
}

describe("the walk", () => {
  it("comes back from a jump behind it", () => {
    expect(
      walk("*filter\n:A - [0:0]\n-A FORWARD -j A\n-A FORWARD -j DROP\n-A A -p tcp\n-A A -p udp\nCOMMIT\n"),
    ).toEqual({
      rules: ["filter FORWARD 1", "filter A 2", "filter FORWARD 2"],
      verdict: "DROP",
      examined: 4,
    });
  });

  it("does not come back from a goto, but to where its chain was called from", () => {
    const text = `*filter\n:A - [0:0]\n:B - [0:0]
-A FORWARD -j A\n-A FORWARD -j DROP\n-A A -g B\n-A A -j ACCEPT\n-A B -p udp\nCOMMIT\n`;
    expect(walk(text).rules).toEqual(["filter FORWARD 1", "filter A 1", "filter B 1", "filter FORWARD 2"]);
    const top =
      "*filter\n:FORWARD DROP [0:0]\n:A - [0:0]\n-A FORWARD -g A\n-A FORWARD -j ACCEPT\n-A A -j RETURN\nCOMMIT\n";
    expect(walk(top)).toMatchObject({ rules: ["filter FORWARD 1", "filter A 1", "filter FORWARD 0"], verdict: "DROP" });
  });

  it("takes the policy at a RETURN in the kernel's chain", () => {
    expect(walk("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j RETURN\n-A FORWARD -j ACCEPT\nCOMMIT\n")).toMatchObject({
      rules: ["filter FORWARD 1", "filter FORWARD 0"],
      verdict: "DROP",
    });
  });

  it("asks mangle, then filter, then security, and stops at the first drop", () => {
    const text = (drop: string): string =>
      ["mangle", "filter", "security"]
        .map((t) => `*${t}\n-A FORWARD${t === drop ? " -j DROP" : ""}\nCOMMIT\n`)
        .join("");
    expect(walk(text("")).rules).toEqual(["mangle FORWARD 1", "filter FORWARD 1", "security FORWARD 1"]);
    expect(walk(text("filter")).rules).toEqual(["mangle FORWARD 1", "filter FORWARD 1"]);
  });

  it("counts packets and octets of rules and policies", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -p udp\n-A FORWARD -p tcp -j DROP\nCOMMIT\n");
    for (const proto of ["udp", "udp", "tcp"] as const) {
      bench.hook(NF_INET_FORWARD, bench.packet({ proto, payload: 12 }), "eth0", "eth1");
    }
    const saved = saveRules(bench.ns, true);
    expect(saved).toContain(":FORWARD ACCEPT [2:80]");
    expect(saved).toContain("[2:80] -A FORWARD -p udp");
    expect(saved).toContain("[1:52] -A FORWARD -p tcp -j DROP");
  });

  it("counts in chains that have no rules at all", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -p udp\nCOMMIT\n");
    bench.hook(NF_INET_LOCAL_IN, bench.packet({ payload: 2 }));
    expect(saveRules(bench.ns)).toContain(":INPUT ACCEPT [1:30]");
  });

  it("tracks no connections where no rule asks for them", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -p udp\nCOMMIT\n");
    expect(bench.nf.tracking).toBe(false);
    const skb = bench.packet({});
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(skb.ct).toBeNull();
    bench.restore("*filter\n-A INPUT -m conntrack --ctstate NEW\nCOMMIT\n");
    expect(bench.nf.tracking).toBe(true);
    bench.restore("*filter\n-D INPUT 1\nCOMMIT\n");
    expect(bench.nf.tracking).toBe(false);
  });
});

describe("targets", () => {
  it.each([
    ["--set-mark 5", 0xf0, 5],
    ["--set-mark 5/0xf", 0xff, 0xf5],
    ["--or-mark 0x4000", 1, 0x4001],
    ["--xor-mark 0x4000", 0x4001, 1],
    ["--and-mark 0xf0", 0xff, 0xf0],
    ["--set-xmark 0x80000000/0x80000000", 1, 0x80000001],
  ])("MARK %s makes %i %i", (options, before, after) => {
    const bench = new Bench();
    bench.restore(`*mangle\n-A FORWARD -j MARK ${options}\nCOMMIT\n`);
    const skb = bench.packet({ mark: before });
    expect(bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1")).toBe(NF_ACCEPT);
    expect(skb.mark).toBe(after);
  });

  it("CONNMARK keeps marks with the connection", () => {
    const bench = new Bench();
    bench.restore(`*mangle
-A PREROUTING -j CONNMARK --restore-mark --mask 0xff
-A PREROUTING -m mark --mark 0/0xff -j MARK --set-xmark 7/0xff
-A PREROUTING -j CONNMARK --save-mark --mask 0xff
COMMIT
*filter
-A INPUT -m connmark --mark 7 -j DROP
COMMIT
`);
    const first = bench.packet({ mark: 0x100 });
    bench.hook(NF_INET_PRE_ROUTING, first);
    expect(first.mark).toBe(0x107);
    expect(bench.hook(NF_INET_LOCAL_IN, first)).toBe(NF_DROP);
  });

  it.each([
    ["", icmpv4.PORT_UNREACH],
    ["--reject-with icmp-net-unreachable", icmpv4.NET_UNREACH],
    ["--reject-with icmp-host-prohibited", icmpv4.HOST_ANO],
    ["--reject-with icmp-admin-prohibited", icmpv4.PKT_FILTERED],
    ["--reject-with tcp-reset", REJECT_TCP_RESET],
  ])("REJECT %s", (options, code) => {
    const bench = new Bench();
    bench.restore(`*filter\n-A FORWARD -p tcp -j REJECT ${options}\nCOMMIT\n`);
    const skb = bench.packet({ proto: "tcp" });
    expect(bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1")).toBe(NF_REJECT);
    expect(skb.rejectWith).toBe(code);
  });

  it("NOTRACK keeps a packet from being tracked", () => {
    const bench = new Bench();
    bench.restore("*raw\n-A PREROUTING -p udp -j NOTRACK\nCOMMIT\n*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n");
    const skb = bench.packet({});
    expect(bench.traced(NF_INET_PRE_ROUTING, skb).ctState).toBe("UNTRACKED");
    expect(bench.traced(NF_INET_PRE_ROUTING, bench.packet({ proto: "tcp" })).ctState).toBe("NEW");
    expect(skb.ct).toBeNull();
  });

  it.each([
    ["--set-mss 1000", [{ kind: "mss", mss: 1460 }], 1000],
    ["--set-mss 1460", [{ kind: "mss", mss: 1000 }], 1000],
    ["--clamp-mss-to-pmtu", [{ kind: "mss", mss: 8960 }], 1460],
    [
      "--set-mss 1000",
      [{ kind: "nop" }, { kind: "mss", mss: 1460 }, { kind: "nop" }, { kind: "nop" }, { kind: "nop" }],
      1000,
    ],
    ["--set-mss 1000", [], 536],
  ] as const)("TCPMSS %s", (options, given, mss) => {
    const bench = new Bench();
    bench.restore(`*mangle\n-A FORWARD -p tcp --syn -j TCPMSS ${options}\nCOMMIT\n`);
    const skb = bench.packet({ proto: "tcp", options: given as readonly tcp.TcpOption[] });
    bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1");
    expect(tcp.mss(skb.buf, skb.transport)).toBe(mss);
    expect(checksumsRight(skb)).toBe(true);
  });

  it.each([
    ["TTL --ttl-set 9", { ttl: 64, tos: 0 }, { ttl: 9, tos: 0 }],
    ["TTL --ttl-dec 70", { ttl: 64, tos: 0 }, { ttl: 0, tos: 0 }],
    ["TTL --ttl-inc 200", { ttl: 64, tos: 0 }, { ttl: 255, tos: 0 }],
    ["TOS --set-tos 0x10/0x1c", { ttl: 64, tos: 0xff }, { ttl: 64, tos: 0xf3 }],
    ["TOS --and-tos 0x0f", { ttl: 64, tos: 0x33 }, { ttl: 64, tos: 0x03 }],
    ["TOS --xor-tos 0x0f", { ttl: 64, tos: 0x33 }, { ttl: 64, tos: 0x3c }],
    ["DSCP --set-dscp-class EF", { ttl: 64, tos: 0x03 }, { ttl: 64, tos: 0xbb }],
  ])("%s", (target, before, after) => {
    const bench = new Bench();
    bench.restore(`*mangle\n-A FORWARD -j ${target}\nCOMMIT\n`);
    const skb = bench.packet(before);
    expect(bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1")).toBe(NF_ACCEPT);
    expect({ ttl: ipv4.ttl(skb.buf, skb.network), tos: ipv4.tos(skb.buf, skb.network) }).toEqual(after);
    expect(checksumsRight(skb)).toBe(true);
  });

  it("NETMAP gives the destination another network, and the source behind routing", () => {
    const bench = new Bench();
    bench.restore(
      "*nat\n-A PREROUTING -d 10.9.0.0/16 -j NETMAP --to 10.1.0.0/16\n-A POSTROUTING -s 10.0.0.0/24 -j NETMAP --to 10.7.7.0/24\nCOMMIT\n",
    );
    const skb = bench.packet({ dst: "10.9.0.5" });
    bench.hook(NF_INET_PRE_ROUTING, skb, "eth0");
    bench.hook(NF_INET_POST_ROUTING, skb, "", "eth1");
    expect(flow(skb)).toBe("10.7.7.2:1000 → 10.1.0.5:80");
    expect(checksumsRight(skb)).toBe(true);
  });

  it.each([
    ["NFQUEUE --queue-num 3", NF_DROP],
    ["NFQUEUE --queue-bypass", NF_ACCEPT],
  ])("%s, to which nobody listens", (target, verdict) => {
    const bench = new Bench();
    bench.restore(`*filter\n-A FORWARD -j ${target}\n-A FORWARD -j DROP\nCOMMIT\n`);
    expect(bench.hook(NF_INET_FORWARD, bench.packet({}), "eth0", "eth1")).toBe(verdict);
  });

  it("SET puts what a packet is into a set, once, and takes it out", () => {
    const bench = new Bench();
    bench.set("S1", "hash:ip", []);
    bench.set("P1", "hash:ip,port", []);
    bench.restore(
      "*filter\n-A FORWARD -p tcp -j SET --del-set S1 src\n-A FORWARD -m set --match-set S1 src -j DROP\n-A FORWARD -j SET --add-set S1 src\n-A FORWARD -j SET --add-set P1 dst,dst\nCOMMIT\n",
    );
    const send = (proto: "tcp" | "udp"): number => bench.hook(NF_INET_FORWARD, bench.packet({ proto }), "eth0", "eth1");
    expect([send("udp"), send("udp"), send("tcp"), send("udp")]).toEqual([NF_ACCEPT, NF_DROP, NF_ACCEPT, NF_DROP]);
    const { sets } = bench.nf.state;
    expect([sets.get("S1")?.entries(), sets.get("P1")?.entries()]).toEqual([
      ["10.0.0.2"],
      ["10.1.0.2,udp:80", "10.1.0.2,tcp:80"],
    ]);
    expect(() => bench.restore("*filter\n-A FORWARD -j SET --add-set NO src\nCOMMIT\n")).toThrow(
      "rules:2:29: set: set NO does not exist",
    );
  });

  it("LOG lets the packet go on", () => {
    expect(walk('*filter\n-A FORWARD -j LOG --log-prefix "x: "\n-A FORWARD -j DROP\nCOMMIT\n').rules).toEqual([
      "filter FORWARD 1",
      "filter FORWARD 2",
    ]);
  });
});

describe("matches that remember", () => {
  it("statistic asks the world for its chance, so that a caller can take each way", () => {
    const bench = new Bench();
    const asked: number[] = [];
    const answers = [true, false, false];
    bench.world.chance = (p) => {
      asked.push(p);
      return answers.shift() ?? false;
    };
    bench.restore(`*filter
-A FORWARD -m statistic --mode random --probability 0.25 -j DROP
-A FORWARD -m statistic --mode random ! --probability 0.5 -j DROP
COMMIT
`);
    const hook = (): number => bench.hook(NF_INET_FORWARD, bench.packet({}), "eth0", "eth1");
    expect(hook()).toBe(NF_DROP);
    expect(asked).toEqual([0.25]);
    expect(hook()).toBe(NF_DROP);
    expect(asked).toEqual([0.25, 0.25, 0.5]);
  });

  it("statistic spreads packets evenly over three rules, the same with each seed", () => {
    const run = (seed: number): number[] => {
      const bench = new Bench(seed);
      bench.restore(`*filter
-A FORWARD -m statistic --mode random --probability 0.3333333333 -j MARK --set-mark 1
-A FORWARD -m mark --mark 0 -m statistic --mode random --probability 0.5 -j MARK --set-mark 2
-A FORWARD -m mark --mark 0 -j MARK --set-mark 3
COMMIT
`);
      const counts = [0, 0, 0, 0];
      for (let i = 0; i < 3000; i++) {
        const skb = bench.packet({});
        bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1");
        counts[skb.mark] = (counts[skb.mark] ?? 0) + 1;
        bench.world.pool.free(skb);
      }
      return counts;
    };
    const counts = run(7);
    expect(counts[0]).toBe(0);
    for (const n of counts.slice(1)) expect(Math.abs(n - 1000)).toBeLessThan(120);
    expect(run(7)).toEqual(counts);
  });

  it("statistic takes every third packet, from the second", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -m statistic --mode nth --every 3 --packet 1 -j DROP\nCOMMIT\n");
    const verdicts = Array.from({ length: 7 }, () => bench.hook(NF_INET_FORWARD, bench.packet({}), "eth0", "eth1"));
    expect(verdicts.map((v) => (v === NF_DROP ? 1 : 0))).toEqual([0, 1, 0, 0, 1, 0, 0]);
  });

  it("limit lets a burst pass, then one packet a period", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -m limit --limit 2/sec --limit-burst 3 -j DROP\nCOMMIT\n");
    const hits = (n: number): number => {
      let count = 0;
      for (let i = 0; i < n; i++)
        if (bench.hook(NF_INET_FORWARD, bench.packet({}), "eth0", "eth1") === NF_DROP) count++;
      return count;
    };
    expect(hits(5)).toBe(3);
    bench.world.loop.run({ deadline: 1000 });
    expect(hits(5)).toBe(2);
    bench.world.loop.run({ deadline: 60_000 });
    expect(hits(5)).toBe(3);
  });

  it("quota lets so many octets pass, and none once a packet did not fit", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -m quota --quota 100 -j DROP\nCOMMIT\n");
    const hit = (payload: number): boolean =>
      bench.hook(NF_INET_FORWARD, bench.packet({ payload }), "eth0", "eth1") === NF_DROP;
    expect([hit(20), hit(72), hit(0)]).toEqual([true, false, false]);
  });

  it("hashlimit has a bucket for each network of sources, under a name that rules share", () => {
    const bench = new Bench();
    const limit =
      "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-srcmask 24";
    bench.restore(
      `*filter\n-A FORWARD ${limit} --hashlimit-name h -j DROP\n-A FORWARD ${limit} --hashlimit-name h -j DROP\nCOMMIT\n`,
    );
    const hit = (src: string): boolean =>
      bench.hook(NF_INET_FORWARD, bench.packet({ src }), "eth0", "eth1") === NF_DROP;
    expect([hit("10.2.0.1"), hit("10.2.0.2"), hit("10.2.0.1"), hit("10.3.0.1")]).toEqual([true, true, false, true]);
    bench.world.loop.run({ deadline: 1_000 });
    expect([hit("10.2.0.9"), hit("10.2.0.1")]).toEqual([true, true]);
  });

  it("hashlimit --hashlimit-above matches what is too much, for each port", () => {
    const bench = new Bench();
    bench.restore(
      "*filter\n-A FORWARD -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-mode dstport --hashlimit-name h -j DROP\nCOMMIT\n",
    );
    const hit = (dport: number): boolean =>
      bench.hook(NF_INET_FORWARD, bench.packet({ dport }), "eth0", "eth1") === NF_DROP;
    expect([hit(80), hit(80), hit(81), hit(80)]).toEqual([false, true, false, true]);
  });

  it("connlimit counts the connections of an address that live, with the packet's own", () => {
    const bench = new Bench();
    bench.restore("*filter\n-A FORWARD -m connlimit --connlimit-above 2 -j DROP\nCOMMIT\n");
    const send = (src: string, sport: number): boolean => {
      const skb = bench.packet({ src, sport });
      const verdict = bench.hook(NF_INET_PRE_ROUTING, skb, "eth0");
      if (verdict !== NF_ACCEPT) return false;
      if (bench.hook(NF_INET_FORWARD, skb, "eth0", "eth1") === NF_DROP) return false;
      return bench.hook(NF_INET_POST_ROUTING, skb, "", "eth1") === NF_ACCEPT;
    };
    const sent = [1, 2, 1, 3, 1, 4, 2].map((sport) => send("10.0.0.2", sport));
    // the one that was dropped is missed when another new one comes, as on Linux 6.18
    expect(sent).toEqual([true, true, true, false, false, false, false]);
    expect(send("10.0.0.3", 1)).toBe(true);
    bench.world.loop.run({ deadline: 40_000 });
    expect([send("10.0.0.2", 4), send("10.0.0.2", 5), send("10.0.0.2", 6)]).toEqual([true, true, false]);
  });

  it("recent keeps a client at its endpoint for as long as it comes back in time", () => {
    const bench = new Bench();
    bench.restore(`*filter
-A FORWARD -m recent --name A --rcheck --seconds 10 --reap -j DROP
-A FORWARD -s 10.0.0.2 -m recent --name A --set
COMMIT
`);
    const from = (src: string): number => bench.hook(NF_INET_FORWARD, bench.packet({ src }), "eth0", "eth1");
    expect(from("10.0.0.2")).toBe(NF_ACCEPT);
    expect(from("10.0.0.3")).toBe(NF_ACCEPT);
    expect(from("10.0.0.2")).toBe(NF_DROP);
    expect(from("10.0.0.3")).toBe(NF_ACCEPT);
    bench.world.loop.run({ deadline: 10_001 });
    expect(from("10.0.0.2")).toBe(NF_ACCEPT);
    expect(from("10.0.0.2")).toBe(NF_DROP);
  });

  it("recent counts hits, refreshes with --update and forgets with --remove", () => {
    const bench = new Bench();
    bench.restore(`*filter
-A FORWARD -p tcp -m recent --remove -j DROP
-A FORWARD -m recent --update --seconds 60 --hitcount 2 -j DROP
-A FORWARD -m recent --set
COMMIT
`);
    const send = (proto: "tcp" | "udp"): number => bench.hook(NF_INET_FORWARD, bench.packet({ proto }), "eth0", "eth1");
    expect([send("udp"), send("udp"), send("udp")]).toEqual([NF_ACCEPT, NF_ACCEPT, NF_DROP]);
    expect(send("tcp")).toBe(NF_DROP);
    expect(send("tcp")).toBe(NF_ACCEPT);
  });

  it.each([
    ["ipv4", "10.0.0.2", "10.0.0.3", "10.1.0.2"],
    ["ipv6", "fd00::2", "fe00::3", "fd00:1::2"],
  ] as const)("recent with --rttl knows packets of one time to live, %s", (family, a, b, dst) => {
    const bench = new Bench();
    const text =
      "*filter\n-A FORWARD -m recent --rcheck --rttl --rdest -j DROP\n-A FORWARD -m recent --set --rdest\nCOMMIT\n";
    applyOps(bench.host, [{ op: "iptables.restore", netns: "host", family, text, noflush: true, source: "rules" }]);
    const nf = family === "ipv6" ? netfilter6Of(bench.ns) : netfilterOf(bench.ns);
    const [input, output] = [bench.ns.dev("eth0") ?? null, bench.ns.dev("eth1") ?? null];
    const send = (src: string, ttl: number): number | undefined =>
      nf?.hook(bench.ns, NF_INET_FORWARD, bench.packet({ src, dst, ttl }), input, output);
    expect([send(a, 60), send(b, 60), send(a, 50), send(b, 50)]).toEqual([NF_ACCEPT, NF_DROP, NF_ACCEPT, NF_DROP]);
  });
});
