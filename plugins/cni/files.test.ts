import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MemoryFiles } from "./files-memory.ts";
import { NodeFiles } from "./files-node.ts";
import type { Files } from "./host.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "podwire-files-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const makers: [string, () => Files][] = [
  ["MemoryFiles", () => new MemoryFiles()],
  ["NodeFiles", () => new NodeFiles()],
];
describe.each(makers)("%s", (_, open) => {
  it("writes, replaces, reads, lists and removes", async () => {
    const files = open();
    const path = join(root, "a/b/file");
    expect(await files.read(path)).toBeUndefined();
    expect(await files.list(join(root, "a/b"))).toEqual([]);
    await files.write(path, "one");
    await files.write(path, "two");
    await files.write(join(root, "a/b/another"), "x");
    expect(await files.read(path)).toBe("two");
    expect(await files.list(join(root, "a/b"))).toEqual(["another", "file"]);
    expect(await files.list(join(root, "a"))).toEqual(["b"]);
    await files.remove(path);
    await files.remove(path);
    expect(await files.list(join(root, "a/b"))).toEqual(["another"]);
  });
});

it("NodeFiles keeps private files private and leaves no drafts", async () => {
  const path = join(root, "state/c1");
  await new NodeFiles().write(path, "secret", 0o600);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(root, "state")).mode & 0o777).toBe(0o700);
  expect(readdirSync(join(root, "state"))).toEqual(["c1"]);
});
