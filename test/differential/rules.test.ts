/**
 * Random rules and random packets, through iptables on the kernel and through both evaluators: the same frames come out, with
 * the same octets, and every rule has counted the same. A case that fails is made as small as it gets and kept in
 * fixtures/rules/, with what Linux did: from then on it is compared on every machine.
 *
 * PODWIRE_RULESETS and PODWIRE_RULES_SEED say how many and which; PODWIRE_RULES_REPORT tells how many packets were sent.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { rulesets, rulesText } from "../../dataplane/netfilter/random-rules.ts";
import { doseOf } from "../support/dose.ts";
import { missing } from "../support/needs.ts";
import { KERNEL_LAB_NEEDS } from "./kernel-lab.ts";
import { compareOutcomes, emulate, framesOf, packets, packets6, show } from "./rules-case.ts";
import { KernelRouters, type Outcome, type Side, type SideFrame, type Variant } from "./rules-lab.ts";
import { shrinkList } from "./shrink.ts";

const DOSE = doseOf("PODWIRE_RULESETS", "PODWIRE_RULES_SEED", 25);
/** Says how many packets were sent. */
const REPORT = process.env.PODWIRE_RULES_REPORT !== undefined;
const PACKETS = 20;
/** Milliseconds to wait for a frame that may never come, while a case is made smaller. */
const HASTE = 300;
/** The most tries to make a failing case smaller. */
const SHRINKS = Number(process.env.PODWIRE_RULES_SHRINKS ?? 300);
const FIXTURES = fileURLToPath(new URL("fixtures/rules/", import.meta.url));

type Fixture = {
  readonly variant: Variant;
  readonly rules: readonly string[];
  readonly frames: readonly string[];
  readonly linux: { readonly frames: readonly string[]; readonly counters: Readonly<Record<string, string>> };
};

const line = (f: SideFrame): string => `${f.side} ${Buffer.from(f.bytes).toString("hex")}`;
const frame = (t: string): SideFrame => ({
  side: t.slice(0, 1) as Side,
  bytes: Uint8Array.from(Buffer.from(t.slice(2), "hex")),
});

/** What is wrong, or "". */
function judge(rules: string, frames: readonly SideFrame[], linux: Outcome, six: boolean): string {
  for (const evaluator of ["linear", "indexed"] as const) {
    const why = compareOutcomes(linux, emulate(rules, frames, evaluator, six));
    if (why !== "") return `${evaluator}:\n${why}`;
  }
  return "";
}

let routers: KernelRouters | null = null;
afterAll(() => routers?.close());

const PROBES: Readonly<Record<string, readonly [string, string, string]>> = {
  tcp: ["filter", "FORWARD", "-p tcp -m tcp --dport 1"],
  udp: ["filter", "FORWARD", "-p udp -m udp --dport 1"],
  sctp: ["filter", "FORWARD", "-p sctp -m sctp --chunk-types any INIT"],
  icmp: ["filter", "FORWARD", "-p icmp -m icmp --icmp-type 8"],
  multiport: ["filter", "FORWARD", "-p tcp -m multiport --dports 1"],
  tcpmss: ["filter", "FORWARD", "-p tcp -m tcpmss --mss 1"],
  mark: ["filter", "FORWARD", "-m mark --mark 1"],
  connmark: ["filter", "FORWARD", "-m connmark --mark 1"],
  conntrack: ["filter", "FORWARD", "-m conntrack --ctstate NEW"],
  state: ["filter", "FORWARD", "-m state --state NEW"],
  addrtype: ["filter", "FORWARD", "-m addrtype --dst-type LOCAL"],
  statistic: ["filter", "FORWARD", "-m statistic --mode nth --every 2"],
  limit: ["filter", "FORWARD", "-m limit"],
  recent: ["filter", "FORWARD", "-m recent --set"],
  length: ["filter", "FORWARD", "-m length --length 1"],
  ttl: ["filter", "FORWARD", "-m ttl --ttl-eq 1"],
  dscp: ["filter", "FORWARD", "-m dscp --dscp 1"],
  tos: ["filter", "FORWARD", "-m tos --tos 1"],
  quota: ["filter", "FORWARD", "-m quota --quota 1"],
  hashlimit: ["filter", "FORWARD", "-m hashlimit --hashlimit-upto 1/hour --hashlimit-name x"],
  string: ["filter", "FORWARD", "-m string --algo bm --string x"],
  rpfilter: ["raw", "PREROUTING", "-m rpfilter"],
  TTL: ["mangle", "FORWARD", "-j TTL --ttl-set 1"],
  HL: ["mangle", "FORWARD", "-j HL --hl-set 1"],
  TOS: ["mangle", "FORWARD", "-j TOS --set-tos 1"],
  DSCP: ["mangle", "FORWARD", "-j DSCP --set-dscp 1"],
  CLASSIFY: ["mangle", "FORWARD", "-j CLASSIFY --set-class 1:2"],
  NETMAP: ["nat", "PREROUTING", "-j NETMAP --to 10.0.0.0/24"],
  NFQUEUE: ["filter", "FORWARD", "-j NFQUEUE --queue-bypass"],
  pkttype: ["filter", "FORWARD", "-m pkttype --pkt-type unicast"],
  comment: ["filter", "FORWARD", "-m comment --comment x"],
  MARK: ["mangle", "FORWARD", "-j MARK --set-mark 1"],
  CONNMARK: ["mangle", "FORWARD", "-j CONNMARK --save-mark"],
  CT: ["raw", "PREROUTING", "-j CT --zone 1"],
  TCPMSS: ["mangle", "FORWARD", "-p tcp --syn -j TCPMSS --set-mss 500"],
  DNAT: ["nat", "PREROUTING", "-j DNAT --to-destination 10.0.0.1"],
  REDIRECT: ["nat", "PREROUTING", "-p tcp -j REDIRECT --to-ports 1"],
  SNAT: ["nat", "POSTROUTING", "-j SNAT --to-source 10.0.0.1"],
  MASQUERADE: ["nat", "POSTROUTING", "-j MASQUERADE"],
  REJECT: ["filter", "FORWARD", "-j REJECT"],
};

/** What differs in ip6tables. */
const PROBES6: typeof PROBES = {
  icmp6: ["filter", "FORWARD", "-p icmpv6 -m icmp6 --icmpv6-type 128"],
  hl: ["filter", "FORWARD", "-m hl --hl-eq 1"],
  NETMAP: ["nat", "PREROUTING", "-j NETMAP --to fd00::/64"],
  DNAT: ["nat", "PREROUTING", "-j DNAT --to-destination fd00::1"],
  SNAT: ["nat", "POSTROUTING", "-j SNAT --to-source fd00::1"],
};

function isSix(variant: Variant): boolean {
  return variant.startsWith("ip6");
}

describe("rules as Linux follows them", () => {
  for (const name of readdirSync(FIXTURES).filter((n) => n.endsWith(".json"))) {
    it(`as it did in ${name}`, () => {
      const f: Fixture = JSON.parse(readFileSync(FIXTURES + name, "utf8"));
      const linux = { frames: f.linux.frames.map(frame), counters: f.linux.counters };
      expect(judge(`${f.rules.join("\n")}\n`, f.frames.map(frame), linux, isSix(f.variant))).toBe("");
    });
  }

  for (const variant of ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"] as const) {
    const six = isSix(variant);
    it(`random rules and packets, ${variant}`, { timeout: 3_600_000 }, async (context) => {
      const reason = missing(...KERNEL_LAB_NEEDS, `${variant}-restore`);
      if (reason !== null) context.skip(reason);
      routers ??= await KernelRouters.build();
      const lab = routers;
      const known = new Map(
        Object.entries(six ? { ...PROBES, ...PROBES6 } : PROBES).map(([name, probe]) => [
          name,
          lab.knows(variant, ...probe),
        ]),
      );
      for (const name of ["set", "SET"]) known.set(name, missing("ipset") === null);
      const allowed = (_kind: string, name: string): boolean => known.get(name) ?? false;
      // In nf_tables a header that is too short fails the rule; in the older engine it drops the packet, as here.
      const whole = variant.endsWith("-nft");
      const list = fc.array(six ? packets6 : packets, { minLength: PACKETS, maxLength: PACKETS });
      const shape = { exact: true, allowed, length: 14, six };
      const linux = (rules: string, frames: readonly SideFrame[]): Promise<Outcome> =>
        lab.run(variant, rules, frames, emulate(rules, frames, "linear", six).frames.length);
      const sent = { frames: 0, rulesets: 0 };
      let failed: { rules: string; frames: readonly SideFrame[] } | null = null;
      const run = await fc.check(
        fc.asyncProperty(rulesets(shape), list, async (tables, all) => {
          const rules = rulesText(tables);
          const frames = framesOf(
            rules,
            all.map((p) => (whole ? { ...p, cut: 0, offset: -1 } : p)),
            six,
          );
          sent.frames += frames.length;
          sent.rulesets++;
          failed = { rules, frames };
          const why = judge(rules, frames, await linux(rules, frames), six);
          if (why !== "") throw new Error(why);
        }),
        { numRuns: DOSE.cases, endOnFailure: true, ...DOSE.seed },
      );
      if (REPORT) process.stderr.write(`${variant}: ${sent.frames} packets over ${sent.rulesets} rulesets\n`);
      if (!run.failed) return;
      if (failed === null) throw run.errorInstance;
      lab.patience = HASTE;
      const small = await shrink(failed, linux, run.errorInstance, six);
      const fixture = JSON.stringify({ variant, ...small.fixture }, null, 2);
      mkdirSync(FIXTURES, { recursive: true });
      const name = `${createHash("sha1").update(fixture).digest("hex").slice(0, 10)}.json`;
      writeFileSync(FIXTURES + name, `${fixture}\n`);
      const shown = small.frames.map((f) => `  ${f.side} ${show(f)}`).join("\n");
      expect.fail(`seed ${run.seed}, kept as ${name}: ${small.why}\nsent:\n${shown}\n${small.rules}`);
    });
  }
});

type Case = { readonly rules: string; readonly frames: readonly SideFrame[] };
type Small = Case & { readonly why: string; readonly fixture: Omit<Fixture, "variant"> };

/** Leaves out rules, frames and whatever else is not needed for the case to fail. */
async function shrink(
  { rules, frames }: Case,
  linux: (rules: string, frames: readonly SideFrame[]) => Promise<Outcome>,
  cause: unknown,
  six: boolean,
): Promise<Small> {
  let small: Small | null = null;
  const fails = async (lines: readonly string[], sent: readonly SideFrame[]): Promise<boolean> => {
    const text = `${lines.join("\n")}\n`;
    try {
      const outcome = await linux(text, sent);
      const why = judge(text, sent, outcome, six);
      if (why === "") return false;
      const theirs = { frames: outcome.frames.map(line), counters: outcome.counters };
      small = { rules: text, frames: sent, why, fixture: { rules: lines, frames: sent.map(line), linux: theirs } };
      return true;
    } catch {
      // Without that line it is no ruleset any more.
      return false;
    }
  };
  let lines: readonly string[] = rules.trimEnd().split("\n");
  let sent = frames;
  const budget = { left: SHRINKS };
  if (!(await fails(lines, sent))) throw new Error("the case does not fail again", { cause });
  for (let before = Number.POSITIVE_INFINITY; lines.length + sent.length < before && budget.left > 0; ) {
    before = lines.length + sent.length;
    sent = await shrinkList(sent, (fewer) => fails(lines, fewer), budget);
    lines = await shrinkList(lines, (fewer) => fails(fewer, sent), budget);
  }
  return (
    small ?? { rules, frames, why: "", fixture: { rules: lines, frames: [], linux: { frames: [], counters: {} } } }
  );
}
