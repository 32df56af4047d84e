/** `podwire capture FROM TO -w FILE`: record what one exchange puts on the wires, as tcpdump would; `-r FILE` reads one. */
import { readFileSync, writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { parseFilter } from "../../cluster/trace/frame-filter.ts";
import { type Capture, LINKTYPE_ETHERNET } from "../../dataplane/wire/capture-file.ts";
import { PcapngWriter } from "../../dataplane/wire/pcapng.ts";
import { formatFrame } from "../../dataplane/wire/print.ts";
import { readCapture } from "../../dataplane/wire/read-capture.ts";
import {
  buildCluster,
  type ClusterFlags,
  collect,
  type FamilyFlags,
  familyOf,
  withClusterOptions,
  withFamilyOptions,
} from "../cluster-options.ts";
import { OK, UNEXPECTED, UsageError } from "../exit.ts";

type Flags = ClusterFlags &
  FamilyFlags & {
    readonly write?: string;
    readonly read?: string;
    readonly at: readonly string[];
    readonly filter?: string;
    readonly protocol?: "tcp" | "udp" | "icmp";
  };

export function captureCommand(end: (code: number) => void): Command {
  return withFamilyOptions(withClusterOptions(new Command("capture")))
    .description("record an exchange at interfaces: a TCP connection with an HTTP request, a datagram, or an echo")
    .argument("[from]", "as in trace")
    .argument("[to]", "as in trace")
    .option("-r, --read <file>", "read a pcap or pcapng file instead, and print or write what the filter lets through")
    .option("-w, --write <file>", "write pcapng there; without it the frames are printed")
    .option("--at <place>", "NODE/DEVICE or pod/NAME/DEVICE (repeatable; default: everywhere)", collect, [])
    .option(
      "--filter <expression>",
      "tcp, udp, icmp, icmp6, ip, ip6, arp, host ADDRESS, port NUMBER; joined by and, or, not",
    )
    .addOption(new Option("--protocol <protocol>", "as in trace").choices(["tcp", "udp", "icmp"]))
    .action(async (from: string | undefined, to: string | undefined, flags: Flags) => {
      if (flags.read !== undefined) end(await read(flags.read, flags));
      else if (from === undefined || to === undefined)
        throw new UsageError("capture: found no FROM and TO, expected both, or -r FILE");
      else end(await capture(from, to, flags));
    });
}

/** Reads a capture file, whatever made it. Throws CaptureError for one that is cut short. */
async function read(file: string, flags: Flags): Promise<number> {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw new UsageError(`${file}: found nothing, expected a pcap or pcapng file`, { cause });
  }
  const wanted = flags.filter === undefined ? (): boolean => true : parseFilter(flags.filter);
  const { interfaces, packets } = await parse(file, bytes);
  const kept = packets.filter((p) => interfaces[p.interfaceId]?.linkType === LINKTYPE_ETHERNET && wanted(p.bytes));
  if (flags.write === undefined) {
    for (const p of kept) {
      const name = interfaces[p.interfaceId]?.name ?? "";
      const seconds = (Number(p.timeNs) / 1e9).toFixed(6);
      process.stdout.write(`${seconds} ${name} ${formatFrame(p.bytes, 0, p.bytes.length)}\n`.replace("  ", " "));
    }
    return OK;
  }
  const writer = new PcapngWriter();
  const ids = interfaces.map((i) => writer.addInterface(i.name ?? "", i.description ?? "", i.linkType));
  for (const p of kept)
    writer.packet(ids[p.interfaceId] ?? 0, p.timeNs, p.bytes, 0, p.bytes.length, p.comments[0], p.direction);
  writeFileSync(flags.write, writer.bytes());
  return OK;
}

async function parse(file: string, bytes: Uint8Array): Promise<Capture> {
  try {
    return await readCapture(bytes);
  } catch (cause) {
    throw new UsageError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

async function capture(from: string, to: string, flags: Flags): Promise<number> {
  const cluster = await buildCluster(flags);
  const recorded = cluster.capture(from, to, {
    namespace: flags.namespace,
    ...familyOf(flags),
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
