/** `podwire proxy render` and `podwire proxy eval`: kube-proxy's rules for objects, and what they do to a flow. */
import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import { ClusterError } from "../../cluster/api/cluster-error.ts";
import { isIp } from "../../cluster/api/ip.ts";
import type { KubeObject } from "../../cluster/api/meta.ts";
import { type Node, nodeIps, podCidrs, ZONE_LABEL } from "../../cluster/api/node.ts";
import { Manager } from "../../cluster/client/manager.ts";
import { EndpointSliceController } from "../../cluster/controllers/endpoint-slice.ts";
import { ServiceController } from "../../cluster/controllers/service.ts";
import { saltOf } from "../../cluster/controllers/standard.ts";
import {
  DEFAULT_PROXY_CONFIG,
  type ProxyConfig,
  type ProxyMode,
  parseProxyConfig,
} from "../../cluster/kube-proxy/config.ts";
import { FlowEvaluator, type FlowVerdict, type RulesOptions } from "../../cluster/kube-proxy/evaluate.ts";
import type { ProxyNode } from "../../cluster/kube-proxy/mode.ts";
import { TOOLS, type Tool, textsFor } from "../../cluster/kube-proxy/render.ts";
import { loadManifests } from "../../cluster/manifests/load.ts";
import { readSources } from "../../cluster/manifests/sources.ts";
import { type CidrPair, parseCidrPair } from "../../cluster/node/cidr-settings.ts";
import { MemoryStore } from "../../cluster/store/store-memory.ts";
import { familyOfFlow, parseFlow } from "../../cluster/trace/first-packet.ts";
import { SCHEDULERS } from "../../dataplane/ipvs/scheduler/registry.ts";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { collect, integer, LENIENT } from "../cluster-options.ts";
import { OK, UsageError } from "../exit.ts";
import { type OutputFormat, printResult, printWarnings, table } from "../print.ts";

/** The modes that are built. */
const MODES = Object.keys(TOOLS);

type Flags = {
  readonly file: readonly string[];
  readonly config?: string;
  readonly node: string;
  readonly nodeAddress: readonly string[];
  readonly serviceCidr: readonly string[];
  readonly clusterCidr?: string;
  readonly proxyMode?: ProxyMode;
  readonly masqueradeAll?: boolean;
  readonly seed: number;
  readonly quiet?: boolean;
  readonly rules?: string;
  readonly lenient?: boolean;
  readonly tool?: Tool;
  readonly output: OutputFormat;
};

export function proxyCommand(end: (code: number) => void): Command {
  const proxy = new Command("proxy").description("kube-proxy's rules for Services and EndpointSlices on one node");
  proxy.addCommand(
    withProxyOptions(new Command("render"))
      .description("print the rules that kube-proxy would write")
      .addOption(new Option("--tool <name>", "one text only").choices([...new Set(Object.values(TOOLS).flat())]))
      .action(async (flags: Flags) => end(await render(flags))),
  );
  proxy.addCommand(
    withProxyOptions(new Command("eval"))
      .description("say what the rules do to the first packet of a flow")
      .option(
        "--rules <file>",
        "evaluate this text instead of rendering one: of iptables-save, or of ip6tables-save for flows of IPv6",
      )
      .option("--lenient", LENIENT)
      .argument("[flow...]", "such as 'TCP 10.1.0.5:40000 > 10.96.0.1:443'; one a line on standard input if none")
      .addOption(new Option("-o, --output <format>", "what to print").choices(["text", "json", "yaml"]).default("text"))
      .action(async (flows: string[], flags: Flags) => end(await evaluate(flows, flags))),
  );
  return proxy;
}

function withProxyOptions(command: Command): Command {
  return command
    .option("-f, --file <path>", "manifests: a file, a directory, or - (repeatable)", collect, [])
    .option("--config <file>", "a KubeProxyConfiguration; flags win over it")
    .option("--node <name>", "the node's name", "node-1")
    .option("--node-address <ip>", "an address of the node (repeatable, the first is the primary)", collect, [])
    .option(
      "--service-cidr <cidr>",
      "where Services without an address get one (repeatable, one of each family)",
      collect,
      [],
    )
    .option("--cluster-cidr <cidrs>", "the addresses of pods: one CIDR, or one of each family with a comma")
    .addOption(new Option("--proxy-mode <mode>", "mode of kube-proxy").choices(MODES))
    .option("--masquerade-all", "masquerade everything sent to ClusterIPs")
    .option("--seed <number>", "seed of addresses that Services do not have yet", integer(0, 2 ** 32 - 1), 1)
    .option("-q, --quiet", "no warnings");
}

type Prepared = {
  readonly objects: readonly KubeObject[];
  readonly config: ProxyConfig;
  readonly node: ProxyNode;
  readonly serviceCidrs: readonly string[];
};

async function prepare(flags: Flags): Promise<Prepared> {
  if (flags.file.length === 0 && flags.rules === undefined) {
    throw new UsageError("no manifests: give a file or a directory with -f");
  }
  for (const ip of flags.nodeAddress)
    if (!isIp(ip)) throw new UsageError(`option --node-address: found ${ip}, expected an IP address`);
  const { objects, warnings } = loadManifests(readSources(flags.file, () => readFileSync(0, "utf8")));
  printWarnings(warnings, flags.quiet === true);
  const base = flags.config === undefined ? DEFAULT_PROXY_CONFIG : parseProxyConfig(read(flags.config), flags.config);
  const config: ProxyConfig = {
    ...base,
    ...(flags.clusterCidr === undefined ? {} : { clusterCIDR: cidrsOf(flags.clusterCidr, "--cluster-cidr").join(",") }),
    ...(flags.masqueradeAll === undefined ? {} : { masqueradeAll: true }),
    ...(flags.proxyMode === undefined ? {} : { mode: flags.proxyMode }),
  };
  if (!MODES.includes(config.mode))
    throw new UsageError(`mode: found ${config.mode}, expected one of ${MODES.join(", ")} (it is not built yet)`);
  if (config.mode === "ipvs" && !SCHEDULERS.includes(config.ipvs.scheduler))
    throw new UsageError(`ipvs.scheduler: found ${config.ipvs.scheduler}, expected one of ${SCHEDULERS.join(", ")}`);
  const all = await allocate(
    objects.map((o) => o.object),
    flags,
  );
  const object = all.find((o): o is Node => o.kind === "Node" && o.metadata.name === flags.node);
  const ips = flags.nodeAddress.length > 0 ? flags.nodeAddress : object === undefined ? [] : nodeIps(object);
  const zone = object?.metadata.labels?.[ZONE_LABEL];
  const cidrs = object === undefined ? [] : podCidrs(object);
  const node = { name: flags.node, ips, podCidrs: cidrs, ...(zone === undefined ? {} : { zone }) };
  return { objects: all, config, node, serviceCidrs: serviceCidrsOf(flags) };
}

/** What stands on the command line, checked there. */
function cidrsOf(text: string, option: string): CidrPair {
  return parseCidrPair(text, option, "command line");
}

/** Given together with a comma, or one by one. */
function serviceCidrsOf({ serviceCidr }: Flags): CidrPair {
  return cidrsOf(serviceCidr.length > 0 ? serviceCidr.join(",") : "10.96.0.0/12", "--service-cidr");
}

/** Services get the addresses and slices that the API server and the controllers would give them. */
async function allocate(objects: readonly KubeObject[], flags: Flags): Promise<readonly KubeObject[]> {
  const store = new MemoryStore({ now: () => 0 });
  for (const object of objects) await store.create(object);
  const serviceCidrs = serviceCidrsOf(flags);
  const salt = saltOf(flags.seed);
  try {
    const controllers = [
      new ServiceController(store, salt, { serviceCidrs }),
      new EndpointSliceController(store, salt),
    ];
    await new Manager(store, controllers).settle();
  } catch (cause) {
    if (cause instanceof ClusterError) throw new UsageError(cause.message, { cause });
    throw cause;
  }
  return [...store.list("Service"), ...store.list("EndpointSlice"), ...store.list("Node")];
}

async function render(flags: Flags): Promise<number> {
  const { objects, config, node, serviceCidrs } = await prepare(flags);
  const offered = TOOLS[config.mode] ?? [];
  if (flags.tool !== undefined && !offered.includes(flags.tool))
    throw new UsageError(
      `option --tool: found ${flags.tool}, expected one of ${offered.join(", ")} in mode ${config.mode}`,
    );
  for (const [tool, text] of textsFor(objects, { node, config, serviceCidrs })) {
    if (flags.tool !== undefined && flags.tool !== tool) continue;
    if (flags.tool === undefined) process.stdout.write(`# ${tool}\n`);
    process.stdout.write(text);
  }
  return OK;
}

async function evaluate(texts: readonly string[], flags: Flags): Promise<number> {
  const flows =
    texts.length > 0
      ? texts.map((text) => parseFlow(text, "command line", 0))
      : readFileSync(0, "utf8")
          .split("\n")
          .flatMap((line, i) => (line.trim() === "" ? [] : [parseFlow(line, "<stdin>", i + 1)]));
  const { objects, config, node } = await prepare(flags);
  const { rules } = flags;
  const evaluator =
    rules === undefined
      ? await FlowEvaluator.ofObjects(objects, node, config)
      : await load(rules, node.ips, config, {
          source: rules,
          family: flows[0] === undefined ? 4 : familyOfFlow(flows[0]),
          lenient: flags.lenient === true,
        });
  printWarnings(evaluator.warnings, flags.quiet === true);
  const verdicts = flows.map((flow) => evaluator.evaluate(flow));
  if (flags.output === "json") for (const verdict of verdicts) process.stdout.write(`${JSON.stringify(verdict)}\n`);
  else printResult(flags.output, verdicts, () => textOf(verdicts));
  return OK;
}

/** A ruleset that is wrong is bad input: its error names file, line and module. The first flow tells its family. */
async function load(
  file: string,
  ips: readonly string[],
  config: ProxyConfig,
  options: RulesOptions,
): Promise<FlowEvaluator> {
  const text = read(file);
  try {
    return await FlowEvaluator.ofRules(text, ips, config, options);
  } catch (cause) {
    if (cause instanceof NetlinkError) throw new UsageError(cause.message, { cause });
    throw cause;
  }
}

function textOf(verdicts: readonly FlowVerdict[]): string {
  return table(
    verdicts.map((v) => [v.flow, v.verdict, v.endpoints.join(" ") || "-", v.masquerade ? "masqueraded" : ""]),
  );
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new UsageError(`${file}: found nothing, expected a file`, { cause });
  }
}
