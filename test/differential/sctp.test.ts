/**
 * SCTP associations as Linux follows them: random chunks with random tags in both directions of a few flows, and rules that
 * count by state. The same packets pass or are dropped, and every rule counts the same.
 *
 * PODWIRE_SCTP_CASES and PODWIRE_SCTP_SEED say how many lots of flows and which.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bench, type PacketSpec } from "../../dataplane/netfilter/testing.ts";
import * as sctp from "../../dataplane/wire/sctp.ts";
import { doseOf } from "../support/dose.ts";
import { missing } from "../support/needs.ts";
import { ether } from "./frames.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { compareOutcomes, emulate } from "./rules-case.ts";
import { FAR_MAC, KernelRouters, ROUTER_MAC, type Side, type SideFrame } from "./rules-lab.ts";

const DOSE = doseOf("PODWIRE_SCTP_CASES", "PODWIRE_SCTP_SEED", 12);
const FLOWS = 12;
const CHUNKS = [
  sctp.DATA,
  sctp.INIT,
  sctp.INIT_ACK,
  sctp.HEARTBEAT,
  sctp.HEARTBEAT_ACK,
  sctp.ABORT,
  sctp.SHUTDOWN,
  sctp.SHUTDOWN_ACK,
  sctp.ERROR,
  sctp.COOKIE_ECHO,
  sctp.COOKIE_ACK,
  sctp.SHUTDOWN_COMPLETE,
];

type Step = {
  readonly reply: boolean;
  readonly chunk: number;
  readonly tag: number;
  readonly initTag: number;
  readonly t: boolean;
};

/** Packets of an association that goes well, from which steps are left out, and among which others are put. */
const GOOD: readonly Step[] = [
  [false, sctp.INIT, 0],
  [true, sctp.INIT_ACK, 1],
  [false, sctp.COOKIE_ECHO, 2],
  [true, sctp.COOKIE_ACK, 1],
  [false, sctp.DATA, 2],
  [true, sctp.DATA, 1],
  [false, sctp.HEARTBEAT, 2],
  [true, sctp.HEARTBEAT_ACK, 1],
  [false, sctp.SHUTDOWN, 2],
  [true, sctp.SHUTDOWN_ACK, 1],
  [false, sctp.SHUTDOWN_COMPLETE, 2],
].map(([reply, chunk, tag]) => ({
  reply: reply as boolean,
  chunk: chunk as number,
  tag: tag as number,
  initTag: reply === true ? 2 : 1,
  t: false,
}));

const strange: fc.Arbitrary<Step> = fc.record({
  reply: fc.boolean(),
  chunk: fc.constantFrom(...CHUNKS),
  tag: fc.constantFrom(0, 1, 2, 3),
  // Not a tag that a heartbeat may have borne before: what Linux makes of an INIT that announces it is not known.
  initTag: fc.constantFrom(4, 5),
  t: fc.boolean(),
});
const walk: fc.Arbitrary<readonly Step[]> = fc
  .array(fc.record({ keep: fc.integer({ min: 0, max: 9 }), before: fc.array(strange, { maxLength: 1 }) }), {
    minLength: GOOD.length,
    maxLength: GOOD.length,
  })
  .map((list) => list.flatMap(({ keep, before }, i) => [...before, ...(keep === 0 ? [] : [GOOD[i] as Step])]));
const random: fc.Arbitrary<readonly Step[]> = fc.array(strange, { minLength: 4, maxLength: 12 });

const builder = new Bench();

function frameOf(flow: number, { reply, chunk, tag, initTag, t }: Step): SideFrame {
  const [near, far] = ["10.0.0.2", "10.1.0.2"];
  const port = 5000 + flow;
  const ends = reply
    ? { src: far, dst: near, sport: 80, dport: port }
    : { src: near, dst: far, sport: port, dport: 80 };
  const spec: PacketSpec = { proto: "sctp", ...ends, chunk, tag, initTag, chunkFlags: t ? 1 : 0 };
  const skb = builder.packet(spec);
  const bytes = skb.buf.slice(skb.network, skb.end);
  builder.world.pool.free(skb);
  const side: Side = reply ? "o" : "i";
  return { side, bytes: ether(ROUTER_MAC[side], FAR_MAC[side], 0x0800, bytes) };
}

/** For each flow, how many of its packets were in which state. */
function rules(): string {
  const lines: string[] = [];
  for (let flow = 0; flow < FLOWS; flow++)
    for (const asked of ["--ctstate NEW", "--ctstate ESTABLISHED", "--ctstate INVALID", "--ctstatus ASSURED"])
      for (const port of [`--sport ${5000 + flow}`, `--dport ${5000 + flow}`])
        lines.push(`-A FORWARD -p sctp -m sctp ${port} -m conntrack ${asked}`);
  return `*filter\n:FORWARD ACCEPT [0:0]\n${lines.join("\n")}\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n`;
}

describe("SCTP associations", () => {
  it("are followed as Linux follows them", { timeout: 600_000 }, async (context) => {
    const reason = missing(...KERNEL_LAB_NEEDS, "iptables-nft-restore");
    if (reason !== null) context.skip(reason);
    const lab = await KernelRouters.build();
    const text = rules();
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.oneof(walk, random), { minLength: FLOWS, maxLength: FLOWS }), async (flows) => {
          // Packets of all flows in turn.
          const frames: SideFrame[] = [];
          for (let i = 0; flows.some((steps) => i < steps.length); i++)
            for (const [flow, steps] of flows.entries()) {
              const step = steps[i];
              if (step !== undefined) frames.push(frameOf(flow, step));
            }
          const ours = emulate(text, frames, "indexed");
          const linux = await lab.run("iptables-nft", text, frames, ours.frames.length);
          expect(compareOutcomes(linux, ours)).toBe("");
        }),
        { numRuns: DOSE.cases, endOnFailure: true, ...DOSE.seed },
      );
    } finally {
      await lab.close();
    }
  });
});
