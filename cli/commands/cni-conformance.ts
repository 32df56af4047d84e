/**
 * `podwire cni conformance DIR`: whether the plugins of a directory, anyone's, keep to the CNI specification, as TAP: a
 * line a requirement. It needs root; all happens in namespaces that are made for it.
 */
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Case } from "../conformance/case.ts";
import { EFFECTS } from "../conformance/cases-plugins.ts";
import { PROTOCOL } from "../conformance/cases-protocol.ts";
import { ROBUST } from "../conformance/cases-robust.ts";
import { Lab } from "../conformance/lab.ts";
import { OK, UsageError } from "../exit.ts";

const NOT_ALL_MET = 1;

function has(command: string): boolean {
  return (process.env.PATH ?? "").split(":").some((dir) => existsSync(resolve(dir, command)));
}

/** Whether this kernel's bridges have VLANs. */
async function knowsVlans(dir: string): Promise<boolean> {
  const lab = await Lab.open(dir);
  try {
    await lab.backend.apply([
      { op: "link.add", netns: "host", name: "br0", kind: "bridge" },
      { op: "vlan.add", netns: "host", dev: "br0", vid: 2 },
    ]);
    return true;
  } catch {
    return false;
  } finally {
    await lab.close();
  }
}

function reasonToSkip(dir: string, test: Case, skipped: ReadonlySet<string>, vlans: boolean): string | undefined {
  const tag = [...test.plugins, ...(test.tags ?? [])].find((name) => skipped.has(name));
  if (tag !== undefined) return `--skip ${tag}`;
  const command = (test.commands ?? []).find((name) => !has(name));
  if (command !== undefined) return `no command ${command} here`;
  if (test.needsVlans === true && !vlans) return "this kernel's bridges have no VLANs";
  const absent = test.plugins.find((name) => !existsSync(resolve(dir, name)));
  return absent === undefined ? undefined : `no plugin ${absent} here`;
}

/** What was found instead; undefined if the requirement is met. */
async function problemOf(dir: string, test: Case): Promise<string | undefined> {
  const lab = await Lab.open(dir);
  try {
    await test.run(lab);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await lab.close();
  }
}

export async function conformance(dir: string, skip: readonly string[]): Promise<number> {
  if (!existsSync(dir) || !statSync(dir).isDirectory()) throw new UsageError(`${dir}: found no directory of plugins`);
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new UsageError("cni conformance: needs root on Linux, to make network namespaces");
  const plugins = resolve(dir);
  const cases = [...PROTOCOL, ...EFFECTS, ...ROBUST];
  const vlans = await knowsVlans(plugins);
  const skipped = new Set(skip);
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  out("TAP version 13");
  out(`1..${cases.length}`);
  let failed = 0;
  for (const [i, test] of cases.entries()) {
    const name = `${i + 1} - ${test.title} (${test.section})`;
    const reason = reasonToSkip(plugins, test, skipped, vlans);
    if (reason !== undefined) {
      out(`ok ${name} # SKIP ${reason}`);
      continue;
    }
    const problem = await problemOf(plugins, test);
    if (problem === undefined) out(`ok ${name}`);
    else {
      failed++;
      out(`not ok ${name}`);
      out(`  ---\n  found: ${JSON.stringify(problem)}\n  ...`);
    }
  }
  out(`# ${cases.length - failed} of ${cases.length} requirements met or skipped`);
  return failed === 0 ? OK : NOT_ALL_MET;
}
