/** The options of every verb that builds a cluster, and a settings file for all of them. */
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { LineCounter, parseDocument } from "yaml";
import { type ClusterOptions, PROXY_MODES, type ProxyMode } from "../cluster/boot.ts";
import { Cluster } from "../cluster/cluster.ts";
import { type ProxyConfig, parseProxyConfig } from "../cluster/kube-proxy/config.ts";
import { InputError } from "../cluster/manifests/input-error.ts";
import { readSources } from "../cluster/manifests/sources.ts";
import { parseCidrPair } from "../cluster/node/cidr-settings.ts";
import { NETWORKS, type Network } from "../cluster/node/conflists.ts";
import { UsageError } from "./exit.ts";
import { type OutputFormat, Progress, printWarnings } from "./print.ts";

export type ClusterFlags = {
  readonly file: readonly string[];
  readonly namespace: string;
  readonly nodes?: number;
  readonly network?: Network;
  readonly proxyMode?: ProxyMode;
  readonly proxyConfig?: string;
  readonly clusterCidr?: string;
  readonly nodeCidrMaskSize?: number;
  readonly nodeCidrMaskSizeIpv4?: number;
  readonly nodeCidrMaskSizeIpv6?: number;
  readonly serviceCidr?: string;
  readonly mtu?: number;
  readonly seed?: number;
  readonly config?: string;
  readonly output: OutputFormat;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
};

/** Adds the shared options to a verb. */
export function withClusterOptions(command: Command): Command {
  return command
    .option("-f, --file <path>", "manifests: a file, a directory, or - for standard input (repeatable)", collect, [])
    .option("-n, --namespace <name>", "namespace of names that give none", "default")
    .option("--nodes <count>", "how many nodes", integer(1, 5000))
    .addOption(new Option("--network <network>", "how pods are wired (default: flannel-vxlan)").choices(NETWORKS))
    .addOption(new Option("--proxy-mode <mode>", "how kube-proxy works (default: iptables)").choices(PROXY_MODES))
    .option("--proxy-config <file>", "a KubeProxyConfiguration")
    .option(
      "--cluster-cidr <cidrs>",
      "addresses of pods: one CIDR, or one a family with a comma (default: 10.244.0.0/16)",
    )
    .option(
      "--node-cidr-mask-size <length>",
      "prefix length of what a node gets of it, in a cluster of one family (default: 24, or 64 of IPv6)",
      integer(1, 128),
    )
    .option("--node-cidr-mask-size-ipv4 <length>", "the same of IPv4, also of two families", integer(1, 32))
    .option("--node-cidr-mask-size-ipv6 <length>", "the same of IPv6", integer(1, 128))
    .option("--service-cidr <cidrs>", "addresses of Services, in the same words (default: 10.96.0.0/12)")
    .option("--mtu <octets>", "MTU of the underlay (default: 1500)", integer(576, 65535))
    .option("--seed <number>", "seed of everything random (default: 1)", integer(0, 2 ** 32 - 1))
    .option("--config <file>", `settings file with any of: ${Object.keys(SETTINGS).join(", ")}`)
    .addOption(new Option("-o, --output <format>", "what to print").choices(["text", "json", "yaml"]).default("text"))
    .option("-q, --quiet", "no warnings, no progress")
    .option("-v, --verbose", "say more: in a trace, every rule that matched");
}

/** Builds the cluster that the flags describe. Warnings go to stderr. */
export async function buildCluster(flags: ClusterFlags): Promise<Cluster> {
  const settings = flags.config === undefined ? {} : readSettings(flags.config);
  const files = [...(settings.files ?? []), ...flags.file];
  if (flags.clusterCidr !== undefined) parseCidrPair(flags.clusterCidr, "--cluster-cidr", "command line");
  if (flags.serviceCidr !== undefined) parseCidrPair(flags.serviceCidr, "--service-cidr", "command line");
  if (files.length === 0) throw new UsageError("no manifests: give a file or a directory with -f");
  const progress = new Progress(flags.quiet === true);
  const proxyConfig = flags.proxyConfig ?? settings.proxyConfig;
  const options: ClusterOptions = {
    ...pick(settings),
    ...pick(flags),
    ...(proxyConfig === undefined ? {} : { proxyConfig: readProxyConfig(proxyConfig) }),
    sources: readSources(files, () => readFileSync(0, "utf8")),
    progress: (what, done, total) => progress.show(what, done, total),
  };
  try {
    const cluster = await Cluster.create(options);
    progress.clear();
    printWarnings(cluster.warnings, flags.quiet === true);
    return cluster;
  } finally {
    progress.clear();
  }
}

type Settings = Omit<ClusterOptions, "sources" | "progress" | "proxyConfig"> & {
  readonly files?: readonly string[];
  /** A file. */
  readonly proxyConfig?: string;
};

/** What a file says of kube-proxy; the cluster knows its own CIDR where the file names none. */
function readProxyConfig(file: string): Partial<ProxyConfig> {
  const { clusterCIDR, ...config } = parseProxyConfig(readText(file, "a KubeProxyConfiguration"), file);
  return clusterCIDR === "" ? config : { ...config, clusterCIDR };
}

function readText(file: string, expected: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new InputError({ file, line: 0, field: "file", found: "nothing", expected }, { cause });
  }
}

function pick(from: Settings | ClusterFlags): Omit<ClusterOptions, "sources" | "progress" | "proxyConfig"> {
  const { nodes, network, proxyMode, clusterCidr, serviceCidr, mtu, seed } = from;
  const { nodeCidrMaskSize, nodeCidrMaskSizeIpv4, nodeCidrMaskSizeIpv6 } = from;
  return {
    ...(nodes === undefined ? {} : { nodes }),
    ...(network === undefined ? {} : { network }),
    ...(proxyMode === undefined ? {} : { proxyMode }),
    ...(clusterCidr === undefined ? {} : { clusterCidr }),
    ...(nodeCidrMaskSize === undefined ? {} : { nodeCidrMaskSize }),
    ...(nodeCidrMaskSizeIpv4 === undefined ? {} : { nodeCidrMaskSizeIpv4 }),
    ...(nodeCidrMaskSizeIpv6 === undefined ? {} : { nodeCidrMaskSizeIpv6 }),
    ...(serviceCidr === undefined ? {} : { serviceCidr }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(seed === undefined ? {} : { seed }),
  };
}

const SETTINGS: Readonly<Record<string, { readonly ok: (value: unknown) => boolean; readonly expected: string }>> = {
  files: { ok: (v) => Array.isArray(v) && v.every((f) => typeof f === "string"), expected: "a list of paths" },
  nodes: { ok: isInt(1, 5000), expected: "a whole number from 1 to 5000" },
  network: { ok: (v) => NETWORKS.includes(v as Network), expected: `one of ${NETWORKS.join(", ")}` },
  proxyMode: { ok: (v) => PROXY_MODES.includes(v as ProxyMode), expected: `one of ${PROXY_MODES.join(", ")}` },
  proxyConfig: { ok: (v) => typeof v === "string", expected: "the path of a KubeProxyConfiguration" },
  clusterCidr: { ok: isCidrPair, expected: "one CIDR, or one of each family with a comma" },
  nodeCidrMaskSize: { ok: isInt(1, 128), expected: "a whole number from 1 to 128" },
  nodeCidrMaskSizeIpv4: { ok: isInt(1, 32), expected: "a whole number from 1 to 32" },
  nodeCidrMaskSizeIpv6: { ok: isInt(1, 128), expected: "a whole number from 1 to 128" },
  serviceCidr: { ok: isCidrPair, expected: "one CIDR, or one of each family with a comma" },
  mtu: { ok: isInt(576, 65535), expected: "a whole number from 576 to 65535" },
  seed: { ok: isInt(0, 2 ** 32 - 1), expected: "a whole number from 0 to 4294967295" },
};

/** Reads a settings file; each fault is one InputError with its line. */
export function readSettings(file: string): Settings {
  const text = readText(file, "a settings file");
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines });
  const broken = doc.errors[0];
  if (broken !== undefined) {
    const line = lines.linePos(broken.pos[0]).line;
    throw new InputError({
      file,
      line,
      field: "yaml",
      found: broken.message.split("\n")[0] ?? "",
      expected: "valid YAML",
    });
  }
  const value: unknown = doc.toJS();
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new InputError({ file, line: 1, field: "document", found: JSON.stringify(value), expected: "a mapping" });
  }
  for (const [key, given] of Object.entries(value)) {
    const rule = SETTINGS[key];
    const node = doc.getIn([key], true) as { range?: [number, number, number] } | undefined;
    const line = node?.range === undefined ? 1 : lines.linePos(node.range[0]).line;
    if (rule === undefined) {
      const expected = `one of ${Object.keys(SETTINGS).join(", ")}`;
      throw new InputError({ file, line, field: key, found: "an unknown setting", expected });
    }
    if (!rule.ok(given)) {
      throw new InputError({ file, line, field: key, found: JSON.stringify(given), expected: rule.expected });
    }
  }
  return value as Settings;
}

function isCidrPair(value: unknown): boolean {
  try {
    return typeof value === "string" && parseCidrPair(value, "") !== undefined;
  } catch {
    return false;
  }
}

function isInt(min: number, max: number): (value: unknown) => boolean {
  return (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
}

/** What `--lenient` does, for the verbs that read rules. */
export const LENIENT = "let rules with matches or targets that are not known match nothing, and say which";

/** Which address of an end that has one of each family, in the words of curl and ping. */
export type FamilyFlags = { readonly ipv4?: boolean; readonly ipv6?: boolean };

export function withFamilyOptions(command: Command): Command {
  return command
    .addOption(new Option("-4, --ipv4", "the IPv4 address of an end that has one of each family").conflicts("ipv6"))
    .addOption(new Option("-6, --ipv6", "the IPv6 address (default: the primary one)").conflicts("ipv4"));
}

export function familyOf({ ipv4, ipv6 }: FamilyFlags): { readonly family?: 4 | 6 } {
  return ipv6 === true ? { family: 6 } : ipv4 === true ? { family: 4 } : {};
}

export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** An option's value as a whole number in a range. */
export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const n = Number(value);
    if (!/^[0-9]+$/.test(value) || n < min || n > max) {
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    }
    return n;
  };
}
