import { spawn } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { FakeBackend } from "../backend/fake.ts";
import { writeSandboxFile } from "../backend/sandbox-file.ts";
import { type BackendServer, serve } from "../backend/socket-server.ts";
import { parseConflist } from "../plugins/cni/conflist.ts";
import { ChildExec } from "../plugins/cni/exec-child.ts";
import { MemoryFiles } from "../plugins/cni/files-memory.ts";
import { CniRuntime } from "../plugins/cni/invoke.ts";
import type { JsonObject } from "../plugins/cni/types.ts";

let bin = "";
beforeAll(async () => {
  bin = mkdtempSync(join(tmpdir(), "podwire-cni-"));
  const outfile = join(bin, "bridge");
  await build({
    entryPoints: [join(import.meta.dirname, "cni-plugin.ts")],
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    outfile,
    banner: { js: `#!${process.execPath}` },
    logLevel: "error",
  });
  chmodSync(outfile, 0o755);
  for (const name of ["host-local", "loopback", "flannel", "portmap", "no-such-plugin"])
    symlinkSync(outfile, join(bin, name));
});
afterAll(() => rmSync(bin, { recursive: true, force: true }));

let dir = "";
let fake: FakeBackend;
let server: BackendServer;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "podwire-cni-node-"));
  fake = new FakeBackend();
  server = await serve(fake, join(dir, "node.sock"));
});
afterEach(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function sandbox(name: string): Promise<string> {
  const path = join(dir, name);
  await writeSandboxFile(path, { socket: server.path, netns: await fake.addNetns(name) });
  return path;
}

type Ran = { code: number | null; stdout: string; stderr: string; answer: JsonObject };

function run(plugin: string, env: Record<string, string>, conf: JsonObject | undefined): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(join(bin, plugin), [], { env: { CNI_PATH: bin, ...env } });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (part) => {
      stdout += part;
    });
    child.stderr.on("data", (part) => {
      stderr += part;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr, answer: stdout === "" ? {} : JSON.parse(stdout) }));
    child.stdin.end(conf === undefined ? "" : JSON.stringify(conf));
  });
}

const conf = (more: JsonObject = {}): JsonObject => ({
  cniVersion: "1.1.0",
  name: "net",
  type: "bridge",
  isGateway: true,
  ipMasq: true,
  ipam: { type: "host-local", subnet: "10.1.0.0/24", dataDir: join(dir, "leases") },
  ...more,
});
const leases = () => readdirSync(join(dir, "leases/net")).filter((name) => /^\d/.test(name));

describe("the CNI executable", () => {
  it("wires a sandbox that a podwire file names, and unwires it", async () => {
    const netns = await sandbox("pod");
    const env = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", CNI_NETNS: netns };
    const added = await run("bridge", { ...env, CNI_COMMAND: "ADD" }, conf());
    expect(added).toMatchObject({ code: 0, stderr: "" });
    expect(added.answer.ips).toEqual([{ interface: 2, address: "10.1.0.2/24", gateway: "10.1.0.1" }]);
    expect((added.answer.interfaces as JsonObject[])[2]).toMatchObject({ name: "eth0", sandbox: netns });
    expect((await fake.links("/run/netns/pod")).map((l) => l.name)).toEqual(["lo", "eth0"]);
    expect(readFileSync(join(dir, "leases/net/10.1.0.2"), "utf8")).toBe("c1\r\neth0");
    const checked = await run("bridge", { ...env, CNI_COMMAND: "CHECK" }, conf({ prevResult: added.answer }));
    expect(checked).toMatchObject({ code: 0, stdout: "" });
    const deleted = await run("bridge", { ...env, CNI_COMMAND: "DEL" }, conf({ prevResult: added.answer }));
    expect(deleted).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect((await fake.links("/run/netns/pod")).map((l) => l.name)).toEqual(["lo"]);
    expect(leases()).toEqual([]);
  });

  it("finds the rules to clean by configuration or variable when the sandbox is gone", async () => {
    const env = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0" };
    for (const [i, more, extra] of [
      [0, { podwire: { socket: server.path } }, {}],
      [1, {}, { PODWIRE_SOCKET: server.path }],
    ] as const) {
      const netns = await sandbox(`pod-${i}`);
      await run("bridge", { ...env, CNI_COMMAND: "ADD", CNI_NETNS: netns }, conf());
      expect(await fake.iptablesSave("host", "ipv4")).toContain("MASQUERADE");
      await fake.delNetns(`/run/netns/pod-${i}`);
      rmSync(netns);
      expect(await run("bridge", { ...env, ...extra, CNI_COMMAND: "DEL" }, conf(more))).toMatchObject({
        code: 0,
        stderr: "",
      });
      expect(await fake.iptablesSave("host", "ipv4")).not.toContain("MASQUERADE");
    }
  });

  it("releases the address although no data plane is left", async () => {
    const netns = await sandbox("pod");
    const env = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", CNI_NETNS: netns };
    await run("bridge", { ...env, CNI_COMMAND: "ADD" }, conf());
    await server.close();
    const deleted = await run("bridge", { ...env, CNI_COMMAND: "DEL" }, conf());
    expect(deleted).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("goes on without a data plane"),
    });
    expect(leases()).toEqual([]);
    const refused = await run("bridge", { ...env, CNI_COMMAND: "ADD" }, conf());
    expect(refused).toMatchObject({ code: 1, answer: { code: 11, details: "is the emulator running?" } });
    server = await serve(fake, join(dir, "node.sock"));
  });

  it("lets many processes share the leases of a network", async () => {
    const count = 8;
    const paths = await Promise.all(Array.from({ length: count }, (_, i) => sandbox(`many-${i}`)));
    const ran = await Promise.all(
      paths.map((netns, i) =>
        run("bridge", { CNI_COMMAND: "ADD", CNI_CONTAINERID: `m${i}`, CNI_IFNAME: "eth0", CNI_NETNS: netns }, conf()),
      ),
    );
    expect(ran.map((r) => r.answer.msg)).toEqual(new Array(count).fill(undefined));
    expect(leases()).toHaveLength(count);
    expect(readdirSync(join(dir, "leases/net")).filter((name) => name.startsWith("podwire"))).toEqual([]);
  });

  it("runs as a child of a runtime, a whole list", async () => {
    const netns = await sandbox("pod");
    const env = join(dir, "subnet.env");
    writeFileSync(
      env,
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    const list = parseConflist(
      JSON.stringify({
        cniVersion: "0.3.1",
        name: "cbr0",
        plugins: [
          {
            type: "flannel",
            subnetFile: env,
            dataDir: join(dir, "flannel"),
            ipam: { dataDir: join(dir, "leases") },
            delegate: { hairpinMode: true, isDefaultGateway: true },
          },
          { type: "portmap", capabilities: { portMappings: true } },
        ],
      }),
    );
    const runtime = new CniRuntime({ exec: new ChildExec(), files: new MemoryFiles(), path: `/nowhere:${bin}` });
    const attachment = {
      containerId: "c1",
      netns,
      ifname: "eth0",
      capabilityArgs: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
    };
    await runtime.validate(list);
    const result = await runtime.add(list, attachment);
    expect(result.ips.map((ip) => ip.address)).toEqual(["10.244.3.2/24"]);
    expect(await fake.iptablesSave("host", "ipv4")).toContain("--to-destination 10.244.3.2:80");
    await runtime.del(list, attachment);
    expect(await fake.iptablesSave("host", "ipv4")).not.toContain("--to-destination");
    expect(readdirSync(join(dir, "flannel"))).toEqual([]);
    const missing = parseConflist('{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"none"}]}');
    await expect(runtime.add(missing, attachment)).rejects.toMatchObject({
      code: 105,
      msg: `plugin "none": not found in /nowhere:${bin}`,
    });
  });

  it("says what it is when started by hand, and what it is not", async () => {
    expect(await run("portmap", {}, undefined)).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("portmap: forwards ports"),
    });
    expect(
      await run("no-such-plugin", { PODWIRE_PLUGIN: "host-local", CNI_COMMAND: "VERSION" }, undefined),
    ).toMatchObject({ code: 0 });
  });

  it("refuses what is no sandbox, and the host's own namespace", async ({ skip }) => {
    skip(process.platform !== "linux", "needs Linux");
    const env = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0" };
    const refuse = async (netns: string) => (await run("bridge", { ...env, CNI_NETNS: netns }, conf())).answer;
    expect(await refuse("/proc/self/ns/net")).toMatchObject({ code: 8 });
    expect(await refuse(join(dir, "none"))).toMatchObject({ code: 8 });
    mkdirSync(join(dir, "text"));
    expect(await refuse(join(dir, "text"))).toMatchObject({ code: 8 });
    expect(() => leases()).toThrow("ENOENT");
  });
});
