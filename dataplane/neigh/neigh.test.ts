import { describe, expect, it } from "vitest";
import { type TwoNodes, twoNodes } from "../../bench/layouts/two-nodes.ts";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import type { NetNs } from "../netns/netns.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import * as arp from "../wire/arp.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { type Ipv4Addr, ipv4 } from "../wire/ipv4-addr.ts";
import { BROADCAST_MAC, mac } from "../wire/mac-addr.ts";
import { sendArp } from "./arp-send.ts";
import { currentState, NUD_REACHABLE, NUD_STALE, neighFor, neighLearn, nudName } from "./neigh.ts";

const GATEWAY = ipv4("10.244.1.1");
const OTHER_MAC = mac("0a:00:00:00:00:99");

/** A pod, its interface, and what ARP it sends from now on. */
function pod(layout: TwoNodes = twoNodes()): {
  layout: TwoNodes;
  ns: NetNs;
  dev: NetDev;
  state: (address?: Ipv4Addr) => string;
  use: (to?: string) => void;
  asked: () => string[];
  run: (ms: number) => void;
} {
  const ns = layout.pods[0];
  const dev = ns.dev("eth0") as NetDev;
  const capture = new Capture().attach(dev);
  const socket = UdpSocket.bind(ns, ANY, 0, { datagram: () => {} });
  const state = (address = GATEWAY): string => {
    const n = dev.neighs.get(address | 0);
    return n === undefined ? "none" : nudName(currentState(ns, n));
  };
  const asked = (): string[] =>
    capture.frames
      .filter((f) => f.direction === "out" && ethernet.etherType(f.bytes, 0) === ethernet.ETH_P_ARP)
      .filter((f) => arp.op(f.bytes, 14) === arp.OP_REQUEST)
      .map((f) => `${f.time} ${ethernet.dst(f.bytes, 0) === BROADCAST_MAC ? "broadcast" : "unicast"}`);
  const use = (to = "10.244.2.2"): void => {
    socket?.send(ipv4(to), 9, new Uint8Array(4), 0, 4);
    layout.world.loop.runNow();
  };
  const run = (ms: number): void => layout.world.loop.run({ deadline: layout.world.loop.time + ms });
  return { layout, ns, dev, state, use, asked, run };
}

function silenceGateway(layout: TwoNodes): void {
  applyOps(layout.nodes[0], [{ op: "link.set", netns: "host", name: "cni0", up: false }]);
}

describe("a neighbour", () => {
  it("is INCOMPLETE while asked for, and REACHABLE once it answers", () => {
    const { state, use, asked } = pod();
    expect(state()).toBe("none");
    use();
    expect(asked()).toEqual(["0 broadcast"]);
    expect(state()).toBe("REACHABLE");
  });

  it("turns STALE after its reachable time, which is half to one and a half times thirty seconds", () => {
    const { state, use, run } = pod();
    use();
    run(14_999);
    expect(state()).toBe("REACHABLE");
    run(30_002);
    expect(state()).toBe("STALE");
  });

  it("goes to DELAY when used while STALE, and is asked by unicast five seconds later", () => {
    const { state, use, run, asked } = pod();
    use();
    run(50_000);
    use();
    expect(state()).toBe("DELAY");
    run(4_999);
    expect(asked()).toHaveLength(1);
    run(1);
    expect(asked()).toEqual(["0 broadcast", "55000 unicast"]);
    expect(state()).toBe("REACHABLE");
  });

  it("fails after three unicast probes a second apart", () => {
    const { layout, state, use, run, asked } = pod();
    use();
    run(50_000);
    use();
    silenceGateway(layout);
    run(5_000);
    expect(state()).toBe("PROBE");
    run(3_000);
    expect(asked().slice(1)).toEqual(["55000 unicast", "56000 unicast", "57000 unicast"]);
    expect(state()).toBe("FAILED");
  });

  it("fails after three broadcasts, drops what waited, and is asked again by the next use", () => {
    const { layout, ns, state, use, run, asked } = pod();
    silenceGateway(layout);
    use();
    use();
    expect(state()).toBe("INCOMPLETE");
    run(3_000);
    expect(state()).toBe("FAILED");
    expect(ns.drops[DropReason.NEIGH_FAILED]).toBe(2);
    use();
    expect(state()).toBe("INCOMPLETE");
    expect(asked()).toEqual(["0 broadcast", "1000 broadcast", "2000 broadcast", "3000 broadcast"]);
  });

  it("does not turn STALE by a request of its own while REACHABLE, and keeps its MAC for a second", () => {
    const { ns, dev, use, run } = pod();
    use();
    const n = neighFor(dev, GATEWAY);
    const before = n.mac;
    neighLearn(ns, n, before, NUD_STALE, true);
    expect(n.state).toBe(NUD_REACHABLE);
    neighLearn(ns, n, OTHER_MAC, NUD_STALE, false);
    expect(n.mac).toBe(before);
    run(1_001);
    neighLearn(ns, n, OTHER_MAC, NUD_STALE, true);
    expect([n.mac, n.state]).toEqual([OTHER_MAC, NUD_STALE]);
  });

  it("that is configured does not change by what is heard", () => {
    const { layout, ns, dev, state } = pod();
    const path = "/var/run/netns/pod";
    const entry = { netns: path, dev: "eth0", address: "10.244.1.77", mac: "0a:00:00:00:00:77" };
    applyOps(layout.nodes[0], [{ op: "neigh.replace", ...entry }]);
    const address = ipv4("10.244.1.77");
    neighLearn(ns, neighFor(dev, address), OTHER_MAC, NUD_REACHABLE, true);
    expect(neighFor(dev, address).mac).toBe(mac(entry.mac));
    expect(state(address)).toBe("PERMANENT");
  });

  it("keeps at most 101 packets waiting, the newest", () => {
    const { layout, ns, use } = pod();
    silenceGateway(layout);
    for (let i = 0; i < 103; i++) use();
    expect(ns.drops[DropReason.NEIGH_QUEUEFULL]).toBe(2);
  });
});

describe("ARP", () => {
  it("makes an entry of who asks for us, and none of who only passes by", () => {
    const { layout, ns, dev } = pod();
    const cni0 = layout.nodes[0].root.dev("cni0") as NetDev;
    const ask = (spa: string, tpa: string): void => {
      sendArp(ns, dev, arp.OP_REQUEST, dev.mac, ipv4(spa), 0 as typeof OTHER_MAC, ipv4(tpa), BROADCAST_MAC);
      layout.world.loop.runNow();
    };
    ask("10.244.1.2", "10.244.1.99");
    expect(cni0.neighs.size).toBe(0);
    ask("10.244.1.2", "10.244.1.1");
    expect(nudName(currentState(cni0.ns, neighFor(cni0, ipv4("10.244.1.2"))))).toBe("STALE");
  });

  it("answers for others only with proxy_arp, and only where they are elsewhere", () => {
    const { layout, ns, dev } = pod();
    const capture = new Capture().attach(dev);
    const ask = (tpa: string): void => {
      sendArp(ns, dev, arp.OP_REQUEST, dev.mac, ipv4("10.244.1.2"), 0 as typeof OTHER_MAC, ipv4(tpa), BROADCAST_MAC);
      layout.world.loop.runNow();
    };
    const answers = (): number => capture.frames.filter((f) => f.direction === "in").length;
    ask("10.244.2.2");
    expect(answers()).toBe(0);
    applyOps(layout.nodes[0], [{ op: "sysctl.set", netns: "host", key: "net.ipv4.conf.cni0.proxy_arp", value: "1" }]);
    ask("10.244.2.2");
    expect(answers()).toBe(1);
    ask("10.244.1.99");
    expect(answers()).toBe(1);
  });
});
