import { describe, expect, it } from "vitest";
import { twoNodes } from "../../bench/layouts/two-nodes.ts";
import { Capture } from "../dev/capture.ts";
import type { NetDev } from "../dev/netdev.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import { DropReason } from "../wire/drop-reason.ts";
import { ipv4 } from "../wire/ipv4-addr.ts";

const TO = ipv4("192.168.0.12");

/** Sends datagrams between the nodes themselves; answers when each of them arrived. */
function between(options: Parameters<typeof twoNodes>[1], count: number, size = 8, seed = 1) {
  const layout = twoNodes(seed, options);
  const [one, two] = layout.nodes;
  const arrived: number[] = [];
  UdpSocket.bind(two.root, ANY, 9, { datagram: () => void arrived.push(layout.world.loop.time) });
  const socket = UdpSocket.bind(one.root, ANY, 0, { datagram: () => {} });
  for (let i = 0; i < count; i++) {
    socket?.send(TO, 9, new Uint8Array(size), 0, size);
    layout.world.loop.run({ deadline: layout.world.loop.time + 100 });
  }
  return { ...layout, arrived };
}

describe("an underlay", () => {
  it("delays each frame, so that the first packet waits for ARP there and back too", () => {
    const { arrived } = between({ delay: 5 }, 2);
    expect(arrived).toEqual([15, 105]);
  });

  it("loses its share of frames, the same ones for the same seed", () => {
    const run = (seed: number): number[] => between({ loss: 0.3 }, 200, 8, seed).arrived;
    const first = run(3);
    expect(first.length).toBeGreaterThan(100);
    expect(first.length).toBeLessThan(180);
    expect(run(3)).toEqual(first);
    expect(run(4)).not.toEqual(first);
  });

  it("drops what is longer than it carries, without a word", () => {
    const { arrived, nodes } = between({ mtu: 1_400 }, 1, 1_450);
    expect(arrived).toEqual([]);
    expect(nodes[0].root.drops[DropReason.PKT_TOO_BIG]).toBe(1);
  });

  it("gives no frame back to its sender, and forgets a card that is unplugged", () => {
    const { nodes, world, underlay } = between({}, 1);
    const card = nodes[1].root.dev("eth0") as NetDev;
    const capture = new Capture().attach(nodes[0].root.dev("eth0") as NetDev);
    underlay.unplug(card);
    UdpSocket.bind(nodes[0].root, ANY, 0, { datagram: () => {} })?.send(TO, 9, new Uint8Array(8), 0, 8);
    world.loop.run({ deadline: world.loop.time + 100 });
    expect(capture.frames.map((f) => f.direction)).toEqual(["out"]);
  });
});
