import { describe, expect, it } from "vitest";
import { parseTarget } from "./target.ts";

describe("parseTarget", () => {
  it.each([
    ["pod/a", { type: "object", kind: "Pod", namespace: "ns", name: "a", port: "" }],
    ["po/other/a:8080", { type: "object", kind: "Pod", namespace: "other", name: "a", port: "8080" }],
    ["svc/web:http", { type: "object", kind: "Service", namespace: "ns", name: "web", port: "http" }],
    ["deploy/web", { type: "object", kind: "Deployment", namespace: "ns", name: "web", port: "" }],
    ["node/node-1:30080", { type: "object", kind: "Node", namespace: "ns", name: "node-1", port: "30080" }],
    ["external", { type: "external", port: "" }],
    ["fd00::a", { type: "address", address: "fd00::a", port: "" }],
    ["fd00::1:53", { type: "address", address: "fd00::1:53", port: "", or: "[fd00::1]:53" }],
    ["[fd00::1:53]", { type: "address", address: "fd00::1:53", port: "" }],
    ["fd00:10:244:1::53", { type: "address", address: "fd00:10:244:1::53", port: "" }],
    ["fd00::1:http", { type: "address", address: "fd00::1", port: "http" }],
    ["[fd00:0::A]", { type: "address", address: "fd00::a", port: "" }],
    ["[fd00:10:96::1]:80", { type: "address", address: "fd00:10:96::1", port: "80" }],
    ["[::ffff:10.0.0.1]:http", { type: "address", address: "::ffff:10.0.0.1", port: "http" }],
    ["10.96.0.10:53", { type: "address", address: "10.96.0.10", port: "53" }],
    ["web.default.svc.cluster.local:80", { type: "name", name: "web.default.svc.cluster.local", port: "80" }],
    ["web:80", { type: "name", name: "web", port: "80" }],
  ])("reads %s", (text, target) => {
    expect(parseTarget(text, "TO", "ns")).toEqual(target);
  });

  it.each([
    ["pod/", "pod/NAME"],
    ["thing/a", "pod/NAME"],
    ["svc/web:99999", "1 to 65535"],
    ["svc/web:", "a port number"],
    ["10.0.0.300:80", "an address"],
    ["[fd00::1", "an address"],
    ["[10.0.0.1]:80", "an address"],
    ["fd00::1::2", "an address"],
    ["a b", "pod/NAME"],
    ["svc/a/b/c", "pod/NAME"],
  ])("refuses %j", (text, expected) => {
    expect(() => parseTarget(text, "TO", "ns")).toThrow(expected);
    expect(() => parseTarget(text, "TO", "ns")).toThrow(/^command line: TO: found/);
  });
});
