/**
 * Random nftables rules and random packets, through nft on the kernel and through the emulator: the same frames come out,
 * with the same octets, and every counter has counted the same.
 *
 * PODWIRE_NFT_RULESETS and PODWIRE_NFT_SEED say how many and which; PODWIRE_NFT_REPORT tells how many packets were sent.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { doseOf } from "../support/dose.ts";
import { missing } from "../support/needs.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { nftRulesets, nftRulesets6 } from "./nft-random.ts";
import { compareOutcomes, emulate, framesOf, packets, packets6, type RandomPacket, show } from "./rules-case.ts";
import { KernelRouters, type SideFrame } from "./rules-lab.ts";
import { shrinkList } from "./shrink.ts";

const DOSE = doseOf("PODWIRE_NFT_RULESETS", "PODWIRE_NFT_SEED", 25);
/** Says how many packets were sent. */
const REPORT = process.env.PODWIRE_NFT_REPORT !== undefined;
const PACKETS = 20;
/** Milliseconds to wait for a frame that may never come, while a case is made smaller. */
const HASTE = 300;
/** The most tries to make a failing case smaller. */
const SHRINKS = Number(process.env.PODWIRE_NFT_SHRINKS ?? 100);

/** Not a timestamp, whose answer tells the time, and not to the sender itself, where both directions are one. */
function comparable({ proto, type, src, dst }: RandomPacket["spec"]): boolean {
  return src !== dst && (proto !== "icmp" || type !== 13);
}

let routers: KernelRouters | null = null;
afterAll(() => routers?.close());

describe("nftables rules as Linux follows them", () => {
  const families = [
    ["IPv4", nftRulesets, packets],
    ["IPv6", nftRulesets6, packets6],
  ] as const;
  it.for(families)(
    "random rules and packets of %s",
    { timeout: 3_600_000 },
    async ([family, rulesets, sent], context) => {
      const reason = missing(...KERNEL_LAB_NEEDS, "nft");
      if (reason !== null) context.skip(reason);
      routers ??= await KernelRouters.build();
      const lab = routers;
      const why = async (rules: string, frames: readonly SideFrame[]): Promise<string> => {
        const ours = emulate(rules, frames, "linear");
        return compareOutcomes(await lab.run("nft", rules, frames, ours.frames.length), ours);
      };
      let count = 0;
      const list = fc.array(sent, { minLength: PACKETS, maxLength: PACKETS });
      for (const [i, [rules, all]] of fc
        .sample(fc.tuple(rulesets, list), { numRuns: DOSE.cases, ...DOSE.seed })
        .entries()) {
        const whole = all.filter(({ spec }) => comparable(spec)).map((p) => ({ ...p, cut: 0, offset: -1 }));
        const frames = framesOf(rules, whole);
        count += frames.length;
        const found = await why(rules, frames);
        if (found === "") continue;
        lab.patience = HASTE;
        const budget = { left: SHRINKS };
        const fails = async (lines: readonly string[], sent: readonly SideFrame[]): Promise<boolean> => {
          try {
            return (await why(`${lines.join("\n")}\n`, sent)) !== "";
          } catch {
            return false;
          }
        };
        const lines = await shrinkList(rules.trimEnd().split("\n"), (fewer) => fails(fewer, frames), budget);
        const few = await shrinkList(frames, (fewer) => fails(lines, fewer), budget);
        const small = `${lines.join("\n")}\n`;
        const shown = few.map((f) => `  ${f.side} ${show(f)}`).join("\n");
        expect.fail(
          `ruleset ${i + 1}, seed ${DOSE.seed.seed ?? "none"}: ${await why(small, few)}\nsent:\n${shown}\n${small}`,
        );
      }
      if (REPORT) process.stderr.write(`nft, ${family}: ${count} packets over ${DOSE.cases} rulesets\n`);
    },
  );

  it.for([
    ["ip", { src: "10.0.0.4", dst: "10.1.0.4" }],
    ["ip6", { src: "fd00::4", dst: "fd00:1::4" }],
  ] as const)("loads of the transport header in later fragments of %s", async ([family, ends], context) => {
    const reason = missing(...KERNEL_LAB_NEEDS, "nft");
    if (reason !== null) context.skip(reason);
    routers ??= await KernelRouters.build();
    // a rule counts where the load does not end it
    const loads = [0, 4, 8, 12, 16, 24, 32].flatMap((o) => [8, 16, 24, 32].map((bits) => [o, bits] as const));
    const counting = loads
      .filter(([o, bits]) => bits === 8 || o % 8 === 0)
      .map(([o, bits]) => `@th,${o},${bits} != 1 counter`);
    const rules = `table ${family} t {\nchain f { type filter hook forward priority 0;\n${counting.join("\n")}\n}\n}\n`;
    const sent = [0, 64, 1208].flatMap((fragment) =>
      (["udp", "tcp", 99] as const).map((proto) => ({
        spec: { proto, sport: 4000, dport: 80, fragment, payload: 16, ...ends },
        cut: 0,
        offset: -1,
        path: "forward" as const,
        wait: 0,
        reply: false,
      })),
    );
    const frames = framesOf(rules, sent);
    expect(frames.length).toBe(sent.length);
    const ours = emulate(rules, frames, "linear");
    expect(compareOutcomes(await routers.run("nft", rules, frames, ours.frames.length), ours)).toBe("");
  });
});
