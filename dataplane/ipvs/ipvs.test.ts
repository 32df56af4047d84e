import { describe, expect, it } from "vitest";
import { Capture } from "../dev/capture.ts";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { SeededRandom } from "../sim/random.ts";
import { u16 } from "../wire/bytes.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { ipv4 as address } from "../wire/ipv4-addr.ts";
import { formatFrame } from "../wire/print.ts";
import * as udp from "../wire/udp.ts";
import { ConnTable } from "./conn.ts";
import { SCHEDULERS, schedulerOf } from "./scheduler/registry.ts";
import { Destination, VirtualService } from "./service.ts";
import { ServiceTable } from "./service-table.ts";
import { IN, IpvsTimeouts, nextState, OUT, TCP_STATES } from "./state.ts";
import { connectionsOf, ipvsOf, saveIpvs } from "./text.ts";

const SYN = 2;
const ACK = 16;
const FIN = 1;
const RST = 4;

function service(scheduler: string, ...weights: readonly number[]): VirtualService {
  const made = schedulerOf(scheduler);
  if (made === undefined) throw new Error(`no scheduler ${scheduler}`);
  const s = new VirtualService(6, 0x0a600001, 80, 0, made, new SeededRandom(1));
  for (const [i, w] of weights.entries()) s.destinations.push(new Destination(0x0a000064 + i, 8080, "masq", w));
  made.changed(s);
  return s;
}

/** How often each destination is chosen by clients with different addresses. */
function shares(s: VirtualService, times: number, hold = false): number[] {
  const counts = s.destinations.map(() => 0);
  for (let i = 0; i < times; i++) {
    const d = s.scheduler.choose(s, { src: i * 2654435761, dst: 1, srcPort: 1000 + (i % 1000) });
    if (d === null) throw new Error("nothing was chosen");
    if (hold) d.active++;
    const at = s.destinations.indexOf(d);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts;
}

describe("schedulers", () => {
  it("rr takes turns, whatever the weights", () => {
    expect(shares(service("rr", 1, 5, 2), 9)).toEqual([3, 3, 3]);
  });

  it("rr goes on where it was when destinations come and go", () => {
    const s = service("rr", 1, 1, 1);
    const [a, b, c] = s.destinations as [Destination, Destination, Destination];
    const next = (): Destination | null => s.scheduler.choose(s, { src: 1, dst: 1, srcPort: 1 });
    const set = (...left: readonly Destination[]): void => {
      s.destinations.splice(0, s.destinations.length, ...left);
      s.scheduler.changed(s);
    };
    expect([next(), next()]).toEqual([a, b]);
    set(a, c);
    expect([next(), next()]).toEqual([c, a]);
    const d = new Destination(0x0a000070, 8080, "masq", 1);
    set(a, d, c);
    expect([next(), next(), next()]).toEqual([d, c, a]);
    d.weight = 0;
    s.scheduler.changed(s);
    expect([next(), next()]).toEqual([c, a]);
    set(b);
    expect([next(), next()]).toEqual([b, b]);
    set();
    expect(next()).toBeNull();
  });

  it("wrr shares out exactly by weight", () => {
    expect(shares(service("wrr", 4, 2, 6), 12 * 7)).toEqual([28, 14, 42]);
  });

  it.each(["lc", "wlc", "sed"])("%s evens out connections that stay", (name) => {
    expect(shares(service(name, 1, 1, 1), 30, true)).toEqual([10, 10, 10]);
  });

  it.each(["wlc", "sed"])("%s gives connections that stay by weight", (name) => {
    const [one = 0, three = 0] = shares(service(name, 1, 3), 400, true);
    expect(Math.abs(three / one - 3)).toBeLessThan(0.1);
  });

  it("nq fills idle destinations before it weighs", () => {
    expect(shares(service("nq", 1, 100), 2, true)).toEqual([1, 1]);
    expect(shares(service("sed", 1, 100), 2, true)).toEqual([0, 2]);
  });

  it("fo takes the largest weight, ovf until its connections are more than it", () => {
    expect(shares(service("fo", 1, 9), 5)).toEqual([0, 5]);
    expect(shares(service("ovf", 5, 9), 15, true)).toEqual([5, 10]);
  });

  it.each(["sh", "mh"])("%s keeps a client and shares out by weight", (name) => {
    const s = service(name, 1, 1, 2);
    const counts = shares(s, 4000);
    for (const [i, part] of [0.25, 0.25, 0.5].entries())
      expect(Math.abs((counts[i] ?? 0) / 4000 - part)).toBeLessThan(0.05);
    const flow = { src: 77, dst: 1, srcPort: 5 };
    const first = s.scheduler.choose(s, flow);
    for (let i = 0; i < 5; i++) expect(s.scheduler.choose(s, { ...flow, srcPort: i })).toBe(first);
  });

  it("mh moves few clients when a destination goes", () => {
    const s = service("mh", ...new Array<number>(10).fill(1));
    const flows = Array.from({ length: 4000 }, (_, i) => ({ src: i * 2654435761, dst: 1, srcPort: 1 }));
    const before = flows.map((f) => s.scheduler.choose(s, f));
    const gone = s.destinations.pop();
    s.scheduler.changed(s);
    const moved = flows.filter((f, i) => before[i] !== gone && s.scheduler.choose(s, f) !== before[i]).length;
    expect(moved / flows.length).toBeLessThan(0.05);
  });

  it("twos draws by weight and prefers the less busy", () => {
    const s = service("twos", 1, 1);
    (s.destinations[0] as Destination).active = 100;
    const [busy = 0, idle = 0] = shares(s, 1000);
    expect(idle).toBeGreaterThan(2 * busy);
  });

  it.each(SCHEDULERS)("%s never chooses weight 0, nor anything where there is nothing", (name) => {
    const s = service(name, 0, 1);
    for (let i = 0; i < 300; i++) {
      const d = s.scheduler.choose(s, { src: i * 2654435761, dst: i, srcPort: i });
      expect(d?.weight ?? 1).toBe(1);
    }
    const none = service(name);
    expect(none.scheduler.choose(none, { src: 1, dst: 1, srcPort: 1 })).toBeNull();
  });

  it("lblc keeps a destination address at its server until that is crowded and another is idle", () => {
    const s = service("lblc", 2, 4);
    const [a, b] = s.destinations as [Destination, Destination];
    const choose = (dst: number, now = 0): Destination | null =>
      s.scheduler.choose(s, { src: 1, dst, srcPort: 1, now });
    expect(choose(7)).toBe(a);
    a.active = 2;
    expect(choose(7)).toBe(a);
    expect(choose(8)).toBe(b);
    a.active = 3;
    b.active = 2;
    expect(choose(7)).toBe(a);
    b.active = 1;
    expect(choose(7)).toBe(b);
    a.active = 0;
    expect(choose(7)).toBe(b);
    expect(choose(7, 86_400_000)).toBe(a);
    a.available = false;
    a.weight = 0;
    expect(choose(7, 86_400_001)).toBe(b);
  });

  it("lblcr gives a crowded address more servers, and takes the most loaded away after a day", () => {
    const s = service("lblcr", 1, 2, 4);
    const [a, b, c] = s.destinations as [Destination, Destination, Destination];
    const choose = (now = 0): Destination | null => s.scheduler.choose(s, { src: 1, dst: 7, srcPort: 1, now });
    expect(choose()).toBe(a);
    a.active = 2;
    b.active = 3;
    expect(choose()).toBe(c);
    c.active = 9;
    b.active = 0;
    // Of a and c the less loaded for its weight is a; it is crowded and b is idle, so that b joins.
    expect(choose()).toBe(b);
    b.active = 1;
    a.active = 0;
    expect(choose()).toBe(a);
    // Used now and then, but not changed for a day: c, with most connections for its weight, leaves.
    choose(80_000_000);
    expect(choose(90_000_000)).toBe(a);
    a.weight = 0;
    b.weight = 0;
    c.active = 0;
    s.destinations.splice(2, 1);
    s.scheduler.changed(s);
    expect(choose(90_000_001)).toBeNull();
  });

  it("leave out a destination at its upper threshold until it is well below", () => {
    const d = new Destination(1, 1, "masq", 1, 4);
    d.active = 4;
    d.recount();
    expect(d.usable).toBe(false);
    d.active = 3;
    d.recount();
    expect(d.usable).toBe(false);
    d.active = 2;
    d.recount();
    expect(d.usable).toBe(true);
  });
});

describe("connections", () => {
  it("go through TCP's states in both directions", () => {
    let state = 0;
    const seen: string[] = [];
    for (const [flags, way] of [
      [SYN, IN],
      [SYN | ACK, OUT],
      [ACK, IN],
      [FIN | ACK, IN],
      [FIN | ACK, OUT],
      [ACK, IN],
    ] as const) {
      state = nextState(state, flags, way);
      seen.push(TCP_STATES[state] ?? "");
    }
    expect(seen).toEqual(["SYN_RECV", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT"]);
    expect(TCP_STATES[nextState(1, RST, OUT)]).toBe("CLOSE");
    expect(new IpvsTimeouts().of(6, 1)).toBe(900_000);
    expect(new IpvsTimeouts().of(17, 0)).toBe(300_000);
  });

  it("end with their time, and their destination's counts with them", () => {
    const { loop } = new World(1);
    const table = new ConnTable(loop);
    const s = service("rr", 1);
    const d = s.destinations[0] as Destination;
    const c = Object.assign(table.make(s, d), {
      proto: 6,
      client: 5,
      clientPort: 1000,
      virtual: 1,
      virtualPort: 80,
      expires: 100,
    });
    table.add(c);
    table.become(c, 1);
    expect([d.active, d.inactive]).toEqual([1, 0]);
    loop.run({ deadline: 50 });
    expect(table.fromServer(6, d.address, 8080, 5, 1000)).toBe(c);
    loop.run({ deadline: 100 });
    expect(table.fromClient(6, 5, 1000, 1, 80, false)).toBeNull();
    expect([d.active, d.inactive, table.count]).toEqual([0, 0, 0]);
  });
});

it.each([100, 1000, 10_000, 100_000])("a service of %i is found with few probes", (n) => {
  const table = new ServiceTable();
  const made = schedulerOf("rr");
  if (made === undefined) throw new Error("no rr");
  const random = new SeededRandom(1);
  for (let i = 0; i < n; i++) table.add(new VirtualService(6, 0x0a600000 + i, 80, 0, made, random));
  const before = table.probes;
  for (let i = 0; i < n; i++) expect(table.lookup(6, 0x0a600000 + i, 80, 0)).not.toBeNull();
  expect((table.probes - before) / n).toBeLessThan(2);
});

const TEXT = `-A -t 10.96.0.1:443 -s rr -p 10800
-a -t 10.96.0.1:443 -r 192.168.0.5:6443 -m -w 1
-a -t 10.96.0.1:443 -r 192.168.0.6:6443 -m -w 0
-A -t 10.96.0.2:80 -s mh -b mh-port
-A -u 10.96.0.10:53 -s wlc
-a -u 10.96.0.10:53 -r 10.244.0.2:53 -g -w 3 -x 10 -y 5
-a -u 10.96.0.10:53 -r 10.244.0.3:53 -i -w 1
-A --sctp-service 10.96.0.11:9 -s sh -p 60 -M 255.255.255.0
`;

/** The same of IPv6; one mark may stand for a service of each family. */
const TEXT6 = `-A -t [fd00:96::1]:443 -s rr -p 10800 -M 64
-a -t [fd00:96::1]:443 -r [fd00:168::5]:6443 -m -w 1
-a -t [fd00:96::1]:443 -r [fd00:168::6]:6443 -m -w 0
-A -u [fd00:96::10]:53 -s wlc
-a -u [fd00:96::10]:53 -r [fd00:244::2]:53 -g -w 3 -x 10 -y 5
-a -u [fd00:96::10]:53 -r [fd00:244::3]:53 -i -w 1
-A --sctp-service [fd00:96::11]:9 -s sh -p 60
-A -f 5 -s rr
-A -f 5 -6 -s rr -p 60 -M 96
-a -f 5 -6 -r [fd00:244::2]:0 -m -w 1
`;

describe("ipvsadm text", () => {
  const boot = (): Host => new Host(new World(1), "node");
  const apply = (host: Host, text: string): void => applyOps(host, [{ op: "ipvs.restore", netns: "host", text }]);

  it("goes in and comes out the same", () => {
    const host = boot();
    apply(host, TEXT);
    expect(saveIpvs(host.root)).toBe(TEXT);
    apply(host, "-e -t 10.96.0.1:443 -r 192.168.0.6:6443 -m -w 5\n-D -u 10.96.0.10:53\n");
    expect(saveIpvs(host.root)).toContain("192.168.0.6:6443 -m -w 5");
    expect(saveIpvs(host.root)).not.toContain("-u ");
    apply(host, "-C");
    expect(saveIpvs(host.root)).toBe("");
  });

  it("knows IPv6, in brackets, with prefix lengths for masks", () => {
    const host = boot();
    apply(host, TEXT6);
    expect(saveIpvs(host.root)).toBe(TEXT6);
    expect(connectionsOf(host.root, "-t [fd00:96::1]:443", "[fd00:168::5]:6443")).toBe(0);
    apply(host, "-D -f 5\n-e -t [fd00:96::1]:443 -r [fd00:168::6]:6443 -m -w 5\n");
    expect(saveIpvs(host.root)).toContain("-A -f 5 -6");
    expect(saveIpvs(host.root)).not.toContain("-A -f 5 -s");
    expect(saveIpvs(host.root)).toContain("[fd00:168::6]:6443 -m -w 5");
  });

  it("is applied whole or not at all", () => {
    const host = boot();
    expect(() => apply(host, "-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.1:80 -s rr\n")).toThrow(
      "ipvsadm:2:4: service -t 10.0.0.1:80 exists already",
    );
    expect(ipvsOf(host.root)).toBeNull();
    apply(host, TEXT);
    const bad = "-C\n-A -t 10.0.0.1:80 -s rr\n-E -t 10.0.0.1:80 -s none\n";
    expect(() => apply(host, bad)).toThrow('scheduler "none" is not one of rr');
    expect(saveIpvs(host.root)).toBe(TEXT);
  });

  it.each([
    ["-Z", 'command "-Z" is not known'],
    ["-A -s rr", "no service"],
    ["-A -t 10.0.0.300:80", "is not an address"],
    ["-A -t fd00::1:80", "is not an address and port"],
    ["-A -t [10.0.0.1]:80", "is not an address and port"],
    ["-A -t [fd00::1]:80 -s rr -p 9 -M 129", "is not a number from 1 to 128"],
    ["-A -t [fd00::1]:80 -6", "option -6 goes with -f"],
    ["-A -t [fd00::1]:80\n-a -t [fd00::1]:80 -r 10.0.0.1 -m", "is not of IPv6, as the service is"],
    ["-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r [fd00::1] -m", "is not of IPv4, as the service is"],
    ["-A -t 10.0.0.1:80000", "is not a number from 0 to 65535"],
    ["-A -t 10.0.0.1:80 --what", 'option "--what" is not known'],
    ["-a -t 10.0.0.1:80 -r 10.0.0.2 -m", "service -t 10.0.0.1:80 does not exist"],
    ["-A -t 10.0.0.1:80\n-d -t 10.0.0.1:80 -r 10.0.0.2:80", "destination 10.0.0.2:80 does not exist"],
  ])("refuses %j", (text, message) => {
    expect(() => apply(boot(), text)).toThrow(message);
  });
});

describe("tunnels", () => {
  const sent = (text: string, octets = 100): { readonly out: Uint8Array[]; readonly host: Host } => {
    const host = new Host(new World(1), "director");
    host.addNetns("tap");
    const netns = "host";
    const tap = "/var/run/netns/tap";
    const peer = { name: "t0", netns: tap, mac: "02:00:00:00:00:02", up: true };
    applyOps(host, [
      { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
      { op: "link.add", netns, name: "eth0", kind: "veth", mac: "02:00:00:00:00:01", mtu: 1500, up: true, peer },
      { op: "addr.add", netns, dev: "eth0", address: "10.0.0.1/24" },
      { op: "addr.add", netns, dev: "eth0", address: "10.0.0.100/32" },
      { op: "neigh.replace", netns, dev: "eth0", address: "10.0.0.5", mac: "02:00:00:00:00:05" },
      { op: "neigh.replace", netns, dev: "eth0", address: "10.0.0.9", mac: "02:00:00:00:00:02" },
      { op: "ipvs.restore", netns, text },
    ]);
    const dev = host.netns(tap).dev("t0");
    if (dev === undefined) throw new Error("no t0");
    const capture = new Capture();
    capture.attach(dev);
    const skb = host.world.pool.alloc(14 + octets);
    const [b, at] = [skb.buf, skb.data];
    const [from, to] = [address("10.0.0.9"), address("10.0.0.100")];
    b.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], at);
    skb.end = at + 14 + octets;
    skb.mac = at;
    skb.network = at + 14;
    ipv4.write(b, at + 14, octets, 7, ipv4.FLAG_DF, 64, ipv4.PROTO_UDP, from, to, 0x10);
    udp.write(b, at + 34, 4000, 80, octets - 20);
    udp.fillChecksum4(b, at + 34, octets - 20, from, to);
    dev.transmit(skb);
    host.world.loop.runNow();
    const out = capture.frames.filter((f) => f.direction === "in").map((f) => f.bytes.slice(14));
    return { out, host };
  };
  const SERVICE = "-A -u 10.0.0.100:80 -s rr\n-a -u 10.0.0.100:80 -r 10.0.0.5:80 -i -w 1\n";

  it("put a header of IP around the packet, which stays as it was but for its TTL", () => {
    const { out } = sent(SERVICE);
    expect(out).toHaveLength(1);
    const p = out[0] ?? new Uint8Array(0);
    expect(formatFrame(Uint8Array.from([...new Uint8Array(12), 8, 0, ...p]), 0, 14 + p.length)).toMatch(
      /10\.0\.0\.1 > 10\.0\.0\.5: IPIP.*10\.0\.0\.9:4000 > 10\.0\.0\.100:80: UDP/,
    );
    expect([p.length, ipv4.ttl(p, 0), ipv4.ttl(p, 20), ipv4.tos(p, 0)]).toEqual([120, 63, 63, 0x10]);
    expect(ipv4.flagsFrag(p, 0) & ipv4.FLAG_DF).not.toBe(0);
    expect(udp.verify4(p, 40, 80, ipv4.src(p, 20), ipv4.dst(p, 20))).toBe(true);
  });

  it("say so when the packet is too long for that", () => {
    const { out } = sent(SERVICE, 1490);
    expect(out.map((p) => [p[9], p[20], p[21], u16(p, 26)])).toEqual([[1, 3, 4, 1480]]);
  });
});
