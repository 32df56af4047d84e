/** Conventions that the linter cannot check. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ROOT } from "./support/podwire.ts";

const ROOMS = ["dataplane", "backend", "ipam", "plugins", "cluster", "library", "cli", "bench", "test"];

function files(room: string): string[] {
  return readdirSync(`${ROOT}${room}`, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${room}/${name}`);
}

const all = ROOMS.flatMap(files);
const code = (path: string): string => readFileSync(`${ROOT}${path}`, "utf8");

describe("conventions", () => {
  it("finds the files that it is about", () => {
    expect(all.length).toBeGreaterThan(200);
  });

  it("chance comes from a seed: Math.random is nowhere but in the edge of cli/ and in tests", () => {
    const allowed = (path: string): boolean =>
      path.startsWith("cli/") || path.startsWith("test/") || path.endsWith(".test.ts");
    expect(all.filter((path) => !allowed(path) && code(path).includes("Math.random"))).toEqual([]);
  });

  it("every protocol of the wire formats has its test beside it", () => {
    const wire = all.filter(
      (path) => path.startsWith("dataplane/wire/") && !path.endsWith(".test.ts") && !path.endsWith(".d.ts"),
    );
    const protocols = wire.filter((path) => /export function (check|parse)\(/.test(code(path)));
    expect(protocols.length).toBeGreaterThan(10);
    expect(protocols.filter((path) => !all.includes(path.replace(/\.ts$/, ".test.ts")))).toEqual([]);
  });

  it("every file but a test opens with what it is", () => {
    const silent = all.filter((path) => !/^(\/\/|\/\*\*|#!)/.test(code(path)) && !path.endsWith(".test.ts"));
    expect(silent).toEqual([]);
  });

  it("only bytes.ts indexes raw bytes in the wire formats", () => {
    const wire = files("dataplane/wire").filter((p) => !p.endsWith(".test.ts") && !p.endsWith("/bytes.ts"));
    expect(wire.filter((path) => /\b(b|bytes|buf)\[[a-z]/.test(code(path)))).toEqual([]);
  });

  it("no test is skipped without a reason, and none runs alone", () => {
    const tests = all.filter((path) => path.endsWith(".test.ts") && path !== "test/rules.test.ts");
    expect(tests.filter((path) => /\b(it|test|describe)\.(only|todo)\b/.test(code(path)))).toEqual([]);
  });
});
