/** What README says about plugins by hand: a running emulator, a sandbox, and the executables with environment and stdin. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { podwire, ROOT } from "../support/podwire.ts";

let dir = "";
let run = "";
let emulator: ChildProcess;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "podwire-cni-"));
  run = join(dir, "run");
  podwire(["--help"]); // builds, if nothing is built
  emulator = spawn(`${ROOT}podwire`, ["up", "-f", "examples/shop", "--nodes", "1", "--run", run], { cwd: ROOT });
  await new Promise<void>((ready, failed) => {
    let said = "";
    emulator.stdout?.on("data", (text: Buffer) => {
      said += text.toString();
      if (said.includes("ready")) ready();
    });
    emulator.once("exit", (code) => failed(new Error(`podwire up ended with ${code}: ${said}`)));
  });
});

afterAll(async () => {
  if (emulator.exitCode === null) {
    const ended = new Promise((done) => emulator.once("exit", done));
    emulator.kill("SIGTERM");
    await ended;
  }
  rmSync(dir, { recursive: true, force: true });
});

function cni(command: string, netns: string, conf: object): { code: number | null; out: Record<string, unknown> } {
  const plugin = `${ROOT}dist/cni/${(conf as { type: string }).type}`;
  const { status, stdout } = spawnSync(plugin, [], {
    input: JSON.stringify(conf),
    encoding: "utf8",
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: "by-hand",
      CNI_NETNS: netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: `${ROOT}dist/cni`,
    },
  });
  return { code: status, out: stdout === "" ? {} : JSON.parse(stdout) };
}

describe("CNI executables against a running emulator", () => {
  it("ADD wires a sandbox, CHECK finds it so, DEL takes it away, and nothing stays", () => {
    const added = podwire(["netns", "add", "blue", "--run", run]);
    expect(added.stderr).toBe("");
    const netns = added.stdout.trim();
    expect(netns).toBe(join(run, "netns", "blue"));
    const conf = {
      cniVersion: "1.1.0",
      name: "by-hand",
      type: "bridge",
      bridge: "br-hand",
      isDefaultGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", subnet: "10.50.0.0/24", dataDir: join(dir, "leases") },
    };

    const add = cni("ADD", netns, conf);
    expect(add.code).toBe(0);
    expect(add.out).toMatchObject({
      cniVersion: "1.1.0",
      ips: [{ address: "10.50.0.2/24", gateway: "10.50.0.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.50.0.1" }],
    });
    const shown = podwire(["netns", "show", "blue", "--run", run]).stdout;
    expect(shown).toMatch(/eth0 +veth +UP .*10\.50\.0\.2\/24/);
    expect(shown).toContain("route default via 10.50.0.1 dev eth0");

    const prevResult = add.out;
    expect(cni("CHECK", netns, { ...conf, prevResult })).toEqual({ code: 0, out: {} });
    expect(cni("DEL", netns, { ...conf, prevResult })).toEqual({ code: 0, out: {} });
    expect(cni("CHECK", netns, { ...conf, prevResult }).code).not.toBe(0);
    expect(cni("DEL", netns, { ...conf, prevResult }).code).toBe(0);
    const leases = readdirSync(join(dir, "leases", "by-hand")).filter((name) => /^[0-9.]+$/.test(name));
    expect(leases).toEqual([]);
    expect(podwire(["netns", "show", "blue", "--run", run]).stdout).not.toContain("eth0");
    expect(podwire(["netns", "del", "blue", "--run", run]).code).toBe(0);
    expect(existsSync(netns)).toBe(false);
  });

  it("says no with a CNI error where there is no such sandbox", () => {
    const { code, out } = cni("ADD", join(run, "netns", "nobody"), { cniVersion: "1.0.0", name: "n", type: "bridge" });
    expect(code).not.toBe(0);
    expect(out).toMatchObject({ cniVersion: "1.0.0", msg: expect.stringContaining("nobody") });
  });

  it("leaves nothing behind when it is interrupted", async () => {
    const ended = new Promise((done) => emulator.once("exit", done));
    emulator.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(existsSync(run)).toBe(false);
  });
});
