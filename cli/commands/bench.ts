/** `podwire bench`: questions answered with numbers, as a table and as JSON lines. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { benchForward } from "../../bench/forward.ts";
import { benchLookups } from "../../bench/lookups.ts";
import { plotLookups } from "../../bench/lookups-plot.ts";
import type { Metric } from "../../bench/measure.ts";
import { integer } from "../cluster-options.ts";
import { OK, UNEXPECTED, UsageError } from "../exit.ts";
import { table } from "../print.ts";

type LookupFlags = {
  readonly services: number;
  readonly samples: number;
  readonly svg?: string;
  readonly output?: "text" | "json";
  readonly quiet?: boolean;
};

type Flags = {
  readonly services: number;
  readonly packets: number;
  readonly samples: number;
  readonly only?: string;
  readonly quiet?: boolean;
};

export function benchCommand(end: (code: number) => void): Command {
  const bench = new Command("bench").description("measure: forwarding, rule lookups, CNI calls");
  const options = (command: Command): Command =>
    command
      .option("--services <count>", "Services in the ruleset", integer(1, 100_000), 1000)
      .option("--packets <count>", "packets in a sample", integer(100, 100_000_000), 200_000)
      .option("--samples <count>", "samples; their median counts", integer(1, 100), 5)
      .option("--only <text>", "only what has this in its name or mode: node.newflow, ipvs")
      .option("-q, --quiet", "JSON lines only");
  bench.addCommand(
    options(new Command("forward"))
      .description(
        "packets per CPU second, plain and through a ClusterIP in each mode of kube-proxy, in one node and over VXLAN",
      )
      .action(async (flags: Flags) => end(report(await benchForward({ ...flags, progress: progress(flags) }), flags))),
  );
  bench.addCommand(
    new Command("lookups")
      .description("what the first packet of a flow costs with many Services, by engine and by their number")
      .option(
        "--services <count>",
        "the most Services; 10 and each ten times more up to it",
        integer(10, 100_000),
        1000,
      )
      .option("--samples <count>", "samples, at least; their median counts", integer(1, 100), 5)
      .option("--svg <file>", "draw the curves into a file")
      .addOption(new Option("-o, --output <format>", "text: a table; json: a line each").choices(["text", "json"]))
      .option("-q, --quiet", "no progress, and JSON lines only")
      .action((flags: LookupFlags) => {
        const quiet = flags.quiet === true || flags.output === "json";
        const metrics = benchLookups({ ...flags, progress: progress(flags) });
        if (flags.svg !== undefined) writeFileSync(flags.svg, plotLookups(metrics));
        end(flags.output === "text" ? printTable(metrics) : report(metrics, { quiet }));
      }),
  );
  bench.addCommand(
    new Command("cni")
      .description("what calls of the CNI plugins take, against another directory of plugins; needs root")
      .argument("<other>", "such as /usr/lib/cni")
      .option("--ours <dir>", "the plugins to compare with them", fileURLToPath(new URL("./cni", import.meta.url)))
      .option("--rounds <count>", "rounds of both in turn; their median counts", integer(1, 1000), 15)
      .option("-q, --quiet", "JSON lines only")
      .action(async (other: string, flags: Flags & { readonly ours: string; readonly rounds: number }) => {
        if (process.getuid?.() !== 0) throw new UsageError("bench cni: needs root, to make network namespaces");
        const { benchCni } = await import("../../bench/cni.ts");
        end(report(await benchCni({ ...flags, other, progress: progress(flags) }), flags));
      }),
  );
  return bench;
}

function progress(flags: { readonly quiet?: boolean }): (what: string) => void {
  return (what) => {
    if (process.stderr.isTTY === true && !flags.quiet) process.stderr.write(`measuring ${what}\n`);
  };
}

function printTable(metrics: readonly Metric[]): number {
  const rows = metrics.map(({ metric, value, unit, ...details }) => {
    const rest = Object.entries(details).map(([key, detail]) => `${key} ${detail}`);
    return [metric, value.toLocaleString("en"), unit, rest.join(", ")];
  });
  process.stdout.write(table([["metric", "value", "unit", "details"], ...rows]));
  return OK;
}

/** Delivery is part of the result: a packet lost or changed makes the run fail. */
function report(metrics: readonly Metric[], flags: { readonly quiet?: boolean }): number {
  if (!flags.quiet) {
    printTable(metrics);
    process.stdout.write("\n");
  }
  for (const metric of metrics) process.stdout.write(`${JSON.stringify(metric)}\n`);
  return metrics.every((m) => m.corrupted === undefined || (m.corrupted === 0 && m.delivered === m.sent))
    ? OK
    : UNEXPECTED;
}
