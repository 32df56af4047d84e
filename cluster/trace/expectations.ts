/**
 * Packet-trace tests in YAML: who reaches whom, by which way.
 *
 *   tests:
 *     - name: …              what the test says; made up from the ends if absent
 *       from: deploy/web     as `podwire trace FROM TO`
 *       to: svc/api:80       a port may stand apart, in `port`
 *       protocol: tcp        tcp, udp, icmp or sctp
 *       family: 6            4 or 6: which address of an end that has one of each; the primary one if absent
 *       expect: delivered    delivered (the default), rejected or dropped
 *       via: [flannel.1]     nodes, devices, hooks, chains or objects that the packet passes
 *       notVia: [node-3]     … and does not
 *       sourceSeen: pod      whose address the receiver sees: pod, node, or an address
 */
import { LineCounter, parseDocument } from "yaml";
import type { Family } from "../api/ip.ts";
import { InputError } from "../manifests/input-error.ts";
import { passesThrough } from "./passes.ts";
import type { TraceResult, Verdict } from "./result.ts";

export type Expectation = {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly from: string;
  readonly to: string;
  readonly protocol?: "tcp" | "udp" | "icmp" | "sctp";
  readonly family?: Family;
  readonly expect: Verdict;
  readonly via: readonly string[];
  readonly notVia: readonly string[];
  readonly sourceSeen?: string;
};

type Check = { readonly ok: (value: unknown) => boolean; readonly expected: string };
const isText = (v: unknown): boolean => typeof v === "string" && v !== "";
const texts: Check = {
  ok: (v) => isText(v) || (Array.isArray(v) && v.every(isText)),
  expected: "a name or a list of names",
};
const among = (...values: readonly string[]): Check => ({
  ok: (v) => values.includes(v as string),
  expected: values.join(", "),
});

const FIELDS: Readonly<Record<string, Check>> = {
  name: { ok: isText, expected: "a text" },
  from: { ok: isText, expected: "an end such as pod/NAME" },
  to: { ok: isText, expected: "an end such as svc/NAME:PORT" },
  port: { ok: (v) => isText(v) || Number.isInteger(v), expected: "a port number or name" },
  protocol: among("tcp", "udp", "icmp", "sctp"),
  family: { ok: (v) => v === 4 || v === 6, expected: "4 or 6" },
  expect: among("delivered", "rejected", "dropped"),
  via: texts,
  notVia: texts,
  sourceSeen: { ok: isText, expected: "pod, node or an address" },
};

/** Reads one file. Throws InputError with file, line and field. */
export function parseExpectations(file: string, text: string): Expectation[] {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines });
  const fault = (line: number, field: string, found: string, expected: string): InputError =>
    new InputError({ file, line, field, found, expected });
  const broken = doc.errors[0];
  if (broken !== undefined) {
    throw fault(lines.linePos(broken.pos[0]).line, "yaml", broken.message.split("\n")[0] ?? "", "valid YAML");
  }
  const lineOf = (path: readonly (string | number)[]): number => {
    const node = doc.getIn(path, true) as { range?: [number, number, number] } | undefined;
    return node?.range === undefined ? 1 : lines.linePos(node.range[0]).line;
  };
  const value = doc.toJS() as unknown;
  const top = isMapping(value) ? value : {};
  for (const key of Object.keys(top)) {
    if (key !== "tests") throw fault(lineOf([key]), key, "an unknown field", "tests");
  }
  const list = top.tests;
  if (!Array.isArray(list) || list.length === 0) throw fault(1, "tests", show(list), "a list of tests");
  return list.map((test: unknown, i) => {
    if (!isMapping(test)) throw fault(lineOf(["tests", i]), `tests[${i}]`, show(test), "a mapping");
    for (const [key, given] of Object.entries(test)) {
      const check = FIELDS[key];
      const field = `tests[${i}].${key}`;
      if (check === undefined) {
        throw fault(lineOf(["tests", i, key]), field, "an unknown field", Object.keys(FIELDS).join(", "));
      }
      if (!check.ok(given)) throw fault(lineOf(["tests", i, key]), field, show(given), check.expected);
    }
    for (const needed of ["from", "to"]) {
      if (test[needed] === undefined) {
        throw fault(lineOf(["tests", i]), `tests[${i}].${needed}`, "nothing", FIELDS[needed]?.expected ?? "");
      }
    }
    const from = String(test.from);
    const to = test.port === undefined ? String(test.to) : `${inBrackets(String(test.to))}:${test.port}`;
    const expect = (test.expect ?? "delivered") as Verdict;
    return {
      name: test.name === undefined ? `${from} → ${to}: ${expect}` : String(test.name),
      file,
      line: lineOf(["tests", i]),
      from,
      to,
      ...(test.protocol === undefined ? {} : { protocol: test.protocol as "tcp" }),
      ...(test.family === undefined ? {} : { family: test.family as Family }),
      expect,
      via: list1(test.via),
      notVia: list1(test.notVia),
      ...(test.sourceSeen === undefined ? {} : { sourceSeen: String(test.sourceSeen) }),
    };
  });
}

/** What is not as expected, one line each; none if all is. */
export function failuresOf(test: Expectation, result: TraceResult): string[] {
  const failures: string[] = [];
  if (result.verdict !== test.expect) {
    const why = result.reason === null ? "" : `: ${result.reason.code} ${result.reason.text}`;
    failures.push(`expected ${test.expect}, was ${result.verdict}${why}`);
  }
  for (const what of test.via) if (!passesThrough(result, what)) failures.push(`did not pass ${what}`);
  for (const what of test.notVia) if (passesThrough(result, what)) failures.push(`passed ${what}`);
  if (test.sourceSeen !== undefined) {
    const seen = addressIn(result.hops.at(-1)?.packet.split(" → ")[0] ?? "");
    const own = seen === result.source.ip;
    const wanted = test.sourceSeen;
    const ok = wanted === "pod" ? own : wanted === "node" ? !own : seen === wanted;
    if (!ok) failures.push(`the receiver sees ${seen}, not ${wanted}`);
  }
  return failures;
}

/** An address of IPv6, as it stands before a port. */
function inBrackets(text: string): string {
  return /^[^[/]*:.*:/.test(text) ? `[${text}]` : text;
}

/** "10.0.0.1:80", "[fd00::1]:80", or an address alone. */
function addressIn(end: string): string {
  return /^\[(.*)\]/.exec(end)?.[1] ?? (/^[^:]*:[^:]*$/.test(end) ? end.replace(/:.*$/, "") : end);
}

function list1(value: unknown): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
