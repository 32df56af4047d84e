/** `podwire capture FROM TO -w FILE`: record what one exchange puts on the wires, as tcpdump would. */
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { buildCluster, type ClusterFlags, collect, withClusterOptions } from "../cluster-options.ts";
import { OK, UNEXPECTED } from "../exit.ts";

type Flags = ClusterFlags & {
  readonly write?: string;
  readonly at: readonly string[];
  readonly filter?: string;
  readonly protocol?: "tcp" | "udp" | "icmp";
};

export function captureCommand(end: (code: number) => void): Command {
  return withClusterOptions(new Command("capture"))
    .description("record an exchange at interfaces: a TCP connection with an HTTP request, a datagram, or an echo")
    .argument("<from>", "as in trace")
    .argument("<to>", "as in trace")
    .option("-w, --write <file>", "write pcapng there; without it the frames are printed")
    .option("--at <place>", "NODE/DEVICE or pod/NAME/DEVICE (repeatable; default: everywhere)", collect, [])
    .option("--filter <expression>", "tcp, udp, icmp, arp, host ADDRESS, port NUMBER; joined by and, or, not")
    .addOption(new Option("--protocol <protocol>", "as in trace").choices(["tcp", "udp", "icmp"]))
    .action(async (from: string, to: string, flags: Flags) => end(await capture(from, to, flags)));
}

async function capture(from: string, to: string, flags: Flags): Promise<number> {
  const cluster = await buildCluster(flags);
  const recorded = cluster.capture(from, to, {
    namespace: flags.namespace,
    at: flags.at,
    ...(flags.filter === undefined ? {} : { filter: flags.filter }),
    ...(flags.protocol === undefined ? {} : { protocol: flags.protocol }),
  });
  if (flags.write === undefined) process.stdout.write(recorded.text());
  else {
    writeFileSync(flags.write, recorded.pcapng());
    if (flags.quiet !== true) process.stdout.write(`${recorded.frames.length} frames in ${flags.write}\n`);
  }
  return recorded.completed ? OK : UNEXPECTED;
}
