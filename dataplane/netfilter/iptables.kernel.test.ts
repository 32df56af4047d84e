/** What iptables-save of this machine prints after iptables-restore read a fixture, against what we print. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { saveRules } from "./restore-op.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");

/** Runs a script in a new network namespace, which is gone with it. */
function inNetns(script: string): string {
  return execFileSync("unshare", ["-n", "sh", "-c", script], { encoding: "utf8", stdio: "pipe" });
}

function whyNot(): string {
  if (process.getuid?.() !== 0) return "not root";
  try {
    const version = execFileSync("unshare", ["-n", "iptables", "--version"], { encoding: "utf8", stdio: "pipe" });
    return version.includes("nf_tables") ? "" : `${version.trim()} is not the nf_tables variant`;
  } catch {
    return "iptables or unshare is missing";
  }
}

const missing = whyNot();

type Family = "ipv4" | "ipv6";

/** The name of a tool of a family. */
function tool(name: string, family: Family): string {
  return family === "ipv6" ? name.replace("ip", "ip6") : name;
}

function ours(texts: readonly string[], noflush: boolean, family: Family = "ipv4"): string {
  const host = new Host(new World(), "node");
  for (const text of texts) {
    applyOps(host, [{ op: "iptables.restore", netns: "host", family, text, noflush, source: "test" }]);
  }
  return saveRules(host.root, false, family);
}

function theirs(texts: readonly string[], flag: string, family: Family = "ipv4"): string {
  const run = texts
    .map((_, i) => `${tool("iptables-restore", family)} ${flag} <<'END_OF_RULES_${i}'\n${texts[i]}END_OF_RULES_${i}\n`)
    .join("");
  return inNetns(`set -e\n${run}${tool("iptables-save", family)}`)
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n");
}

describe.skipIf(missing !== "")(`iptables-save of the kernel${missing === "" ? "" : ` (${missing})`}`, () => {
  const names = readdirSync(FIXTURES).filter((name) => name.endsWith(".rules"));
  it.each(names)("prints %s as we do", (name) => {
    const text = readFileSync(join(FIXTURES, name), "utf8");
    expect(ours([text], false)).toBe(theirs([text], ""));
  });

  it("prints the same after all of them, one added to the other", () => {
    const texts = names.map((name) => readFileSync(join(FIXTURES, name), "utf8"));
    expect(ours(texts, true)).toBe(theirs(texts, "--noflush"));
  });

  it("prints our own output unchanged", () => {
    for (const name of names) {
      const once = ours([readFileSync(join(FIXTURES, name), "utf8")], false);
      expect(theirs([once], "")).toBe(once);
    }
  });

  it("prints the rules of IPv6 as we do, and our own output unchanged", () => {
    const text = readFileSync(join(FIXTURES, "every-option.rules6"), "utf8");
    const once = ours([text], false, "ipv6");
    expect(once).toBe(theirs([text], "", "ipv6"));
    expect(theirs([once], "", "ipv6")).toBe(once);
  });
});
