import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Skb } from "../skb/skb.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { formatIpv4 } from "../wire/ipv4-addr.ts";
import * as tcp from "../wire/tcp.ts";
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
} from "./hooks.ts";
import { packets, type RandomPacket, rulesets, rulesText, SETS, type TableText } from "./random-rules.ts";
import { saveRules } from "./restore-op.ts";
import { Bench, type PacketSpec } from "./testing.ts";

/** Packets in all, and how many meet one ruleset. */
const PACKETS = Number(process.env.PODWIRE_RULES_PACKETS ?? 100_000);
const PER_RULESET = 400;

function bench(evaluator: "indexed" | "linear", text: string, seed = 1): Bench {
  const made = new Bench(seed);
  made.world.evaluator = evaluator;
  for (const [name, type, entries] of SETS) made.set(name, type, entries);
  made.restore(text, false);
  return made;
}

type Hook = readonly [hook: number, input: string, output: string];
const PATHS: Readonly<Record<RandomPacket["path"], readonly Hook[]>> = {
  forward: [
    [NF_INET_PRE_ROUTING, "eth0", ""],
    [NF_INET_FORWARD, "eth0", "eth1"],
    [NF_INET_POST_ROUTING, "", "eth1"],
  ],
  input: [
    [NF_INET_PRE_ROUTING, "eth0", ""],
    [NF_INET_LOCAL_IN, "eth0", ""],
  ],
  output: [
    [NF_INET_LOCAL_OUT, "", "eth1"],
    [NF_INET_POST_ROUTING, "", "eth1"],
  ],
};

/** What a packet met, and what became of it. */
type Passage = {
  readonly seen: readonly string[];
  readonly through: boolean;
  readonly examined: number;
  readonly linear: number;
  readonly skb: Skb;
};

function pass(b: Bench, spec: PacketSpec, p: RandomPacket): Passage {
  const skb = b.packet(spec);
  skb.end -= Math.min(p.cut, skb.end - skb.transport);
  if (p.offset >= 0 && spec.proto === "tcp") tcp.setDataOffset(skb.buf, skb.transport, p.offset * 4);
  const seen: string[] = [];
  let through = true;
  let examined = 0;
  let linear = 0;
  for (const [hook, input, output] of PATHS[p.path]) {
    const step = b.traced(hook, skb, input, output);
    examined += step.examined;
    linear += step.linear;
    const rules = step.rules.map((r) => `${r.table} ${r.chain} ${r.number}`).join(", ");
    seen.push(
      `${step.hook} ${step.verdict} ${step.ctState} ${step.nat} linear ${step.linear} mark ${skb.mark} reject ${skb.rejectWith}: ${rules}`,
    );
    seen.push(Buffer.from(skb.buf.subarray(skb.network, skb.end)).toString("hex"));
    if (step.verdict !== "ACCEPT") {
      through = false;
      break;
    }
  }
  return { seen, through, examined, linear, skb };
}

/** A packet back, as whoever got the last one would send it. */
function answer(skb: Skb, spec: PacketSpec): PacketSpec {
  const b = skb.buf;
  const th = skb.transport;
  const word = (at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0);
  const ends = { src: formatIpv4(ipv4.dst(b, skb.network)), dst: formatIpv4(ipv4.src(b, skb.network)) };
  if (spec.proto === "icmp") return { ...spec, ...ends, type: 0, id: word(th + 4), cut: 0 } as PacketSpec;
  return { ...spec, ...ends, sport: word(th + 2), dport: word(th), flags: 0x12, fragment: 0 };
}

/** Changes rules while packets have met them: chains are emptied and filled anew, built-in ones grow. */
function change(b: Bench, tables: readonly TableText[]): string {
  try {
    b.restore(rulesText(tables));
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/** Puts the packets through both evaluators, the second half after a change; answers how many rules each looked at. */
function compare(
  tables: readonly TableText[],
  changes: readonly TableText[],
  list: readonly RandomPacket[],
): { examined: number; linear: number } {
  const text = rulesText(tables);
  const linear = bench("linear", text);
  const indexed = bench("indexed", text);
  let last: { skb: Skb; spec: PacketSpec } | null = null;
  const sum = { examined: 0, linear: 0 };
  for (const [i, p] of list.entries()) {
    if (i === list.length >> 1) expect(change(indexed, changes)).toBe(change(linear, changes));
    const spec: PacketSpec = p.reply && last !== null ? answer(last.skb, last.spec) : p.spec;
    const [want, got] = [linear, indexed].map((b) => {
      if (p.wait > 0) b.world.loop.run({ deadline: b.world.loop.time + p.wait });
      return pass(b, spec, p);
    }) as [Passage, Passage];
    expect(got.seen).toEqual(want.seen);
    expect(want.examined).toBe(want.linear);
    if (got.examined > got.linear) throw new Error(`looked at ${got.examined} rules of ${got.linear}`);
    sum.examined += got.examined;
    sum.linear += got.linear;
    if (want.through && p.cut === 0) last = { skb: want.skb, spec };
  }
  expect(saveRules(indexed.ns, true)).toBe(saveRules(linear.ns, true));
  expect(indexed.nf.conntrack.dump()).toEqual(linear.nf.conntrack.dump());
  return sum;
}

describe("the indexed walk", () => {
  it("does what the linear one does, to the last counter, for random rules and packets", () => {
    const sum = { examined: 0, linear: 0 };
    fc.assert(
      fc.property(
        rulesets(),
        rulesets(),
        fc.array(packets, { minLength: PER_RULESET, maxLength: PER_RULESET }),
        (tables, changes, list) => {
          fc.pre(rulesText(tables) !== "\n");
          const { examined, linear } = compare(tables, changes, list);
          sum.examined += examined;
          sum.linear += linear;
        },
      ),
      { numRuns: Math.ceil(PACKETS / PER_RULESET) },
    );
    expect(sum.examined).toBeLessThan(sum.linear);
  }, 600_000);
});
