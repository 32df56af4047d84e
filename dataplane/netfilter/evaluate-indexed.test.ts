import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Skb } from "../skb/skb.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { dstAt, srcAt } from "../wire/ip-header.ts";
import { formatIp } from "../wire/ip-key.ts";
import * as tcp from "../wire/tcp.ts";
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
} from "./hooks.ts";
import {
  packets,
  packets6,
  type RandomPacket,
  rulesets,
  rulesText,
  SETS,
  SETS6,
  type TableText,
} from "./random-rules.ts";
import { saveRules } from "./restore-op.ts";
import { Bench, type PacketSpec } from "./testing.ts";

/** Packets in all, and how many meet one ruleset. */
const PACKETS = Number(process.env.PODWIRE_RULES_PACKETS ?? 100_000);
const PER_RULESET = 400;

function bench(evaluator: "indexed" | "linear", text: string, six: boolean): Bench {
  const made = new Bench(1, six);
  made.world.evaluator = evaluator;
  for (const [name, type, entries] of six ? SETS6 : SETS) made.set(name, type, entries);
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
  const ends = { src: formatIp(dstAt(b, skb.network)), dst: formatIp(srcAt(b, skb.network)) };
  if (spec.proto === "icmpv6") return { ...spec, ...ends, type: icmpv6.ECHO_REPLY, id: word(th + 4), fragment: 0 };
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
  six: boolean,
): { examined: number; linear: number } {
  const text = rulesText(tables);
  const linear = bench("linear", text, six);
  const indexed = bench("indexed", text, six);
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
  const family = six ? "ipv6" : "ipv4";
  expect(saveRules(indexed.ns, true, family)).toBe(saveRules(linear.ns, true, family));
  expect(indexed.nf.conntrack.dump()).toEqual(linear.nf.conntrack.dump());
  return sum;
}

describe("the indexed walk", () => {
  it.each([
    ["IPv4", packets, false],
    ["IPv6", packets6, true],
  ] as const)(
    "does what the linear one does, to the last counter, for random rules and packets of %s",
    (_family, sent, six) => {
      const sum = { examined: 0, linear: 0 };
      fc.assert(
        fc.property(
          rulesets({ six }),
          rulesets({ six }),
          fc.array(sent, { minLength: PER_RULESET, maxLength: PER_RULESET }),
          (tables, changes, list) => {
            fc.pre(rulesText(tables) !== "\n");
            const { examined, linear } = compare(tables, changes, list, six);
            sum.examined += examined;
            sum.linear += linear;
          },
        ),
        { numRuns: Math.ceil(PACKETS / PER_RULESET / 2) },
      );
      expect(sum.examined).toBeLessThan(sum.linear);
    },
    600_000,
  );

  it.each([
    ["IPv4", (i: number) => `10.${i}.0.0/16`, { src: "10.0.0.2", dst: "10.199.0.9" }],
    ["IPv6", (i: number) => `fd00:${i}::/64`, { src: "fd00::2", dst: "fd00:199::9" }],
  ] as const)(
    "finds the rules of many networks of %s by hash, and those of wider and of narrower ones",
    (_name, network, ends) => {
      const six = ends.dst.includes(":");
      const wide = six ? "fd00::/16" : "10.0.0.0/8";
      const narrow = six ? "fd00:199::8/125" : "10.199.0.8/29";
      const lines = Array.from(
        { length: 200 },
        (_, i) => `-A FORWARD -d ${network(i)} -j ${i === 199 ? "DROP" : "RETURN"}`,
      );
      const text = `*filter\n-A FORWARD -d ${wide}\n-A FORWARD -d ${narrow}\n${lines.join("\n")}\nCOMMIT\n`;
      const b = bench("indexed", text, six);
      const step = b.traced(NF_INET_FORWARD, b.packet(ends), "eth0", "eth1");
      expect(step.verdict).toBe("DROP");
      expect(step.rules.map((r) => r.number)).toEqual([1, 2, 202]);
      expect([step.linear, step.examined]).toEqual([202, 3]);
    },
  );
});
