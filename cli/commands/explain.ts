/** `podwire explain`: what a node does with a flow, from its own dumps and nothing else. */
import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import type { Dump, Dumps } from "../../cluster/explain/dumps.ts";
import { ExplainedNode } from "../../cluster/explain/explain.ts";
import { parseFlow } from "../../cluster/trace/first-packet.ts";
import { renderTree } from "../../cluster/trace/render-tree.ts";
import type { Verdict } from "../../cluster/trace/result.ts";
import { integer, LENIENT } from "../cluster-options.ts";
import { OK, UNEXPECTED, UsageError } from "../exit.ts";
import { type OutputFormat, paintFor, printResult, printWarnings } from "../print.ts";

type Flags = {
  readonly iptablesSave?: string;
  readonly ip6tablesSave?: string;
  readonly links?: string;
  readonly addrs?: string;
  readonly routes?: string;
  readonly routes6?: string;
  readonly neigh?: string;
  readonly ipsetSave?: string;
  readonly ipvsadm?: string;
  readonly nft?: string;
  readonly in?: string;
  readonly lenient?: boolean;
  readonly seed: number;
  readonly verbose?: boolean;
  readonly output: OutputFormat;
  readonly expect?: Verdict;
};

export function explainCommand(finish: (code: number) => void): Command {
  return new Command("explain")
    .description("say what a node does with a flow's first packet, from the node's own dumps")
    .argument("<flow>", "such as 'TCP 10.1.0.5:40000 > 10.96.0.1:443'")
    .option("--iptables-save <file>", "what iptables-save printed")
    .option("--ip6tables-save <file>", "what ip6tables-save printed")
    .option("--links <file>", "what `ip -j link` printed")
    .option("--addrs <file>", "what `ip -j addr` printed")
    .option("--routes <file>", "what `ip -j route` printed")
    .option("--routes6 <file>", "what `ip -j -6 route` printed")
    .option("--neigh <file>", "what `ip -j neigh` printed")
    .option("--ipset-save <file>", "what `ipset save` printed")
    .option("--ipvsadm <file>", "what `ipvsadm -Sn` printed")
    .option("--nft <file>", "what `nft list ruleset` printed")
    .option("--in <device>", "where the packet comes in (default: the device that leads back to its source)")
    .option("--lenient", LENIENT)
    .option("--seed <number>", "seed of what rules leave to chance", integer(0, 2 ** 32 - 1), 1)
    .option("-v, --verbose", "every rule that matched")
    .addOption(new Option("-o, --output <format>", "what to print").choices(["text", "json", "yaml"]).default("text"))
    .addOption(
      new Option("--expect <verdict>", "exit with 1 unless this is the verdict").choices([
        "delivered",
        "rejected",
        "dropped",
      ]),
    )
    .action(async (flow: string, flags: Flags) => finish(await explain(flow, flags)));
}

async function explain(text: string, flags: Flags): Promise<number> {
  const flow = parseFlow(text, "command line", 0);
  const files: Readonly<Record<keyof Dumps, string | undefined>> = {
    links: flags.links,
    addrs: flags.addrs,
    routes: flags.routes,
    routes6: flags.routes6,
    neighs: flags.neigh,
    iptables: flags.iptablesSave,
    ip6tables: flags.ip6tablesSave,
    ipsets: flags.ipsetSave,
    ipvs: flags.ipvsadm,
    nft: flags.nft,
  };
  const dumps: Dumps = Object.fromEntries(
    Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [[name, read(file)]])),
  );
  const node = await ExplainedNode.load(dumps, { seed: flags.seed, lenient: flags.lenient === true });
  printWarnings(node.warnings, false);
  const result = node.explain(flow, {
    allRules: flags.verbose === true,
    ...(flags.in === undefined ? {} : { input: flags.in }),
  });
  printResult(flags.output, result, () => renderTree(result, "from the node's dumps", paintFor(process.stdout)));
  return result.verdict === (flags.expect ?? "delivered") ? OK : UNEXPECTED;
}

function read(file: string): Dump {
  try {
    return { file, text: readFileSync(file, "utf8") };
  } catch (cause) {
    throw new UsageError(`${file}: found nothing, expected a dump`, { cause });
  }
}
