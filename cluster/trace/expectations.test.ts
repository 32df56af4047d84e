import { describe, expect, it } from "vitest";
import { failuresOf, parseExpectations } from "./expectations.ts";
import type { TraceResult } from "./result.ts";

const RESULT: TraceResult = {
  flow: "TCP 10.244.1.2:40000 → 10.96.0.1:80",
  verdict: "delivered",
  reason: null,
  source: { kind: "Pod", namespace: "default", name: "a", node: "node-1", ip: "10.244.1.2", port: null },
  deliveredTo: { kind: "Pod", namespace: "default", name: "b", node: "node-2", ip: "10.244.2.2", port: 80 },
  masqueraded: false,
  hops: [
    {
      n: 1,
      node: "node-1",
      netns: "pod default/a",
      device: "eth0",
      step: "out",
      action: "out",
      packet: "10.244.1.2:40000 → 10.96.0.1:80",
    },
    {
      n: 2,
      node: "node-1",
      netns: "host",
      device: "cni0",
      step: "prerouting",
      action: "KUBE-SVC-X",
      packet: "10.244.1.2:40000 → 10.244.2.2:80",
      rule: {
        table: "nat",
        chain: "KUBE-SERVICES",
        number: 1,
        text: "-j KUBE-SVC-X",
        origin: "Service default/b, b.yaml:1",
      },
    },
  ],
  reply: { verdict: "delivered", hops: [] },
  rules: { examined: 1, linear: 1 },
};

function one(text: string): ReturnType<typeof parseExpectations>[number] {
  const [test] = parseExpectations("t.yaml", `tests:\n  - ${text}\n`);
  if (test === undefined) throw new Error("no test");
  return test;
}

describe("parseExpectations", () => {
  it("expects delivery unless it says otherwise, and names a test by its ends", () => {
    expect(one("{from: pod/a, to: svc/b, port: 80}")).toMatchObject({
      to: "svc/b:80",
      expect: "delivered",
      name: "pod/a → svc/b:80: delivered",
      line: 2,
    });
  });

  it("takes addresses of IPv6, and a family for ends that have both", () => {
    expect(one('{from: pod/a, to: "fd00::1", port: 80, family: 6}')).toMatchObject({ to: "[fd00::1]:80", family: 6 });
    expect(one('{from: pod/a, to: "[fd00::1]:80"}').to).toBe("[fd00::1]:80");
  });

  it.each([
    ["tests:\n  - {from: a, to: b, family: 5}\n", "tests[0].family: found 5, expected 4 or 6"],
    ["tests:\n  - from: pod/a\n", "t.yaml:2: tests[0].to: found nothing"],
    [
      "tests:\n  - from: pod/a\n    to: pod/b\n    expect: maybe\n",
      't.yaml:4: tests[0].expect: found "maybe", expected delivered, rejected, dropped',
    ],
    ["tests:\n  - {from: a, to: b, colour: red}\n", "tests[0].colour: found an unknown field"],
    ["test: []\n", "t.yaml:1: test: found an unknown field"],
    ["tests: []\n", "t.yaml:1: tests: found []"],
    ["tests: [\n", "t.yaml:"],
    ["- a\n", "tests: found nothing"],
  ])("refuses %j", (text, message) => {
    expect(() => parseExpectations("t.yaml", text)).toThrow(message);
  });
});

describe("failuresOf", () => {
  it.each([
    ["{from: pod/a, to: svc/b, via: [cni0, node-1, KUBE-SERVICES, Service default/b], sourceSeen: pod}", []],
    ["{from: pod/a, to: svc/b, via: flannel.1}", ["did not pass flannel.1"]],
    ["{from: pod/a, to: svc/b, notVia: cni0}", ["passed cni0"]],
    ["{from: pod/a, to: svc/b, expect: dropped}", ["expected dropped, was delivered"]],
    ["{from: pod/a, to: svc/b, sourceSeen: node}", ["the receiver sees 10.244.1.2, not node"]],
    ["{from: pod/a, to: svc/b, sourceSeen: 10.244.1.2}", []],
  ])("judges %s", (text, failures) => {
    expect(failuresOf(one(text), RESULT)).toEqual(failures);
  });
});
