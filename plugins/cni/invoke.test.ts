import { describe, expect, it } from "vitest";
import { parseConflist } from "./conflist.ts";
import { MemoryFiles } from "./files-memory.ts";
import type { Exec, ExecOutcome, ExecRequest } from "./host.ts";
import { CniRuntime } from "./invoke.ts";
import type { JsonObject } from "./types.ts";

type Call = {
  readonly type: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  readonly conf: JsonObject;
};

/** Plugins that note their calls and answer with one address more than they were given. */
class ScriptedExec implements Exec {
  readonly calls: Call[] = [];
  /** "type COMMAND" → an error object. */
  readonly failures = new Map<string, JsonObject>();

  async run(request: ExecRequest): Promise<ExecOutcome> {
    const command = request.env.CNI_COMMAND ?? "";
    const conf = JSON.parse(request.stdin) as JsonObject;
    this.calls.push({ type: request.type, command, env: request.env, conf });
    const failure = this.failures.get(`${request.type} ${command}`);
    if (failure !== undefined) return { exitCode: 1, stdout: JSON.stringify(failure), stderr: "" };
    if (command === "VERSION")
      return { exitCode: 0, stdout: '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.1.0"]}', stderr: "" };
    if (command !== "ADD") return { exitCode: 0, stdout: "", stderr: "" };
    const prev = (conf.prevResult as JsonObject | undefined)?.ips ?? [];
    const ips = [...(prev as JsonObject[]), { address: `10.1.0.${(prev as JsonObject[]).length + 2}/24` }];
    return {
      exitCode: 0,
      stdout: JSON.stringify({ cniVersion: conf.cniVersion, ips, dns: {} }),
      stderr: `log of ${request.type}`,
    };
  }

  order(): string[] {
    return this.calls.map(({ type, command }) => `${command} ${type}`);
  }
}

function setUp(more: JsonObject = {}) {
  const exec = new ScriptedExec();
  const files = new MemoryFiles();
  const warnings: string[] = [];
  const list = parseConflist(
    JSON.stringify({
      cniVersion: "1.1.0",
      name: "net",
      plugins: [{ type: "first" }, { type: "second", capabilities: { portMappings: true } }],
      ...more,
    }),
  );
  const runtime = new CniRuntime({
    exec,
    files,
    path: "/opt/a:/opt/b",
    env: { HOME: "/root" },
    warn: (text) => warnings.push(text),
  });
  return { exec, files, list, runtime, warnings };
}

const POD = {
  containerId: "c1",
  netns: "/run/netns/a",
  ifname: "eth0",
  args: [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAME", "web"],
  ],
  capabilityArgs: { portMappings: [{ hostPort: 80, containerPort: 8080 }], mac: "0a:00:00:00:00:01" },
} as const;

describe("a runtime", () => {
  it("adds in order, each plugin with the result of the one before", async () => {
    const { exec, list, runtime, warnings } = setUp();
    const result = await runtime.add(list, POD);
    expect(exec.order()).toEqual(["ADD first", "ADD second"]);
    expect(result.ips.map((ip) => ip.address)).toEqual(["10.1.0.2/24", "10.1.0.3/24"]);
    expect(exec.calls[0]?.conf).toEqual({ type: "first", cniVersion: "1.1.0", name: "net" });
    expect(exec.calls[1]?.conf).toEqual({
      type: "second",
      cniVersion: "1.1.0",
      name: "net",
      runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 8080 }] },
      prevResult: { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }], dns: {} },
    });
    expect(exec.calls[0]?.env).toEqual({
      HOME: "/root",
      CNI_COMMAND: "ADD",
      CNI_PATH: "/opt/a:/opt/b",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/a",
      CNI_IFNAME: "eth0",
      CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=web",
    });
    expect(warnings).toEqual(["log of first", "log of second"]);
  });

  it("deletes in reverse with the cached result, and forgets it", async () => {
    const { exec, files, list, runtime } = setUp();
    await runtime.add(list, POD);
    expect(await files.list("/var/lib/cni/results")).toEqual(["net-c1-eth0"]);
    exec.calls.length = 0;
    await runtime.del(list, POD);
    expect(exec.order()).toEqual(["DEL second", "DEL first"]);
    for (const { conf } of exec.calls) expect((conf.prevResult as JsonObject).ips).toHaveLength(2);
    expect(await files.list("/var/lib/cni/results")).toEqual([]);
    exec.calls.length = 0;
    await runtime.del(list, POD);
    expect(exec.calls[0]?.conf.prevResult).toBeUndefined();
  });

  it("gives no prevResult to DEL before 0.4.0", async () => {
    const { exec, list, runtime } = setUp({ cniVersion: "0.3.1" });
    await runtime.add(list, POD);
    await runtime.del(list, POD);
    expect(exec.calls.filter((c) => c.command === "DEL").map((c) => c.conf.prevResult)).toEqual([undefined, undefined]);
  });

  it("undoes an ADD that failed in the middle, and throws its error with its code", async () => {
    const { exec, files, list, runtime, warnings } = setUp();
    exec.failures.set("second ADD", { cniVersion: "1.1.0", code: 11, msg: "later", details: "busy" });
    exec.failures.set("second DEL", { cniVersion: "1.1.0", code: 5, msg: "disk" });
    await expect(runtime.add(list, POD)).rejects.toMatchObject({ code: 11, msg: "later", details: "busy" });
    expect(exec.order()).toEqual(["ADD first", "ADD second", "DEL second", "DEL first"]);
    expect(await files.list("/var/lib/cni/results")).toEqual([]);
    expect(warnings).toContain("undo of ADD: disk");
  });

  it("keeps the cached result when DEL fails, for the next try", async () => {
    const { exec, list, runtime } = setUp();
    await runtime.add(list, POD);
    exec.failures.set("first DEL", { code: 100, msg: "no" });
    await expect(runtime.del(list, POD)).rejects.toMatchObject({ code: 100 });
    expect(await runtime.cachedResult("net", POD)).toBeDefined();
  });

  it("checks with the cached result, and not where that is disabled or unknown", async () => {
    const { exec, list, runtime } = setUp();
    await expect(runtime.check(list, POD)).rejects.toThrow("no cached result of network net");
    await runtime.add(list, POD);
    exec.calls.length = 0;
    await runtime.check(list, POD);
    expect(exec.order()).toEqual(["CHECK first", "CHECK second"]);
    exec.calls.length = 0;
    await runtime.check({ ...list, disableCheck: true }, POD);
    await runtime.check({ ...list, cniVersion: "0.3.1" }, POD);
    expect(exec.calls).toEqual([]);
  });

  it("collects: deletes cached attachments that are not listed, then tells the plugins what is", async () => {
    const { exec, files, list, runtime } = setUp();
    await runtime.add(list, POD);
    await runtime.add(list, { ...POD, containerId: "c2" });
    await files.write("/var/lib/cni/results/net-junk", "{oops");
    exec.calls.length = 0;
    exec.failures.set("first GC", { code: 100, msg: "one" });
    exec.failures.set("second GC", { code: 5, msg: "two" });
    await expect(runtime.gc(list, [{ containerId: "c2", ifname: "eth0" }])).rejects.toMatchObject({
      code: 100,
      msg: "one (and 1 more)",
      details: "one; two",
    });
    expect(exec.order()).toEqual(["DEL second", "DEL first", "GC first", "GC second"]);
    expect(exec.calls[0]?.env.CNI_CONTAINERID).toBe("c1");
    expect(exec.calls[0]?.conf.runtimeConfig).toEqual({ portMappings: [{ hostPort: 80, containerPort: 8080 }] });
    expect(exec.calls[2]?.conf["cni.dev/valid-attachments"]).toEqual([{ containerID: "c2", ifname: "eth0" }]);
    expect(exec.calls[2]?.env.CNI_CONTAINERID).toBeUndefined();
  });

  it("collects nothing where that is disabled", async () => {
    const { exec, list, runtime } = setUp({ disableGC: true });
    await runtime.gc(list, []);
    expect(exec.calls).toEqual([]);
  });

  it("asks every plugin for its status, and before 1.1.0 none", async () => {
    const { exec, list, runtime } = setUp();
    await runtime.status(list);
    await runtime.status({ ...list, cniVersion: "1.0.0" });
    expect(exec.order()).toEqual(["STATUS first", "STATUS second"]);
    exec.failures.set("second STATUS", { code: 50, msg: "full" });
    await expect(runtime.status(list)).rejects.toMatchObject({ code: 50 });
  });

  it("knows which versions a plugin speaks, and whether a list can run", async () => {
    const { list, runtime } = setUp();
    expect(await runtime.version("first")).toEqual(["0.4.0", "1.1.0"]);
    await expect(runtime.validate(list)).resolves.toBeUndefined();
    await expect(runtime.validate({ ...list, cniVersion: "1.0.0" })).rejects.toThrow(
      'plugin "first": speaks 0.4.0, 1.1.0, expected 1.0.0',
    );
  });

  it.each([
    ["prose", 1, "panic: oh", 105, 'plugin "first": exit code 1 without an error object: panic: oh'],
    ["no JSON", 0, "fine", 105, 'plugin "first": its answer is not a JSON object: fine'],
    [
      "another version",
      0,
      '{"cniVersion":"0.4.0"}',
      105,
      'plugin "first": answered in version "0.4.0", expected 1.1.0',
    ],
  ])("reports a plugin that answers with %s", async (_, exitCode, stdout, code, message) => {
    const { list } = setUp();
    const exec: Exec = {
      run: async ({ env }) => ({ exitCode: env.CNI_COMMAND === "ADD" ? exitCode : 0, stdout, stderr: "" }),
    };
    const runtime = new CniRuntime({ exec, files: new MemoryFiles() });
    await expect(runtime.add(list, POD)).rejects.toMatchObject({ code, message });
  });
});
