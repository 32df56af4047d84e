/** `podwire trace FROM TO`: where does this packet go. */
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { renderTree } from "../../cluster/trace/render-tree.ts";
import type { TraceResult, Verdict } from "../../cluster/trace/result.ts";
import {
  buildCluster,
  type ClusterFlags,
  type FamilyFlags,
  familyOf,
  integer,
  withClusterOptions,
  withFamilyOptions,
} from "../cluster-options.ts";
import { OK, UNEXPECTED } from "../exit.ts";
import { paintFor, printResult } from "../print.ts";

type Flags = ClusterFlags &
  FamilyFlags & {
    readonly protocol?: "tcp" | "udp" | "icmp" | "sctp";
    readonly all?: boolean;
    readonly pcap?: string;
    readonly expect?: Verdict;
    readonly size?: number;
    readonly ttl?: number;
    readonly df?: boolean;
  };

export function traceCommand(end: (code: number) => void): Command {
  return withFamilyOptions(withClusterOptions(new Command("trace")))
    .description("follow a packet from one place to another, rule by rule")
    .argument("<from>", "pod/NAME, deploy/NAME, node/NAME, external or an address of the cluster")
    .argument(
      "<to>",
      "svc/NAME:PORT, pod/NAME:PORT, node/NAME:PORT, external, ADDRESS:PORT, [IPV6-ADDRESS]:PORT or DNS-NAME:PORT",
    )
    .addOption(
      new Option("--protocol <protocol>", "default: the Service port's, else tcp, or icmp without a port").choices([
        "tcp",
        "udp",
        "icmp",
        "sctp",
      ]),
    )
    .option("--all", "every endpoint that it could reach")
    .option("--pcap <file>", "write a pcapng of every interface that the packet passes, with hop and rule as comments")
    .addOption(
      new Option("--expect <verdict>", "exit with 1 unless this is the verdict").choices([
        "delivered",
        "rejected",
        "dropped",
      ]),
    )
    .option("--size <octets>", "payload of the first packet (udp and icmp)", integer(0, 65000))
    .option("--ttl <hops>", "time to live of the packet (icmp)", integer(1, 255))
    .option("--df", "set don't-fragment (icmp)")
    .action(async (from: string, to: string, flags: Flags) => end(await trace(from, to, flags)));
}

async function trace(from: string, to: string, flags: Flags): Promise<number> {
  const cluster = await buildCluster(flags);
  const options = {
    namespace: flags.namespace,
    ...familyOf(flags),
    ...(flags.protocol === undefined ? {} : { protocol: flags.protocol }),
    ...(flags.size === undefined ? {} : { size: flags.size }),
    ...(flags.ttl === undefined ? {} : { ttl: flags.ttl }),
    ...(flags.df === undefined ? {} : { dontFragment: flags.df }),
    allRules: flags.verbose === true,
    capture: flags.pcap !== undefined,
  };
  const traced = flags.all ? await cluster.traceAll(from, to, options) : [await cluster.trace(from, to, options)];
  const results: TraceResult[] = traced.map((t) => t.result);
  const paint = paintFor(process.stdout);
  printResult(flags.output, flags.all ? { outcomes: results } : results[0], () =>
    traced.map((t) => renderTree(t.result, t.title, paint)).join("\n"),
  );
  if (flags.pcap !== undefined) {
    writeFileSync(flags.pcap, traced.at(-1)?.pcapng ?? new Uint8Array(0));
    if (flags.output === "text") process.stdout.write(`  capture in ${flags.pcap}\n`);
  }
  if (flags.expect !== undefined) return results.every((r) => r.verdict === flags.expect) ? OK : UNEXPECTED;
  return results.every((r) => r.verdict === "delivered") ? OK : UNEXPECTED;
}
