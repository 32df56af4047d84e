import { describe, expect, it } from "vitest";
import { SeededRandom } from "./random.ts";

describe("SeededRandom", () => {
  it("gives the same numbers for the same seed, and others for another", () => {
    const draw = (seed: number): number[] => {
      const random = new SeededRandom(seed);
      return Array.from({ length: 20 }, () => random.u32());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it("forks streams that do not depend on how much the parent has drawn", () => {
    const a = new SeededRandom(1);
    const b = new SeededRandom(1);
    for (let i = 0; i < 10; i++) b.next();
    expect(a.fork("x").u32()).toBe(b.fork("x").u32());
    expect(a.fork("x").u32()).not.toBe(a.fork("y").u32());
  });

  it("spreads evenly: each of eight values within a tenth of its share", () => {
    const random = new SeededRandom(3);
    const counts = new Array<number>(8).fill(0);
    for (let i = 0; i < 80_000; i++) counts[random.int(8)] = (counts[random.int(8)] ?? 0) + 1;
    const total = counts.reduce((a, b) => a + b, 0);
    for (const count of counts) expect(Math.abs(count / total - 1 / 8)).toBeLessThan(1 / 80);
  });
});
