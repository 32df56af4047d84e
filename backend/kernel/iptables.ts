/**
 * iptables rules through iptables-restore(8) and iptables-save(8): one process a transaction, never one a rule. Which of
 * the two kinds of iptables (legacy or nf_tables) answers is the machine's affair.
 */
import type { SpawnSyncReturns } from "node:child_process";
import { type IptablesRestore, NetlinkError, type NetnsRef } from "../../dataplane/netns/rtnl-ops.ts";
import type { Namespaces } from "./namespaces.ts";

/** Rules of 10,000 services are some tens of megabytes. */
const LONGEST_OUTPUT = 512 * 1024 * 1024;

export type IpFamily = "ipv4" | "ipv6";
type Spawn = (
  command: string,
  args: readonly string[],
  options: { readonly input: string; readonly encoding: "utf8"; readonly maxBuffer: number },
) => SpawnSyncReturns<string>;

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
  readonly #spaces: Namespaces;
  #spawn: Spawn | undefined;

  constructor(spaces: Namespaces) {
    this.#spaces = spaces;
  }

  /** Loads what running a process needs; before the other methods. */
  async prepare(): Promise<void> {
    this.#spawn ??= (await import("node:child_process")).spawnSync as Spawn;
  }

  restore(op: IptablesRestore): void {
    const args = op.noflush ? ["--wait", "--noflush"] : ["--wait"];
    this.#run(op.netns, `${prefixOf(op.family)}-restore`, args, op.text, op.source);
  }

  save(netns: NetnsRef, family: IpFamily, table?: string): string {
    return this.#run(netns, `${prefixOf(family)}-save`, table === undefined ? [] : ["-t", table], "");
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

  #run(netns: NetnsRef, command: string, args: readonly string[], input: string, source?: string): string {
    const spawn = this.#spawn;
    if (spawn === undefined) throw new Error("iptables: not prepared");
    const result = this.#spaces.run(netns, () =>
      spawn(command, args, { input, encoding: "utf8", maxBuffer: LONGEST_OUTPUT }),
    );
    const by = source === undefined ? command : `${command} of ${source}`;
    if (result.error !== undefined) {
      const { code } = result.error as NodeJS.ErrnoException;
      throw new NetlinkError(code ?? "EIO", `${by}: ${code === "ENOENT" ? "no such command" : result.error.message}`);
    }
    if (result.status === 0) return result.stdout;
    const words = explain(result.stderr, input);
    throw new NetlinkError("EINVAL", `${by}: ${words === "" ? `exit code ${result.status ?? result.signal}` : words}`);
  }
}
