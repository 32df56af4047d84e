import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { platform, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parseSandboxFile, readSandbox, writeSandboxFile } from "./sandbox-file.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "podwire-sandbox-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

it("reads back what it wrote", async () => {
  const path = join(dir, "pod");
  await writeSandboxFile(path, { socket: "/run/a.sock", netns: "pod-a" });
  expect(await readSandbox(path)).toEqual({ kind: "podwire", socket: "/run/a.sock", netns: "pod-a" });
});

it("says that a path is missing", async () => {
  expect(await readSandbox(join(dir, "none"))).toEqual({ kind: "missing" });
});

it("knows a namespace of the kernel", async ({ skip }) => {
  skip(platform() !== "linux", "needs Linux");
  expect(await readSandbox("/proc/self/ns/net")).toEqual({ kind: "kernel" });
});

it("refuses other files", async () => {
  const path = join(dir, "text");
  writeFileSync(path, "hello");
  await expect(readSandbox(path)).rejects.toThrow(`sandbox ${path}: neither a network namespace nor a podwire file`);
  await expect(readSandbox(dir)).rejects.toThrow("neither a network namespace nor a podwire file");
});

it.each([
  ['{"podwire":2}', "podwire: found 2, expected 1"],
  ['{"socket":"/a"}', "podwire: found nothing, expected 1"],
  ['{"podwire":1,"socket":"a"}', 'socket: found "a", expected an absolute path'],
  ['{"podwire":1,"socket":"/a"}', "netns: found nothing, expected a name"],
])("refuses %s", (text, message) => {
  expect(() => parseSandboxFile(text, "f")).toThrow(`sandbox f: ${message}`);
});
