/** What nft adds to a rule and what it leaves out when it lists one, held against the real tool. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { applyNft } from "./parse.ts";
import { printRule } from "./print-rule.ts";
import { Ruleset } from "./ruleset.ts";

/** Families, a rule, and how it is listed. */
const LISTED: readonly (readonly [families: string, rule: string, listed: string])[] = [
  ["ip", "ip protocol tcp tcp dport 80 accept", "tcp dport 80 accept"],
  ["inet", "ip protocol tcp tcp dport 80 accept", "ip protocol tcp tcp dport 80 accept"],
  ["ip ip6", "reject with tcp reset", "reject with tcp reset"],
  ["inet", "reject with tcp reset", "meta l4proto tcp reject with tcp reset"],
  ["ip ip6 inet", "counter reject with tcp reset", "meta l4proto tcp counter reject with tcp reset"],
  ["ip ip6 inet", "log reject with tcp reset", "meta l4proto tcp log reject with tcp reset"],
  [
    "ip inet",
    "meta mark set 1 reject with tcp reset",
    "meta l4proto tcp meta mark set 0x00000001 reject with tcp reset",
  ],
  ["ip", "meta l4proto tcp ip saddr 10.0.0.1 reject with tcp reset", "ip saddr 10.0.0.1 reject with tcp reset"],
  ["ip", "ip saddr 10.0.0.1 ip protocol tcp reject with tcp reset", "ip saddr 10.0.0.1 reject with tcp reset"],
  ["ip", "ip protocol tcp counter reject with tcp reset", "ip protocol tcp counter reject with tcp reset"],
  ["inet", "ip protocol tcp reject with tcp reset", "ip protocol tcp reject with tcp reset"],
  ["ip ip6 inet", "counter tcp dport set 80 reject with tcp reset", "counter tcp dport set 80 reject with tcp reset"],
  [
    "ip6 inet",
    "counter meta mark set tcp dport map { 1 : 2 } reject with tcp reset",
    "counter meta mark set tcp dport map { 1 : 0x00000002 } reject with tcp reset",
  ],
  [
    "ip",
    "counter tcp option maxseg size set 1000 reject with tcp reset",
    "meta l4proto tcp counter tcp option maxseg size set 1000 reject with tcp reset",
  ],
];
const CASES = LISTED.flatMap(([families, rule, listed]) => families.split(" ").map((f) => [f, rule, listed] as const));

function textOf(family: string, rule: string): string {
  return `table ${family} t {\n\tchain c {\n\t\ttype filter hook forward priority 0;\n\t\t${rule}\n\t}\n}\n`;
}

function listing(family: string, rule: string): string | undefined {
  const rules = new Ruleset(printRule);
  applyNft(rules, textOf(family, rule), "test", 0, false);
  const [table] = [...rules.tables.values()];
  return table?.chains.get("c")?.rules[0]?.text;
}

describe("a rule as nft lists it", () => {
  it.each(CASES)("table %s: %s", (family, rule, listed) => {
    expect(listing(family, rule)).toBe(listed);
    expect(listing(family, listed), "the listing read again").toBe(listed);
  });

  it("is as the real nft lists it", { timeout: 60_000 }, ({ skip }) => {
    const reason = missing("root", "netns", "nft");
    if (reason !== null) skip(reason);
    const list = (family: string, rule: string): string => {
      const script = `nft -f - && nft -s list chain ${family} t c`;
      const { stdout } = spawnSync("unshare", ["-n", "sh", "-c", script], {
        input: textOf(family, rule),
        encoding: "utf8",
      });
      return stdout.split("\n")[3]?.trim() ?? "";
    };
    expect(CASES.map(([family, rule]) => list(family, rule))).toEqual(CASES.map(([, , listed]) => listed));
  });
});
