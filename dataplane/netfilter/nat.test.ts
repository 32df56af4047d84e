import { beforeEach, describe, expect, it } from "vitest";
import { completeChecksum } from "../skb/partial-checksum.ts";
import { CHECKSUM_PARTIAL, type Skb } from "../skb/skb.ts";
import { fold, pseudo4 } from "../wire/checksum.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as tcp from "../wire/tcp.ts";
import * as udp from "../wire/udp.ts";
import { attachCt } from "./conntrack-entry.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
} from "./hooks.ts";
import { Bench, checksumsRight, flow, type PacketSpec } from "./testing.ts";

let bench: Bench;

beforeEach(() => {
  bench = new Bench();
});

/** Puts a packet through the host from eth0 to eth1 and says what it is then; "dropped" if it is not. */
function pass(spec: PacketSpec | Skb, input = "eth0", output = "eth1"): string {
  const skb = "buf" in spec ? spec : bench.packet(spec);
  for (const hook of [NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING]) {
    const out = hook === NF_INET_PRE_ROUTING ? "" : output;
    if (bench.hook(hook, skb, input, out) !== NF_ACCEPT) return "dropped";
  }
  expect(checksumsRight(skb)).toBe(true);
  return flow(skb);
}

function nat(...lines: string[]): void {
  bench.restore(`*nat\n${lines.join("\n")}\nCOMMIT\n`);
}

const PROTOCOLS = ["tcp", "udp", "sctp"] as const;

describe("DNAT", () => {
  it.each(PROTOCOLS)("moves a %s connection, with right checksums, and its answers back", (proto) => {
    nat(`-A PREROUTING -d 10.96.0.1 -p ${proto} --dport 80 -j DNAT --to-destination 10.1.0.9:8080`);
    const spec = { proto, src: "10.0.0.2", dst: "10.96.0.1", sport: 5000, dport: 80, payload: 5 } as const;
    expect(pass(spec)).toBe("10.0.0.2:5000 → 10.1.0.9:8080");
    const answer = { proto, src: "10.1.0.9", dst: "10.0.0.2", sport: 8080, dport: 5000, payload: 5 } as const;
    const back: PacketSpec =
      proto === "sctp" ? { ...answer, chunk: 2, tag: 1 } : { ...answer, flags: tcp.SYN | tcp.ACK, ack: 6 };
    expect(pass(back, "eth1", "eth0")).toBe("10.96.0.1:80 → 10.0.0.2:5000");
  });

  it("spreads over a range of addresses, always alike for one source and, unless persistent, destination", () => {
    nat("-A PREROUTING -j DNAT --to-destination 10.1.0.10-10.1.0.13");
    const target = (i: number): string => pass({ src: `10.0.0.${i}`, sport: 1, dport: 2 }).split("→ ")[1] ?? "";
    const first = Array.from({ length: 50 }, (_, i) => target(i + 2));
    expect(new Set(first).size).toBe(4);
    bench.nf.conntrack.deleteWhere(() => true);
    expect(Array.from({ length: 50 }, (_, i) => target(i + 2))).toEqual(first);
  });

  it("keeps the distance from a base port", () => {
    nat("-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.9:5000-5100/8000");
    expect(pass({ proto: "tcp", dport: 8007 })).toMatch(/→ 10.1.0.9:5007$/);
  });

  it("goes on for connections that began before the rules were flushed, while something else has them tracked", () => {
    bench.restore("*filter\n-A INPUT -m conntrack --ctstate INVALID\nCOMMIT\n");
    nat("-A PREROUTING -p udp --dport 80 -j DNAT --to-destination 10.1.0.9:8080");
    expect(pass({})).toMatch(/→ 10.1.0.9:8080$/);
    nat("-F PREROUTING");
    expect(pass({})).toMatch(/→ 10.1.0.9:8080$/);
    expect(pass({ sport: 1001 })).toMatch(/→ 10.1.0.2:80$/);
    expect(pass({ src: "10.1.0.9", sport: 8080, dst: "10.0.0.2", dport: 1000 }, "eth1", "eth0")).toBe(
      "10.1.0.2:80 → 10.0.0.2:1000",
    );
  });

  it("tracks nothing for a table without a rule that needs it", () => {
    bench.restore("*nat\n-A PREROUTING -p udp -j ACCEPT\nCOMMIT\n");
    pass({});
    expect(bench.nf.conntrack.count).toBe(0);
    expect(bench.nf.tables.get("nat")?.base[NF_INET_PRE_ROUTING]?.counters ?? null).toBeNull();
  });

  it("does not touch connections that began before there was a rule", () => {
    bench.restore("*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n");
    pass({});
    nat("-A PREROUTING -p udp --dport 80 -j DNAT --to-destination 10.1.0.9:8080");
    expect(pass({})).toMatch(/→ 10.1.0.2:80$/);
    expect(pass({ sport: 1001 })).toMatch(/→ 10.1.0.9:8080$/);
  });

  it("leaves what is in a partial checksum for the device, and gets it right", () => {
    nat("-A PREROUTING -p udp -j DNAT --to-destination 192.168.77.9:8080");
    const skb = bench.packet({ payload: 9 });
    const len = skb.end - skb.transport;
    const [src, dst] = [ipv4.src(skb.buf, skb.network), ipv4.dst(skb.buf, skb.network)];
    udp.setChecksum(skb.buf, skb.transport, fold(pseudo4(src, dst, ipv4.PROTO_UDP, len)));
    skb.csum = CHECKSUM_PARTIAL;
    skb.csumStart = skb.transport;
    skb.csumOffset = udp.CHECKSUM;
    expect(bench.hook(NF_INET_PRE_ROUTING, skb)).toBe(NF_ACCEPT);
    completeChecksum(skb);
    expect(checksumsRight(skb)).toBe(true);
    expect(flow(skb)).toBe("10.0.0.2:1000 → 192.168.77.9:8080");
  });

  it("leaves an absent UDP checksum absent", () => {
    nat("-A PREROUTING -p udp -j DNAT --to-destination 10.1.0.9:8080");
    const skb = bench.packet({});
    udp.setChecksum(skb.buf, skb.transport, 0);
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(udp.checksum(skb.buf, skb.transport)).toBe(0);
  });
});

describe("SNAT and MASQUERADE", () => {
  it("takes the address of the interface, and keeps the port while it is free", () => {
    nat("-A POSTROUTING -o eth1 -j MASQUERADE");
    expect(pass({})).toBe("10.1.0.1:1000 → 10.1.0.2:80");
    expect(pass({})).toBe("10.1.0.1:1000 → 10.1.0.2:80");
    const clash = pass({ src: "10.0.0.3" });
    expect(clash).toMatch(/^10\.1\.0\.1:\d+ → 10\.1\.0\.2:80$/);
    expect(clash).not.toContain(":1000 ");
    const port = Number(/:(\d+) /.exec(clash)?.[1]);
    expect(pass({ src: "10.1.0.2", sport: 80, dst: "10.1.0.1", dport: port }, "eth1", "eth0")).toBe(
      "10.1.0.2:80 → 10.0.0.3:1000",
    );
    // A source that was mapped before is mapped alike to whomever it speaks.
    expect(pass({ src: "10.0.0.3", dst: "10.1.0.4" })).toBe(`10.1.0.1:${port} → 10.1.0.4:80`);
  });

  it("stays among the ports of its class", () => {
    nat("-A POSTROUTING -o eth1 -j MASQUERADE");
    for (const [sport, min, max] of [
      [300, 1, 511],
      [700, 600, 1023],
      [5000, 1024, 65535],
    ] as const) {
      pass({ sport });
      const port = Number(/:(\d+) /.exec(pass({ src: "10.0.0.3", sport }))?.[1]);
      expect(port).not.toBe(sport);
      expect(port).toBeGreaterThanOrEqual(min);
      expect(port).toBeLessThanOrEqual(max);
    }
  });

  it("draws the port with --random-fully, the same with each seed", () => {
    const run = (): string[] => {
      bench = new Bench(3);
      nat("-A POSTROUTING -o eth1 -j MASQUERADE --random-fully");
      return [pass({}), pass({ sport: 1001 })];
    };
    const [a, b] = [run(), run()];
    expect(a).toEqual(b);
    expect(a[0]).not.toContain(":1000 ");
    expect(a[0]?.split(" ")[0]).not.toBe(a[1]?.split(" ")[0]);
  });

  it("uses the ports of a range up, then drops what would clash", () => {
    nat("-A POSTROUTING -p udp -j SNAT --to-source 10.1.0.50:4000-4001");
    const ports = [pass({}), pass({ src: "10.0.0.3" })].map((t) => t.split(" ")[0]);
    expect([...ports].sort()).toEqual(["10.1.0.50:4000", "10.1.0.50:4001"]);
    expect(pass({ src: "10.0.0.4" })).toBe("dropped");
  });

  it("changes the identifier of an echo when two clash, and brings both replies home", () => {
    nat("-A POSTROUTING -o eth1 -j MASQUERADE");
    const ping = (src: string): { skb: Skb; id: number } => {
      const skb = bench.packet({ proto: "icmp", src, id: 77, payload: 8 });
      pass(skb);
      return { skb, id: icmpv4.id(skb.buf, skb.transport) };
    };
    expect(ping("10.0.0.2").id).toBe(77);
    const second = ping("10.0.0.3");
    expect(second.id).not.toBe(77);
    const reply = bench.packet({ proto: "icmp", type: 0, src: "10.1.0.2", dst: "10.1.0.1", id: second.id });
    expect(pass(reply, "eth1", "eth0")).toContain("→ 10.0.0.3");
    expect(icmpv4.id(reply.buf, reply.transport)).toBe(77);
  });

  it("ends connections of an interface that went, and those that would leave by another", () => {
    nat("-A POSTROUTING -j MASQUERADE");
    pass({});
    expect(pass({}, "eth0", "eth0")).toBe("dropped");
    expect(bench.nf.conntrack.count).toBe(0);
    pass({});
    expect(bench.nf.nat.dropMasquerade(bench.ns.dev("eth1")?.ifindex ?? 0)).toBe(1);
  });

  it("shows itself to -m conntrack --ctstate SNAT and DNAT", () => {
    nat("-A PREROUTING -p udp --dport 80 -j DNAT --to-destination 10.1.0.9", "-A POSTROUTING -p tcp -j MASQUERADE");
    bench.restore("*filter\n-A FORWARD -m conntrack --ctstate DNAT -j DROP\nCOMMIT\n");
    expect(pass({})).toBe("dropped");
    expect(pass({ dport: 81 })).not.toBe("dropped");
    expect(pass({ proto: "tcp" })).not.toBe("dropped");
  });
});

describe("REDIRECT", () => {
  it("leads to the interface's own address, and to loopback for what starts here", () => {
    nat("-A PREROUTING -p tcp -j REDIRECT --to-ports 15001", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001");
    const skb = bench.packet({ proto: "tcp" });
    bench.hook(NF_INET_PRE_ROUTING, skb);
    expect(flow(skb)).toBe("10.0.0.2:1000 → 10.0.0.1:15001");
    const own = bench.packet({ proto: "tcp", src: "10.0.0.1" });
    bench.hook(NF_INET_LOCAL_OUT, own, "", "eth1");
    expect(flow(own)).toBe("10.0.0.1:1000 → 127.0.0.1:15001");
  });
});

describe("ICMP errors", () => {
  /** The quoted packet of an error, as "src:port → dst:port". */
  function quoted(skb: Skb): string {
    const at = skb.transport + icmpv4.HEADER_LEN;
    return flow({ buf: skb.buf, network: at, transport: at + ipv4.headerLen(skb.buf, at) } as Skb);
  }

  function error(about: Skb, from: string, to: string): Skb {
    const payload = about.buf.slice(about.network, Math.min(about.end, about.network + 28));
    return bench.packet({ proto: "icmp", type: 3, code: 3, src: from, dst: to, payload });
  }

  it("quote what the sender sent, and come from where it sent to", () => {
    nat(
      "-A PREROUTING -d 10.96.0.1 -p udp --dport 80 -j DNAT --to-destination 10.1.0.9:8080",
      "-A POSTROUTING -o eth1 -j MASQUERADE",
    );
    const skb = bench.packet({ dst: "10.96.0.1" });
    expect(pass(skb)).toBe("10.1.0.1:1000 → 10.1.0.9:8080");
    const e = error(skb, "10.1.0.9", "10.1.0.1");
    expect(bench.traced(NF_INET_PRE_ROUTING, e, "eth1").ctState).toBe("RELATED");
    bench.hook(NF_INET_FORWARD, e, "eth1", "eth0");
    bench.hook(NF_INET_POST_ROUTING, e, "eth1", "eth0");
    expect(checksumsRight(e)).toBe(true);
    expect(quoted(e)).toBe("10.0.0.2:1000 → 10.96.0.1:80");
    expect(ipv4.src(e.buf, e.network)).toBe(0x0a600001);
    expect(ipv4.dst(e.buf, e.network)).toBe(0x0a000002);
    const at = e.transport + icmpv4.HEADER_LEN;
    expect(ipv4.check(e.buf, at, e.end)).toBe(0);
    expect(udp.verify4(e.buf, at + 20, 8, ipv4.src(e.buf, at), ipv4.dst(e.buf, at))).toBe(true);
  });

  it("made here about a first packet are translated with its connection", () => {
    nat("-A PREROUTING -d 10.96.0.1 -p udp --dport 80 -j DNAT --to-destination 10.1.0.9:8080");
    const skb = bench.packet({ dst: "10.96.0.1" });
    bench.hook(NF_INET_PRE_ROUTING, skb);
    const e = error(skb, "10.0.0.1", "10.0.0.2");
    attachCt(e, skb);
    bench.hook(NF_INET_LOCAL_OUT, e, "", "eth0");
    bench.hook(NF_INET_POST_ROUTING, e, "", "eth0");
    expect(quoted(e)).toBe("10.0.0.2:1000 → 10.96.0.1:80");
    expect(checksumsRight(e)).toBe(true);
  });

  it("that redirect a translated connection are dropped", () => {
    nat("-A PREROUTING -p udp -j DNAT --to-destination 10.1.0.9:8080");
    const skb = bench.packet({});
    pass(skb);
    const e = error(skb, "10.1.0.9", "10.0.0.2");
    icmpv4.setType(e.buf, e.transport, icmpv4.REDIRECT);
    icmpv4.fillChecksum(e.buf, e.transport, e.end - e.transport);
    expect(bench.hook(NF_INET_PRE_ROUTING, e, "eth1")).toBe(NF_DROP);
  });
});
