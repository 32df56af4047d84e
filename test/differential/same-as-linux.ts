/** Runs one walk in both labs and expects the same frames at every interface. */
import { expect, type TestContext } from "vitest";
import { missing } from "../support/needs.ts";
import { compare } from "./compare.ts";
import { EmulatedLab } from "./emulated-lab.ts";
import { bridgeFilterMissing, KERNEL_LAB_NEEDS, KernelLab } from "./kernel-lab.ts";
import type { Frame, Frames, Lab } from "./lab.ts";
import { isPureAck } from "./same-frame.ts";

/** What a walk does; it answers whatever it learned besides the frames, which must be the same too. */
export type Walk = (lab: Lab) => Promise<unknown>;

export type WalkOptions = {
  /** The fewest frames that must pass in all, so that silence is not taken for agreement. */
  readonly atLeast?: number;
  /** Interfaces ("place/device") that are not compared; the walk says why. */
  readonly without?: readonly string[];
  /** TCP between real sockets: acknowledgements alone are set aside. */
  readonly sockets?: boolean;
  /** Further commands that the kernel's side needs. */
  readonly needs?: readonly string[];
};

/** Skips the test, with the reason, where the kernel's lab cannot be built. */
export async function sameAsLinux(context: TestContext, walk: Walk, options: WalkOptions = {}): Promise<void> {
  const reason = missing(...KERNEL_LAB_NEEDS, ...(options.needs ?? [])) ?? bridgeFilterMissing();
  if (reason !== null) context.skip(reason);
  const emulated = new EmulatedLab();
  const ours = await walk(emulated);
  await emulated.close();
  const kernel = await KernelLab.build(options.sockets === true ? [] : emulated.counts);
  try {
    const theirs = await walk(kernel);
    const counts = (frame: Frame): boolean => options.sockets !== true || !isPureAck(frame.bytes);
    const seen = (lab: Lab): Frames => new Map([...lab.frames()].filter(([port]) => !options.without?.includes(port)));
    expect(compare(seen(kernel), seen(emulated), counts)).toBe("");
    expect(ours).toEqual(theirs);
    expect(total(kernel.frames())).toBeGreaterThanOrEqual(options.atLeast ?? 1);
  } finally {
    await kernel.close();
  }
}

function total(frames: Frames): number {
  return [...frames.values()].reduce((n, list) => n + list.length, 0);
}
