import { describe, expect, it } from "vitest";
import { loadConflists, parseConflist, parseSingleConf } from "./conflist.ts";
import { MemoryFiles } from "./files-memory.ts";
import type { JsonObject } from "./types.ts";

const LIST = {
  cniVersion: "0.3.1",
  name: "cbr0",
  plugins: [
    { type: "flannel", delegate: {} },
    { type: "portmap", capabilities: { portMappings: true, bandwidth: false } },
  ],
};

describe("a configuration list", () => {
  it("is read", () => {
    expect(parseConflist(JSON.stringify(LIST))).toMatchObject({
      name: "cbr0",
      cniVersion: "0.3.1",
      disableCheck: false,
      disableGc: false,
      plugins: [
        { type: "flannel", capabilities: [] },
        { type: "portmap", capabilities: ["portMappings"] },
      ],
    });
  });

  it("may write flags as text", () => {
    expect(parseConflist(JSON.stringify({ ...LIST, disableCheck: "true", disableGC: true }))).toMatchObject({
      disableCheck: true,
      disableGc: true,
    });
  });

  it("offers versions, of which the newest that we speak wins", () => {
    const offer = (cniVersion: string | undefined, cniVersions: string[]) =>
      parseConflist(JSON.stringify({ ...LIST, cniVersion, cniVersions })).cniVersion;
    expect(offer(undefined, ["0.4.0", "1.0.0", "2.0.0"])).toBe("1.0.0");
    expect(offer("1.1.0", ["0.4.0"])).toBe("1.1.0");
  });

  it.each<[string, string | JsonObject, number, string]>([
    ["text that is no JSON", "{", 6, "10-x.conflist: not JSON: "],
    ["a list", "[]", 6, "10-x.conflist: found a list, expected a JSON object"],
    [
      "no version",
      { ...LIST, cniVersion: null },
      1,
      "10-x.conflist: cniVersion: found nothing (which means 0.2.0), expected one of 0.3.1",
    ],
    [
      "an unknown version",
      { ...LIST, cniVersion: "2.0.0" },
      1,
      '10-x.conflist: cniVersion: found "2.0.0", expected one of 0.3.1',
    ],
    [
      "a version that is none",
      { ...LIST, cniVersion: "1.0" },
      7,
      '10-x.conflist: cniVersion: found "1.0", expected a version such as 1.0.0',
    ],
    ["no name", { ...LIST, name: "" }, 7, '10-x.conflist: name: found "", expected letters'],
    ["no plugins", { ...LIST, plugins: [] }, 7, "10-x.conflist: plugins: found [], expected at least one plugin"],
    [
      "a single configuration",
      { cniVersion: "1.0.0", name: "a", type: "bridge" },
      7,
      "10-x.conflist: plugins: found nothing, expected a list of plugins; this is a single configuration",
    ],
    [
      "a plugin without a type",
      { ...LIST, plugins: [{}] },
      7,
      "10-x.conflist: plugins[0].type: found nothing, expected the name of a plugin",
    ],
    [
      "a plugin by path",
      { ...LIST, plugins: [{ type: "../x" }] },
      7,
      '10-x.conflist: plugins[0].type: found "../x", expected the name of a plugin, not a path',
    ],
    [
      "a capability that is no flag",
      { ...LIST, plugins: [{ type: "a", capabilities: { ips: 1 } }] },
      7,
      "10-x.conflist: plugins[0].capabilities.ips: found 1, expected true or false",
    ],
    [
      "a flag that is none",
      { ...LIST, disableCheck: "maybe" },
      7,
      '10-x.conflist: disableCheck: found "maybe", expected true or false',
    ],
  ])("is refused with %s", (_, value, code, message) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    let caught: unknown;
    try {
      parseConflist(text, "10-x.conflist");
    } catch (error) {
      caught = error;
    }
    expect(caught).toMatchObject({ code, msg: expect.stringContaining(message) });
  });

  it("of one plugin may be a single configuration before 1.0.0", () => {
    expect(parseSingleConf('{"cniVersion":"0.4.0","name":"a","type":"bridge"}').plugins).toHaveLength(1);
    expect(() => parseSingleConf('{"cniVersion":"1.0.0","name":"a","type":"bridge"}')).toThrow(
      "version 1.0.0 has no single configurations",
    );
  });

  it("is found in a directory, in the order of names", async () => {
    const files = new MemoryFiles();
    await files.write("/etc/cni/net.d/20-b.conf", '{"cniVersion":"0.4.0","name":"b","type":"bridge"}');
    await files.write("/etc/cni/net.d/10-a.conflist", JSON.stringify(LIST));
    await files.write("/etc/cni/net.d/README", "no list");
    expect((await loadConflists(files, "/etc/cni/net.d")).map((list) => list.name)).toEqual(["cbr0", "b"]);
    expect(await loadConflists(files, "/etc/none")).toEqual([]);
  });
});
