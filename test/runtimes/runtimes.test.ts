/** Real runtimes on the plugins: the scripts beside this file, as root and where the packages are installed. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { missing } from "../support/needs.ts";
import { ROOT } from "../support/podwire.ts";

const NEEDS = ["root", "netns", "iptables-restore", "ip", "busybox", "crun"] as const;

let built = "";
beforeAll(() => {
  if (missing(...NEEDS) !== null) return;
  built = mkdtempSync(join(tmpdir(), "podwire-runtimes-"));
  execFileSync(process.execPath, [join(ROOT, "scripts/build-cni.mjs"), built], { stdio: "pipe" });
});
afterAll(() => rmSync(built || "/nonexistent", { recursive: true, force: true }));

describe.each(["cni", "cni-node"])("with the executables of %s", (form) => {
  it("podman makes networks, containers that talk, published ports, and leaves nothing", ({ skip }) => {
    const reason = missing(...NEEDS, "podman");
    skip(reason !== null, reason ?? "");
    const script = join(import.meta.dirname, "podman.sh");
    const args = ["-n", "-m", "--propagation", "private", script, join(built, form)];
    const { status, stdout } = spawnSync("unshare", args, { encoding: "utf8" });
    expect(stdout.split("\n").filter((line) => line.startsWith("not ok"))).toEqual([]);
    expect(status, stdout).toBe(0);
    expect(stdout).toMatch(/^1\.\.22$/m);
  }, 120_000);
});
