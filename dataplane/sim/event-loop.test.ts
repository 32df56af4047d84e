import { describe, expect, it } from "vitest";
import { Skb } from "../skb/skb.ts";
import { EventLoop, type PacketSink } from "./event-loop.ts";

function sink(log: string[], name: string): PacketSink {
  return { deliver: () => void log.push(name) };
}

describe("EventLoop", () => {
  it("runs timers by time, and those of one time in the order they were made", () => {
    const loop = new EventLoop();
    const log: string[] = [];
    loop.schedule(5, () => log.push("5a"));
    loop.schedule(1, () => log.push("1"));
    loop.schedule(5, () => log.push("5b"));
    loop.run();
    expect(log).toEqual(["1", "5a", "5b"]);
    expect(loop.time).toBe(5);
  });

  it("runs a timer of this instant before packets posted at this instant, because it was scheduled earlier", () => {
    const loop = new EventLoop();
    const log: string[] = [];
    loop.schedule(3, () => {
      loop.post(sink(log, "packet"), new Skb(64));
      log.push("first timer");
    });
    loop.schedule(3, () => log.push("second timer"));
    loop.run();
    expect(log).toEqual(["first timer", "second timer", "packet"]);
  });

  it("keeps packets in order while the ring grows", () => {
    const loop = new EventLoop();
    const seen: number[] = [];
    const order: PacketSink = { deliver: (skb) => void seen.push(skb.mark) };
    for (let i = 0; i < 5000; i++) {
      const skb = new Skb(1);
      skb.mark = i;
      loop.post(order, skb);
    }
    loop.runNow();
    expect(seen).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    expect(loop.idle).toBe(true);
  });

  it("stops at the deadline, with time there and later work still pending", () => {
    const loop = new EventLoop();
    const log: number[] = [];
    for (const t of [10, 20, 30]) loop.schedule(t, () => log.push(t));
    loop.run({ deadline: 25 });
    expect(log).toEqual([10, 20]);
    expect(loop.time).toBe(25);
    expect(loop.nextTime).toBe(30);
  });

  it("stops as soon as it is done, event by event", () => {
    const loop = new EventLoop();
    let count = 0;
    for (let i = 0; i < 10; i++) loop.schedule(1, () => count++);
    loop.run({ done: () => count === 4 });
    expect(count).toBe(4);
  });

  it("never fires a cancelled timer, and does not wait for it", () => {
    const loop = new EventLoop();
    const log: string[] = [];
    const timer = loop.schedule(100, () => log.push("cancelled"));
    loop.schedule(1, () => timer.cancel());
    loop.run();
    expect(log).toEqual([]);
    expect(loop.time).toBe(1);
  });

  it("runs no more events than its limit", () => {
    const loop = new EventLoop();
    const again = (): void => void loop.schedule(1, again);
    again();
    loop.run({ limit: 50 });
    expect(loop.events).toBe(50);
  });
});
