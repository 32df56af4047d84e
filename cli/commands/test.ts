/** `podwire test FILE…`: packet-trace tests, printed as TAP or JUnit. */
import { readFileSync, writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { InputError } from "../../cluster/manifests/input-error.ts";
import { type Expectation, failuresOf, parseExpectations } from "../../cluster/trace/expectations.ts";
import { buildCluster, type ClusterFlags, withClusterOptions } from "../cluster-options.ts";
import { OK, UNEXPECTED } from "../exit.ts";

type Flags = ClusterFlags & { readonly format: "tap" | "junit"; readonly out?: string };
type Outcome = { readonly test: Expectation; readonly failures: readonly string[]; readonly trace: string };

export function testCommand(end: (code: number) => void): Command {
  return withClusterOptions(new Command("test"))
    .description("run packet-trace tests: who reaches whom, by which way")
    .argument("<file...>", "YAML files with a list of tests")
    .addOption(new Option("--format <format>", "how to report").choices(["tap", "junit"]).default("tap"))
    .option("--out <file>", "write the report there instead of standard output")
    .action(async (files: string[], flags: Flags) => end(await test(files, flags)));
}

async function test(files: readonly string[], flags: Flags): Promise<number> {
  const tests = files.flatMap((file) => parseExpectations(file, read(file)));
  const cluster = await buildCluster(flags);
  const outcomes: Outcome[] = [];
  for (const expectation of tests) {
    const { from, to, protocol, family } = expectation;
    const options = {
      namespace: flags.namespace,
      ...(protocol === undefined ? {} : { protocol }),
      ...(family === undefined ? {} : { family }),
    };
    const traced = await cluster.trace(from, to, options);
    const hops = traced.result.hops.map((h) => `${h.n} ${h.node} ${h.netns} ${h.device} ${h.step}: ${h.action}`);
    outcomes.push({ test: expectation, failures: failuresOf(expectation, traced.result), trace: hops.join("\n") });
  }
  const report = flags.format === "tap" ? tap(outcomes) : junit(outcomes);
  if (flags.out === undefined) process.stdout.write(report);
  else writeFileSync(flags.out, report);
  return outcomes.every((o) => o.failures.length === 0) ? OK : UNEXPECTED;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new InputError({ file, line: 0, field: "file", found: "nothing", expected: "a file of tests" }, { cause });
  }
}

/** Test Anything Protocol, version 13. */
function tap(outcomes: readonly Outcome[]): string {
  const lines = ["TAP version 13", `1..${outcomes.length}`];
  for (const [i, { test, failures, trace }] of outcomes.entries()) {
    lines.push(`${failures.length === 0 ? "ok" : "not ok"} ${i + 1} - ${test.name.replaceAll("#", "\\#")}`);
    if (failures.length === 0) continue;
    lines.push("  ---", `  at: ${test.file}:${test.line}`, "  failures:");
    for (const failure of failures) lines.push(`    - ${JSON.stringify(failure)}`);
    lines.push("  hops: |", ...trace.split("\n").map((line) => `    ${line}`), "  ...");
  }
  return `${lines.join("\n")}\n`;
}

function junit(outcomes: readonly Outcome[]): string {
  const failed = outcomes.filter((o) => o.failures.length > 0).length;
  const cases = outcomes.map(({ test, failures, trace }) => {
    const open = `  <testcase name="${xml(test.name)}" classname="${xml(test.file)}"`;
    if (failures.length === 0) return `${open}/>`;
    const message = xml(failures.join("; "));
    return `${open}>\n    <failure message="${message}">${xml(trace)}</failure>\n  </testcase>`;
  });
  const head = `<testsuite name="podwire" tests="${outcomes.length}" failures="${failed}">`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n${head}\n${cases.join("\n")}\n</testsuite>\n`;
}

function xml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
  };
  return text.replace(/[&<>"']/g, (c) => names[c] ?? c);
}
