/**
 * Random nftables rules and random packets, through nft on the kernel and through the emulator: the same frames come out,
 * with the same octets, and every counter has counted the same.
 *
 * PODWIRE_NFT_RULESETS and PODWIRE_NFT_SEED say how many and which.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { missing } from "../support/needs.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { nftRulesets } from "./nft-random.ts";
import { compareOutcomes, emulate, framesOf, packets, type RandomPacket, show } from "./rules-case.ts";
import { KernelRouters, type SideFrame } from "./rules-lab.ts";
import { shrinkList } from "./shrink.ts";

const RULESETS = Number(process.env.PODWIRE_NFT_RULESETS ?? 25);
const SEED = process.env.PODWIRE_NFT_SEED === undefined ? undefined : Number(process.env.PODWIRE_NFT_SEED);
const PACKETS = 20;
/** The most tries to make a failing case smaller. */
const SHRINKS = Number(process.env.PODWIRE_NFT_SHRINKS ?? 100);

/** Not a timestamp, whose answer tells the time, and not to the sender itself, where both directions are one. */
function comparable({ proto, type, src, dst }: RandomPacket["spec"]): boolean {
  return src !== dst && (proto !== "icmp" || type !== 13);
}

let routers: KernelRouters | null = null;
afterAll(() => routers?.close());

describe("nftables rules as Linux follows them", () => {
  it("random rules and packets", { timeout: 3_600_000 }, async (context) => {
    const reason = missing(...KERNEL_LAB_NEEDS, "nft");
    if (reason !== null) context.skip(reason);
    routers ??= await KernelRouters.build();
    const lab = routers;
    const why = async (rules: string, frames: readonly SideFrame[]): Promise<string> => {
      const ours = emulate(rules, frames, "linear");
      return compareOutcomes(await lab.run("nft", rules, frames, ours.frames.length), ours);
    };
    const list = fc.array(packets, { minLength: PACKETS, maxLength: PACKETS });
    for (const [i, [rules, all]] of fc
      .sample(fc.tuple(nftRulesets, list), { numRuns: RULESETS, ...(SEED === undefined ? {} : { seed: SEED }) })
      .entries()) {
      const whole = all.filter(({ spec }) => comparable(spec)).map((p) => ({ ...p, cut: 0, offset: -1 }));
      const frames = framesOf(rules, whole);
      const found = await why(rules, frames);
      if (found === "") continue;
      const budget = { left: SHRINKS };
      const fails = async (lines: readonly string[], sent: readonly SideFrame[]): Promise<boolean> => {
        try {
          return (await why(`${lines.join("\n")}\n`, sent)) !== "";
        } catch {
          return false;
        }
      };
      const lines = await shrinkList(rules.trimEnd().split("\n"), (fewer) => fails(fewer, frames), budget);
      const sent = await shrinkList(frames, (fewer) => fails(lines, fewer), budget);
      const small = `${lines.join("\n")}\n`;
      const shown = sent.map((f) => `  ${f.side} ${show(f)}`).join("\n");
      expect.fail(`ruleset ${i + 1}, seed ${SEED ?? "none"}: ${await why(small, sent)}\nsent:\n${shown}\n${small}`);
    }
  });
});
