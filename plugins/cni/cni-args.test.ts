import { expect, it } from "vitest";
import { parseCniArgs } from "./cni-args.ts";

it("reads pairs, also with = in the value", () => {
  expect([...parseCniArgs("IP=10.1.0.5;MAC=a=b;")]).toEqual([
    ["IP", "10.1.0.5"],
    ["MAC", "a=b"],
  ]);
  expect(parseCniArgs("").size).toBe(0);
});

it.each([
  ["FOO=1", "CNI_ARGS: found FOO, expected IP"],
  ["FOO=1;IgnoreUnknown=0", "CNI_ARGS: found FOO, expected IP"],
  ["IP", 'CNI_ARGS: found "IP", expected KEY=VALUE'],
  ["=1", 'CNI_ARGS: found "=1", expected KEY=VALUE'],
])("refuses %s", (text, message) => {
  expect(() => parseCniArgs(text)).toThrow(message);
});

it.each(["1", "true", "TRUE"])("ignores unknown keys with IgnoreUnknown=%s", (value) => {
  expect(parseCniArgs(`FOO=1;IgnoreUnknown=${value}`).get("FOO")).toBe("1");
});
