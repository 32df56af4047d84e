import { describe, expect, it } from "vitest";
import { chainName, comment, optionOf, ownerComment, ownerOf, parseSaved, quote, wordsOf } from "./rules-text.ts";

describe("rules as text", () => {
  it("are quoted as iptables-save quotes them, and read back", () => {
    const text = 'name: "a\\b" id: "c"';
    expect(quote("10.1.0.0/24")).toBe("10.1.0.0/24");
    expect(quote(text)).toBe('"name: \\"a\\\\b\\" id: \\"c\\""');
    expect(wordsOf(`-m comment --comment ${quote(text)} -j ACCEPT`)).toEqual([
      "-m",
      "comment",
      "--comment",
      text,
      "-j",
      "ACCEPT",
    ]);
    expect(wordsOf('--comment "" -j X')).toEqual(["--comment", "", "-j", "X"]);
  });

  it("hold no longer comment than the kernel takes", () => {
    expect(comment("x".repeat(300))).toBe(`-m comment --comment ${"x".repeat(255)}`);
  });

  it("name chains as the reference plugins do", () => {
    // sha512("netc1")
    expect(chainName("CNI-", "net", "c1")).toHaveLength(28);
    expect(chainName("CNI-DN-", "net", "c1").slice(7)).toBe(chainName("CNI-", "net", "c1").slice(4, 25));
    expect(chainName("CNI-", "ne", "tc1")).toBe(chainName("CNI-", "net", "c1"));
  });

  it("are found in one table of a dump, in the chains asked for", () => {
    const saved = [
      "# Generated",
      "*filter",
      ":POSTROUTING ACCEPT [0:0]",
      "-A POSTROUTING -j WRONG",
      "COMMIT",
      "*nat",
      ":POSTROUTING ACCEPT [1:60]",
      ":KUBE-SVC - [0:0]",
      ":CNI-a - [0:0]",
      `-A POSTROUTING -s 10.1.0.5/32 ${comment(ownerComment("net", "c1"))} -j CNI-a`,
      "-A KUBE-SVC -j ACCEPT",
      "COMMIT",
      "",
    ].join("\n");
    const table = parseSaved(saved, "nat", (chain) => !chain.startsWith("KUBE"));
    expect([...table.keys()]).toEqual(["POSTROUTING", "CNI-a"]);
    const [rule] = table.get("POSTROUTING") ?? [];
    if (rule === undefined) throw new Error("no rule");
    expect(optionOf(rule, "-s")).toBe("10.1.0.5/32");
    expect(ownerOf(rule)).toEqual({ network: "net", containerId: "c1" });
    expect(parseSaved(saved, "raw", () => true).size).toBe(0);
  });
});
