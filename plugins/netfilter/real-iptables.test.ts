/** The rules against the real tools: what we write loads, and what iptables-save prints of it we find again. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { parseCidr } from "../../ipam/ip.ts";
import { masqAddText, masqDelText, masqMissing, parseMasq } from "./ip-masq.ts";
import { forwardAddText, forwardDelText, forwardMissing, parseForward } from "./port-forward.ts";

/** Loads texts one after the other in a namespace of its own and prints the nat table. */
function load(texts: readonly string[]): { status: number | null; saved: string; stderr: string } {
  const steps = texts.map((text) => `iptables-restore --noflush <<'END' || exit 1\n${text}END\n`);
  const { status, stdout, stderr } = spawnSync("unshare", ["-n", "sh", "-c", `${steps.join("")}iptables-save -t nat`], {
    encoding: "utf8",
  });
  return { status, saved: stdout, stderr };
}

const canRun = process.platform === "linux" && process.getuid?.() === 0 && load(["*nat\nCOMMIT\n"]).status === 0;
const NEEDS = "needs root, unshare and iptables-restore";

describe("with the real iptables", () => {
  const owner = { network: "net-1", containerId: "c1" };
  const ip = parseCidr("10.1.0.5/24");
  if (ip === undefined) throw new Error("bad prefix");
  const none = parseForward("");

  it("loads masquerade rules, and deletes them by what it printed", ({ skip }) => {
    skip(!canRun, NEEDS);
    const text = masqAddText(owner, 4, ["10.1.0.5/24"]) ?? "";
    const other = masqAddText({ ...owner, containerId: "c2" }, 4, ["10.1.0.6/24"]) ?? "";
    const loaded = load([text, other]);
    expect(loaded.stderr).toBe("");
    const saved = parseMasq(loaded.saved);
    expect(masqMissing(saved, owner, "10.1.0.5/24")).toBeUndefined();
    // every rule is printed as it was written
    for (const line of text.split("\n").filter((l) => l.startsWith("-A "))) expect(loaded.saved).toContain(`${line}\n`);
    const emptied = load([text, other, masqDelText(saved, owner) ?? ""]);
    expect(emptied.stderr).toBe("");
    expect(emptied.saved).not.toContain("c1");
    expect(masqMissing(parseMasq(emptied.saved), { ...owner, containerId: "c2" }, "10.1.0.6/24")).toBeUndefined();
  });

  it("loads forwarded ports, and deletes them by what it printed", ({ skip }) => {
    skip(!canRun, NEEDS);
    const options = {
      snat: true,
      masqAll: false,
      markBit: 13,
      externalSetMarkChain: undefined,
      conditions: ["!", "-d", "192.0.2.0/24"],
    };
    const mappings = [
      { hostPort: 8080, containerPort: 80, protocol: "tcp", hostIp: undefined },
      { hostPort: 53, containerPort: 5353, protocol: "udp", hostIp: "192.168.0.11" },
      { hostPort: 99, containerPort: 99, protocol: "sctp", hostIp: undefined },
    ] as const;
    const first = forwardAddText(none, owner, ip, mappings, options) ?? "";
    const loaded = load([first]);
    expect(loaded.stderr).toBe("");
    const saved = parseForward(loaded.saved);
    for (const mapping of mappings) expect(forwardMissing(saved, owner, ip, mapping)).toBeUndefined();
    for (const line of first.split("\n").filter((l) => l.startsWith("-A ") && !l.includes("192.0.2.0")))
      expect(loaded.saved).toContain(`${line}\n`);
    // a second container shares the chains; a second plan from nothing is refused by -N
    const second =
      forwardAddText(saved, { ...owner, containerId: "c2" }, ip, [{ ...mappings[0], hostPort: 81 }], options) ?? "";
    const both = load([first, second]);
    expect(both.stderr).toBe("");
    expect(both.saved.match(/^-A PREROUTING /gm)).toHaveLength(1);
    expect(load([first, first]).status).not.toBe(0);
    const emptied = load([first, second, forwardDelText(parseForward(both.saved), owner) ?? ""]);
    expect(emptied.stderr).toBe("");
    expect(emptied.saved.match(/^:CNI-DN-/gm)).toHaveLength(1);
  });
});
