/** What is listed here the real nft takes, and lists the same; and what it lists is taken here. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { listRuleset } from "./list.ts";
import { applyNft } from "./parse.ts";
import { printRule } from "./print-rule.ts";
import { Ruleset } from "./ruleset.ts";

/** Lists a ruleset after the real nft has loaded it, in a namespace that ends with the process. */
function throughNft(text: string): string {
  const run = spawnSync("unshare", ["-n", "sh", "-c", "nft -f - && nft -s list ruleset"], {
    input: text,
    encoding: "utf8",
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return run.stdout;
}

function here(text: string): string {
  const rules = new Ruleset((rule) => printRule(rule));
  applyNft(rules, text, "t.nft", 0);
  return listRuleset(rules, { stateless: true, now: 0, handles: false });
}

const ALL = readFileSync(fileURLToPath(new URL("fixtures/every-statement.nft", import.meta.url)), "utf8");

describe("the text of nft", () => {
  it("is listed as the real nft lists it", ({ skip }) => {
    const reason = missing("root", "netns", "nft");
    if (reason !== null) skip(reason);
    expect(here(ALL)).toBe(throughNft(ALL));
  });

  it("comes back the same when it is read again, here and in the real nft", ({ skip }) => {
    const listed = here(ALL);
    expect(here(listed)).toBe(listed);
    const reason = missing("root", "netns", "nft");
    if (reason !== null) skip(reason);
    expect(throughNft(listed)).toBe(listed);
  });
});
