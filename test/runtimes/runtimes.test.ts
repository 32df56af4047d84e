/** Real runtimes on the plugins: the scripts beside this file, as root and where the packages are installed. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { missing } from "../support/needs.ts";
import { ROOT } from "../support/podwire.ts";

const NEEDS = ["root", "netns", "iptables-restore", "ip", "busybox"] as const;

let built = "";
beforeAll(() => {
  if (missing(...NEEDS) !== null) return;
  built = mkdtempSync(join(tmpdir(), "podwire-runtimes-"));
  execFileSync(process.execPath, [join(ROOT, "scripts/build-cni.mjs"), built], { stdio: "pipe" });
});
afterAll(() => rmSync(built || "/nonexistent", { recursive: true, force: true }));

/** Runs a script in namespaces of its own; it must print nothing but successes, and so many. */
function passes(script: string, plugins: string, count: number): void {
  const args = ["-n", "-m", "--propagation", "private", join(import.meta.dirname, script), plugins];
  const { status, stdout } = spawnSync("unshare", args, { encoding: "utf8" });
  expect(stdout.split("\n").filter((line) => line.startsWith("not ok"))).toEqual([]);
  expect(status, stdout).toBe(0);
  expect(stdout).toMatch(new RegExp(`^1\\.\\.${count}$`, "m"));
}

describe.each(["cni", "cni-node"])("with the executables of %s", (form) => {
  it("podman makes networks, containers that talk, published ports, and leaves nothing", ({ skip }) => {
    const reason = missing(...NEEDS, "podman", "crun");
    skip(reason !== null, reason ?? "");
    passes("podman.sh", join(built, form), 22);
  }, 120_000);

  it("containerd's ctr runs containers that talk, a published port, and leaves nothing", ({ skip }) => {
    const reason = missing(...NEEDS, "containerd", "ctr", "runc");
    skip(reason !== null, reason ?? "");
    passes("ctr.sh", join(built, form), 23);
  }, 120_000);
});
