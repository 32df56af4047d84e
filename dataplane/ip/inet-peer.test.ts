import { describe, expect, it } from "vitest";
import { InetPeers } from "./inet-peer.ts";

const count = (times: number, ask: () => boolean): number => Array.from({ length: times }, ask).filter(Boolean).length;

describe("the memory of peers", () => {
  it("lets six errors go to a peer at once, then one a second", () => {
    const peers = new InetPeers();
    expect(count(10, () => peers.allowError(1, 0))).toBe(6);
    expect(count(10, () => peers.allowError(1, 999))).toBe(0);
    expect(count(10, () => peers.allowError(1, 1_000))).toBe(1);
  });

  it("lets fifty errors go to all peers at once, then one a millisecond", () => {
    const peers = new InetPeers();
    let peer = 1;
    expect(count(80, () => peers.allowError(peer++, 0))).toBe(50);
    expect(count(80, () => peers.allowError(peer++, 3))).toBe(3);
  });

  it("takes route errors and all others from one account", () => {
    const peers = new InetPeers();
    const both = (): boolean => peers.allowRouteError(1, 0) && peers.allowError(1, 0);
    expect(count(5, both)).toBe(2);
  });

  it("spaces redirects out, stops after nine, and starts again after twenty seconds of silence", () => {
    const peers = new InetPeers();
    const sent: number[] = [];
    for (let t = 0; t < 30_000; t++) if (peers.allowRedirect(1, t)) sent.push(t);
    expect(sent).toEqual([0, 41, 122, 283, 604, 1245, 2526, 5087, 10208]);
    expect(peers.allowRedirect(1, 29_999 + 20_480)).toBe(false);
    expect(peers.allowRedirect(1, 29_999 + 20_480 + 20_481)).toBe(true);
  });
});
