/** nftables rules through nft(8): one process a transaction, which the kernel applies whole or not at all. */
import type { NetnsRef, NftApply, NftListOptions } from "../../dataplane/netns/rtnl-ops.ts";
import type { Namespaces } from "./namespaces.ts";
import { ToolRunner } from "./tool.ts";

/** Which tables there were ("FAMILY NAME"), and the texts of those that the transaction may touch. */
export type NftSnapshot = { readonly tables: readonly string[]; readonly texts: ReadonlyMap<string, string> };

/** "FAMILY NAME" of each table that `nft list tables` printed. */
function tableNames(text: string): readonly string[] {
  return [...text.matchAll(/^table (\S+ \S+)$/gm)].map((match) => match[1] ?? "");
}

/** nft's words without its second and further lines, which show the place: file:line:column is in the first. */
function explain(stderr: string): string {
  return stderr
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^[~^ ]+$/.test(line))
    .slice(0, 2)
    .join("; ");
}

export class Nft {
  readonly #tool: ToolRunner;

  constructor(spaces: Namespaces) {
    this.#tool = new ToolRunner(spaces, explain);
  }

  /** Before the other methods. */
  prepare(): Promise<void> {
    return this.#tool.prepare();
  }

  apply(op: NftApply): void {
    this.#run(op.netns, ["-f", "-"], op.text, op.source);
  }

  list(netns: NetnsRef, options: NftListOptions): string {
    const flags = [...(options.handles === true ? ["-a"] : []), ...(options.stateless === true ? ["-s"] : [])];
    const { table } = options;
    if (table === undefined) return this.#run(netns, [...flags, "list", "ruleset"], "");
    if (!this.#tables(netns).includes(table)) return "";
    return this.#run(netns, [...flags, "list", "table", ...table.split(" ")], "");
  }

  /** The tables that a text may name, as they are now. */
  snapshot(op: NftApply): NftSnapshot {
    const words = new Set(op.text.split(/[\s;{}]+/));
    const all = words.has("ruleset");
    const tables = this.#tables(op.netns);
    const named = tables.filter((table) => all || words.has(table.split(" ")[1] ?? ""));
    return { tables, texts: new Map(named.map((table) => [table, this.list(op.netns, { table })])) };
  }

  /** Brings the tables that are not as they were back to that, and removes those that are new. */
  back(netns: NetnsRef, before: NftSnapshot): void {
    const now = this.#tables(netns);
    const fresh = now.filter((table) => !before.tables.includes(table));
    const changed = [...before.texts].filter(
      ([table, text]) => !now.includes(table) || this.list(netns, { table }) !== text,
    );
    // a table is added first, so that deleting it cannot fail
    const gone = [...fresh, ...changed.map(([table]) => table)].map((t) => `add table ${t}\ndelete table ${t}\n`);
    const text = [...gone, ...changed.map(([, old]) => old)].join("");
    if (text !== "") this.#run(netns, ["-f", "-"], text);
  }

  #tables(netns: NetnsRef): readonly string[] {
    return tableNames(this.#run(netns, ["list", "tables"], ""));
  }

  #run(netns: NetnsRef, args: readonly string[], input: string, source?: string): string {
    return this.#tool.run(netns, { command: "nft", args, input, source });
  }
}
