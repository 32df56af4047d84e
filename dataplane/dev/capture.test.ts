import { describe, expect, it } from "vitest";
import { twoNodes } from "../../bench/layouts/two-nodes.ts";
import { ANY } from "../sock/port-table.ts";
import { UdpSocket } from "../sock/udp.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { ipv4 as address } from "../wire/ipv4-addr.ts";
import * as udp from "../wire/udp.ts";
import { Capture } from "./capture.ts";
import type { NetDev } from "./netdev.ts";

function send(limit?: number) {
  const layout = twoNodes();
  const dev = layout.pods[0].dev("eth0") as NetDev;
  const capture = new Capture(limit).attach(dev);
  const socket = UdpSocket.bind(layout.pods[0], ANY, 0, { datagram: () => {} });
  const again = (): void => {
    socket?.send(address("10.244.2.2"), 9, new Uint8Array([1, 2, 3]), 0, 3);
    layout.world.loop.runNow();
  };
  again();
  return { layout, dev, capture, again };
}

describe("a capture", () => {
  it("says when, where and which way, and completes checksums that sockets left to the device", () => {
    const { capture } = send();
    expect(capture.frames.map((f) => `${f.node} ${f.netns} ${f.dev} ${f.direction}`)).toEqual([
      "node-1 pod eth0 out",
      "node-1 pod eth0 in",
      "node-1 pod eth0 out",
      "node-1 pod eth0 in",
    ]);
    const b = capture.frames[2]?.bytes as Uint8Array;
    const th = 34;
    expect(udp.verify4(b, th, b.length - th, ipv4.src(b, 14), ipv4.dst(b, 14))).toBe(true);
  });

  it("keeps octets as they were, whatever happens to the packet after", () => {
    const { capture } = send();
    expect(ipv4.ttl(capture.frames[2]?.bytes as Uint8Array, 14)).toBe(64);
  });

  it("stops at its limit, and when detached leaves nothing on the device", () => {
    const { capture, dev, again } = send(2);
    expect(capture.frames).toHaveLength(2);
    const other = new Capture().attach(dev);
    capture.detach();
    again();
    expect(other.frames.length).toBeGreaterThan(0);
    other.detach();
    expect(dev.taps).toBeNull();
  });
});
