/**
 * iptables rules through iptables-restore(8) and iptables-save(8): one process a transaction, never one a rule. Which of
 * the two kinds of iptables (legacy or nf_tables) answers is the machine's affair.
 */
import type { IptablesRestore, NetnsRef } from "../../dataplane/netns/rtnl-ops.ts";
import type { Namespaces } from "./namespaces.ts";
import { ToolRunner } from "./tool.ts";

export type IpFamily = "ipv4" | "ipv6";
function prefixOf(family: IpFamily): string {
  return family === "ipv4" ? "iptables" : "ip6tables";
}

/** The line that the tool complains of, beside its words. */
function explain(stderr: string, input: string): string {
  const words = stderr
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("Try `"))
    .join("; ");
  const number = Number(/line:? (\d+)/i.exec(stderr)?.[1] ?? 0);
  const line = number > 0 ? input.split("\n")[number - 1] : undefined;
  return line === undefined || line === "" || line === "COMMIT" ? words : `${words}: ${line}`;
}

export class Iptables {
  readonly #tool: ToolRunner;

  constructor(spaces: Namespaces) {
    this.#tool = new ToolRunner(spaces, explain);
  }

  /** Before the other methods. */
  prepare(): Promise<void> {
    return this.#tool.prepare();
  }

  restore(op: IptablesRestore): void {
    const args = op.noflush ? ["--wait", "--noflush"] : ["--wait"];
    const command = `${prefixOf(op.family)}-restore`;
    this.#tool.run(op.netns, { command, args, input: op.text, source: op.source });
  }

  save(netns: NetnsRef, family: IpFamily, table?: string): string {
    return this.#tool.run(netns, {
      command: `${prefixOf(family)}-save`,
      args: table === undefined ? [] : ["-t", table],
    });
  }

  /** What brings the tables that a text names back to how they are now. */
  snapshot(op: IptablesRestore): IptablesRestore {
    const tables = [...op.text.matchAll(/^\*(\S+)/gm)].map((match) => match[1] ?? "");
    const texts = [...new Set(tables)].map((table) => {
      const saved = this.save(op.netns, op.family, table);
      return saved.includes(`*${table}`) ? saved : `*${table}\nCOMMIT\n`;
    });
    return { ...op, noflush: false, text: texts.join("") };
  }
}
