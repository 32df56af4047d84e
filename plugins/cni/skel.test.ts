import { describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { StoreError } from "../../ipam/store.ts";
import { CniError } from "./error.ts";
import { memoryHost } from "./host-memory.ts";
import { runPlugin } from "./skel.ts";
import { type CmdArgs, EMPTY_RESULT, type JsonObject, type Plugin } from "./types.ts";

function probe(behave: Partial<Plugin> = {}): { plugin: Plugin; calls: CmdArgs[] } {
  const calls: CmdArgs[] = [];
  const note = async (args: CmdArgs): Promise<void> => {
    calls.push(args);
  };
  const add: Plugin["add"] = async (args) => {
    calls.push(args);
    return EMPTY_RESULT;
  };
  return {
    plugin: { name: "probe", about: "notes calls", add, del: note, check: note, gc: note, status: note, ...behave },
    calls,
  };
}

const warnings: string[] = [];
const host = memoryHost({
  backend: new FakeBackend(),
  plugins: {},
  random: () => 0,
  warn: (text) => warnings.push(text),
});
const ENV = { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/a", CNI_IFNAME: "eth0", CNI_PATH: "/bin", CNI_ARGS: "" };
const CONF = { cniVersion: "1.1.0", name: "net", type: "probe" };

async function run(
  command: string,
  env: Record<string, string> = {},
  conf: JsonObject | string = CONF,
  plugin: Plugin = probe().plugin,
) {
  const stdin = typeof conf === "string" ? conf : JSON.stringify(conf);
  const { exitCode, stdout } = await runPlugin(plugin, { ...ENV, CNI_COMMAND: command, ...env }, stdin, host);
  return { exitCode, stdout, answer: stdout === "" ? undefined : (JSON.parse(stdout) as JsonObject) };
}

describe("a plugin executable", () => {
  it("reports all missing variables together", async () => {
    const { exitCode, answer } = await run("ADD", { CNI_CONTAINERID: "", CNI_NETNS: "", CNI_IFNAME: "" });
    expect(exitCode).toBe(1);
    expect(answer).toEqual({
      cniVersion: "1.1.0",
      code: 4,
      msg: "ADD: missing CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME",
    });
  });

  it.each([
    ["CHECK", "CHECK: missing CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"],
    ["DEL", "DEL: missing CNI_CONTAINERID, CNI_IFNAME"],
    ["GC", "GC: missing CNI_PATH"],
  ])("asks for what %s needs, even if stdin is unreadable", async (command, msg) => {
    const none = { CNI_CONTAINERID: "", CNI_NETNS: "", CNI_IFNAME: "", CNI_PATH: "" };
    expect((await run(command, none, "{oops")).answer).toMatchObject({ code: 4, msg });
  });

  it("needs no variable for STATUS, and no netns for DEL", async () => {
    expect((await run("STATUS", { CNI_CONTAINERID: "", CNI_NETNS: "", CNI_IFNAME: "", CNI_PATH: "" })).exitCode).toBe(
      0,
    );
    expect((await run("DEL", { CNI_NETNS: "", CNI_PATH: "" })).exitCode).toBe(0);
  });

  it("refuses an unknown command", async () => {
    expect((await run("REBOOT")).answer).toMatchObject({
      code: 4,
      msg: 'CNI_COMMAND: found "REBOOT", expected one of ADD, CHECK, DEL, GC, STATUS, VERSION',
    });
  });

  it("introduces itself without a command", async () => {
    const { exitCode, stdout, stderr } = await runPlugin(probe().plugin, {}, "", host);
    expect([exitCode, stdout]).toEqual([0, ""]);
    expect(stderr).toContain("probe: notes calls\nCNI versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0\n");
  });

  it.each([
    ["CNI_CONTAINERID", "-c1"],
    ["CNI_CONTAINERID", "a/b"],
    ["CNI_IFNAME", "a-name-of-16-let"],
    ["CNI_IFNAME", "eth 0"],
    ["CNI_IFNAME", "eth/0"],
    ["CNI_IFNAME", "eth:0"],
    ["CNI_IFNAME", ".."],
  ])("refuses %s %s", async (name, value) => {
    const { answer } = await run("ADD", { [name]: value });
    expect(answer).toMatchObject({ code: 4, msg: expect.stringContaining(`${name}: found "${value}"`) });
  });

  it.each<[string, string | JsonObject, number, string]>([
    ["text that is no JSON", "{oops", 6, "stdin: not JSON"],
    ["JSON that is no object", "[]", 6, "stdin: not a JSON object"],
    [
      "no version",
      { name: "net" },
      1,
      "cniVersion: found nothing (which means 0.2.0), expected one of 0.3.1, 0.4.0, 1.0.0, 1.1.0",
    ],
    ["an unknown version", { name: "net", cniVersion: "9.0.0" }, 1, 'cniVersion: found "9.0.0", expected one of'],
    ["no name", { cniVersion: "1.1.0" }, 7, "name: found nothing, expected letters"],
    ["a bad name", { cniVersion: "1.1.0", name: "../x" }, 7, 'name: found "../x", expected letters'],
    [
      "a bad prevResult",
      { ...CONF, prevResult: { ips: [{ address: "10.1.0.1" }] } },
      7,
      'prevResult.ips[0].address: found "10.1.0.1"',
    ],
  ])("refuses %s", async (_, conf, code, msg) => {
    const { answer } = await run("ADD", {}, conf);
    expect(answer).toMatchObject({ code, msg: expect.stringContaining(msg) });
  });

  it.each([
    ["CHECK", "0.3.1", 'cniVersion: found "0.3.1", expected 0.4.0 or newer for CHECK'],
    ["GC", "1.0.0", 'cniVersion: found "1.0.0", expected 1.1.0 or newer for GC'],
    ["STATUS", "0.4.0", 'cniVersion: found "0.4.0", expected 1.1.0 or newer for STATUS'],
  ])("refuses %s in version %s, and answers in that version", async (command, cniVersion, msg) => {
    expect((await run(command, {}, { ...CONF, cniVersion })).answer).toEqual({ cniVersion, code: 1, msg });
  });

  it("echoes the version for VERSION, and needs neither variables nor stdin", async () => {
    const supportedVersions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    const asked = await runPlugin(probe().plugin, { CNI_COMMAND: "VERSION" }, '{"cniVersion":"0.4.0"}', host);
    expect(JSON.parse(asked.stdout)).toEqual({ cniVersion: "0.4.0", supportedVersions });
    const silent = await runPlugin(probe().plugin, { CNI_COMMAND: "VERSION" }, "", host);
    expect(JSON.parse(silent.stdout)).toEqual({ cniVersion: "1.1.0", supportedVersions });
  });

  it("refuses the host's own namespace, unless told not to", async () => {
    expect((await run("ADD", { CNI_NETNS: "host" })).answer).toMatchObject({
      code: 8,
      msg: expect.stringContaining('CNI_NETNS: found "host"'),
    });
    expect((await run("ADD", { CNI_NETNS: "host", CNI_NETNS_OVERRIDE: "1" })).exitCode).toBe(0);
  });

  it("hands on what it was given", async () => {
    const { plugin, calls } = probe();
    const prevResult = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }], dns: {} };
    await run("ADD", { CNI_ARGS: "A=1" }, { ...CONF, prevResult }, plugin);
    expect(calls[0]).toMatchObject({
      command: "ADD",
      containerId: "c1",
      netns: "/run/netns/a",
      ifname: "eth0",
      args: "A=1",
      path: "/bin",
      name: "net",
      cniVersion: "1.1.0",
    });
    expect(calls[0]?.prevResult).toEqual({ interfaces: [], ips: [{ address: "10.1.0.2/24" }], routes: [], dns: {} });
  });

  it("deletes without a prevResult that it cannot read", async () => {
    const { plugin, calls } = probe();
    expect((await run("DEL", {}, { ...CONF, prevResult: 7 }, plugin)).exitCode).toBe(0);
    expect(calls[0]?.prevResult).toBeUndefined();
    expect(warnings.join()).toContain("DEL goes on without prevResult");
  });

  it("needs the list of attachments for GC", async () => {
    expect((await run("GC")).answer).toMatchObject({
      code: 7,
      msg: "cni.dev/valid-attachments: found nothing, expected a list of attachments",
    });
    const { plugin, calls } = probe();
    await run("GC", {}, { ...CONF, "cni.dev/valid-attachments": [{ containerID: "a", ifname: "eth0" }] }, plugin);
    expect(calls[0]?.validAttachments).toEqual([{ containerId: "a", ifname: "eth0" }]);
  });

  it.each<[string, unknown, JsonObject]>([
    ["a CNI error", new CniError(11, "later", "why"), { code: 11, msg: "later", details: "why" }],
    ["a netlink error", new NetlinkError("EEXIST", "there"), { code: 100, msg: "there", details: "EEXIST" }],
    ["a held lock", new StoreError("LOCKED", "held"), { code: 11, msg: "held" }],
    ["a failed lease file", new StoreError("IO", "full"), { code: 5, msg: "full" }],
    ["a broken invariant", new TypeError("oops"), { code: 100, msg: "oops" }],
  ])("reports %s as an error object on stdout", async (_, thrown, expected) => {
    const { plugin } = probe({ add: () => Promise.reject(thrown) });
    expect((await run("ADD", {}, CONF, plugin)).answer).toEqual({ cniVersion: "1.1.0", ...expected });
  });
});
