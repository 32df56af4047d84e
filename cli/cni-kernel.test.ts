/**
 * The executables on the kernel, as a runtime starts them: compiled and under Node, in a namespace that stands for the
 * host (nsenter puts the plugin there). What the plugins do is tested without processes; here it is that they do it.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ThrowAway, throwAwayKernel } from "../backend/kernel/throw-away.ts";
import type { JsonObject } from "../plugins/cni/types.ts";
import { missing } from "../test/support/needs.ts";

const reason = missing("root", "netns", "iptables-restore", "nsenter", "bash");
const ROOT = join(import.meta.dirname, "..");

let built = "";
beforeAll(() => {
  if (reason !== null) return;
  built = mkdtempSync(join(tmpdir(), "podwire-built-"));
  execFileSync(process.execPath, [join(ROOT, "scripts/build-cni.mjs"), built], { stdio: "pipe" });
});
afterAll(() => rmSync(built || "/nonexistent", { recursive: true, force: true }));

type Ran = { readonly status: number | null; readonly answer: JsonObject; readonly stdout: string };

describe.each(["cni", "cni-node"])("the executables of %s on the kernel", (form) => {
  let kernel: ThrowAway;
  let dir = "";
  let pod = "";
  beforeEach(async () => {
    if (reason !== null) return;
    kernel = await throwAwayKernel();
    pod = await kernel.backend.addNetns("pod");
    dir = mkdtempSync(join(tmpdir(), "podwire-cni-kernel-"));
  });
  afterEach(async () => {
    if (reason !== null) return;
    await kernel.dispose();
    rmSync(dir, { recursive: true, force: true });
  });

  function run(plugin: string, command: string, conf: JsonObject, env: Readonly<Record<string, string>> = {}): Ran {
    const { status, stdout } = spawnSync("nsenter", [`--net=${kernel.host}`, join(built, form, plugin)], {
      env: {
        PATH: process.env.PATH ?? "",
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c1",
        CNI_NETNS: pod,
        CNI_IFNAME: "eth0",
        CNI_PATH: join(built, form),
        ...env,
      },
      input: JSON.stringify(conf),
      encoding: "utf8",
    });
    return { status, stdout, answer: stdout === "" ? {} : (JSON.parse(stdout) as JsonObject) };
  }

  const bridge = (more: JsonObject = {}): JsonObject => ({
    cniVersion: "1.1.0",
    name: "net",
    type: "bridge",
    isDefaultGateway: true,
    ipMasq: true,
    ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00:1::/64" }]], dataDir: dir },
    ...more,
  });
  const names = () => (existsSync(join(dir, "net")) ? readdirSync(join(dir, "net")) : []);
  const leases = () => names().filter((name) => /^[\da-f]+[.:]/.test(name));

  it("wire, check and unwire a container, and forward its ports", async ({ skip }) => {
    skip(reason !== null, reason ?? "");
    expect(run("loopback", "ADD", { cniVersion: "1.1.0", name: "lo", type: "loopback" })).toMatchObject({ status: 0 });
    const added = run("bridge", "ADD", bridge());
    expect(added).toMatchObject({ status: 0, answer: { cniVersion: "1.1.0" } });
    const portmap = {
      cniVersion: "1.1.0",
      name: "net",
      type: "portmap",
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
      prevResult: added.answer,
    };
    expect(run("portmap", "ADD", portmap)).toMatchObject({ status: 0, answer: added.answer });
    expect(run("bridge", "CHECK", bridge({ prevResult: added.answer }))).toEqual({ status: 0, stdout: "", answer: {} });
    expect(run("portmap", "CHECK", portmap)).toEqual({ status: 0, stdout: "", answer: {} });
    expect((await kernel.backend.links(pod)).map((l) => l.name)).toEqual(["lo", "eth0"]);
    // nobody listens there, and says so: the way to the gateway and back is open
    const connect = ["bash", "-c", "exec 3<>/dev/tcp/10.1.0.1/9"];
    expect(spawnSync("nsenter", [`--net=${pod}`, ...connect], { encoding: "utf8" }).stderr).toContain("refused");
    expect(leases().sort()).toEqual(["10.1.0.2", "fd00:1::2"]);

    expect(run("portmap", "DEL", portmap)).toEqual({ status: 0, stdout: "", answer: {} });
    for (let i = 0; i < 2; i++)
      expect(run("bridge", "DEL", bridge({ prevResult: added.answer }))).toEqual({ status: 0, stdout: "", answer: {} });
    expect((await kernel.backend.links(pod)).map((l) => l.name)).toEqual(["lo"]);
    expect(leases()).toEqual([]);
    for (const family of ["ipv4", "ipv6"] as const)
      expect(await kernel.backend.iptablesSave("host", family)).not.toMatch(/CNI-(?:DN-)?[0-9a-f]{21}/);
  });

  it("clean up with a namespace that is gone, and without one", ({ skip }) => {
    skip(reason !== null, reason ?? "");
    for (const netns of ["", join(dir, "gone")]) {
      expect(run("bridge", "ADD", bridge()).status).toBe(0);
      execFileSync("nsenter", [`--net=${pod}`, "ip", "link", "del", "eth0"]);
      expect(run("bridge", "DEL", bridge(), { CNI_NETNS: netns })).toEqual({ status: 0, stdout: "", answer: {} });
      expect(leases()).toEqual([]);
      const rules = execFileSync("nsenter", [`--net=${kernel.host}`, "iptables-save", "-t", "nat"], {
        encoding: "utf8",
      });
      expect(rules).not.toContain("MASQUERADE");
    }
  });

  it("leave nothing of an ADD that failed, and refuse the host's own namespace", async ({ skip }) => {
    skip(reason !== null, reason ?? "");
    expect(run("bridge", "ADD", bridge(), { CNI_NETNS: kernel.host }).answer).toMatchObject({ code: 8 });
    execFileSync("nsenter", [`--net=${pod}`, "ip", "link", "add", "eth0", "type", "bridge"]);
    expect(run("bridge", "ADD", bridge()).answer).toMatchObject({ cniVersion: "1.1.0", code: 101 });
    expect(leases()).toEqual([]);
    expect((await kernel.backend.links("host")).map((l) => l.name)).toEqual(["lo"]);
  });

  it("run a delegate that is another's as a child, and one of ours as if it were", ({ skip }) => {
    skip(reason !== null, reason ?? "");
    const foreign = join(dir, "foreign");
    mkdirSync(foreign);
    writeFileSync(
      join(foreign, "host-local"),
      '#!/bin/sh\ncat >/dev/null\necho \'{"cniVersion":"1.1.0","code":123,"msg":"not today"}\'\nexit 1\n',
      { mode: 0o755 },
    );
    const path = `${foreign}:${join(built, form)}`;
    expect(run("bridge", "ADD", bridge(), { CNI_PATH: path }).answer).toMatchObject({ code: 123, msg: "not today" });
    const unknown = run("bridge", "ADD", bridge({ ipam: { type: "none" } }));
    expect(unknown.answer).toMatchObject({ code: 105, msg: expect.stringContaining('plugin "none": not found in') });
  });

  it("share a network among many processes", ({ skip }) => {
    skip(reason !== null, reason ?? "");
    const script = join(dir, "many.sh");
    writeFileSync(
      script,
      `for i in $(seq 12); do (
        CNI_CONTAINERID=m$i "$1" <"$2" >"$3/out.$i" 2>&1 || echo "failed: $(cat "$3/out.$i")" >>"$3/failed") & done; wait`,
    );
    writeFileSync(join(dir, "conf"), JSON.stringify(bridge({ type: "host-local" })));
    const program = join(built, form, "host-local");
    const { status } = spawnSync("sh", [script, program, join(dir, "conf"), dir], {
      env: {
        PATH: process.env.PATH ?? "",
        CNI_COMMAND: "ADD",
        CNI_NETNS: pod,
        CNI_IFNAME: "eth0",
        CNI_PATH: join(built, form),
      },
    });
    expect(status).toBe(0);
    expect(existsSync(join(dir, "failed"))).toBe(false);
    expect(leases()).toHaveLength(24);
  });
});
