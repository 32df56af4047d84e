import { describe, expect, it } from "vitest";
import { Choices } from "./choices.ts";

/** kube-proxy's way to choose one of n: 1/n, 1/(n-1), … 1. */
function pick(n: number, chance: (p: number) => boolean): number {
  for (let i = 0; i < n; i++) if (chance(1 / (n - i))) return i;
  return -1;
}

describe("Choices", () => {
  it("visits every endpoint once", () => {
    const choices = new Choices();
    const seen: number[] = [];
    do seen.push(pick(4, choices.chance));
    while (choices.next());
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it("visits every combination of two picks", () => {
    const choices = new Choices();
    const seen: string[] = [];
    do seen.push(`${pick(2, choices.chance)}${pick(3, choices.chance)}`);
    while (choices.next());
    expect(seen.sort()).toEqual(["00", "01", "02", "10", "11", "12"]);
  });

  it("has one outcome where nothing is left to chance", () => {
    const choices = new Choices();
    expect([choices.chance(1), choices.chance(0)]).toEqual([true, false]);
    expect(choices.next()).toBe(false);
  });
});
