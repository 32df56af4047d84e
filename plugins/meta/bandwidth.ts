/**
 * bandwidth: limits what goes to a container and what comes from it (the reference plugin's options), after a plugin that
 * made a veth.
 *
 *     ingress, to the container     a token bucket on the host's end of the veth
 *     egress, from the container    the host's end hands all that comes in to an ifb device, with a token bucket there
 *
 * Rates and bursts are in bits. Better than the reference: each call is one transaction, a container may have several
 * limited interfaces, DEL takes the limits back where the veth stays, GC removes the ifb devices of dead attachments (by
 * their alias, as those of veths), CHECK sees a missing redirection. `shapedSubnets` and `unshapedSubnets`, which the
 * reference had for a while, are refused with code 2.
 */
import type { Backend } from "../../backend/ops.ts";
import type { LinkInfo, QdiscInfo, RtnlOp, TbfSpec } from "../../dataplane/netns/rtnl-ops.ts";
import type { Owner } from "../../ipam/lease.ts";
import { cleanupBackend, gcBackend, sandboxBackend, statusBackend } from "../cni/data-plane.ts";
import { CniError, NOT_AS_ADDED, throwAll, UNSUPPORTED_FIELD } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import type { CmdArgs, JsonObject, Plugin, Result } from "../cni/types.ts";
import { hostAlias, isStaleAlias } from "../main/host-end.ts";
import { sha512Hex } from "../netfilter/sha512.ts";

const LATENCY_S = 0.025;
const BITS = 8;
/** Octets of a burst: the kernel holds them in 32 bits. */
const MAX_BURST = 0xffff_ffff;
const IFB_PREFIX = "bwp";
const IFB_NAME_LEN = 15;

type Limits = { readonly ingress: TbfSpec | undefined; readonly egress: TbfSpec | undefined };

const KEYS = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"] as const;

function parseLimit(fields: Fields, direction: "ingress" | "egress"): TbfSpec | undefined {
  const bits = (key: string): number => fields.int(key, 0, Number.MAX_SAFE_INTEGER) ?? 0;
  const [rateKey, burstKey] = [`${direction}Rate`, `${direction}Burst`];
  const [rateBits, burstBits] = [bits(rateKey), bits(burstKey)];
  if (rateBits === 0 && burstBits === 0) return undefined;
  const [rate, burst] = [Math.floor(rateBits / BITS), Math.floor(burstBits / BITS)];
  if (rate === 0) throw fields.bad(rateKey, `at least ${BITS} bits a second where ${burstKey} is given`);
  if (burst === 0) throw fields.bad(burstKey, `at least ${BITS} bits where ${rateKey} is given`);
  if (burst >= MAX_BURST) throw fields.bad(burstKey, "less than 32 Gbit");
  return { kind: "tbf", rate, burst, limit: Math.floor(rate * LATENCY_S) + burst };
}

/** What stands in the configuration itself wins, as a whole, over what the runtime asks for. */
export function parseLimits(conf: JsonObject): Limits {
  const fields = new Fields(conf);
  for (const key of ["shapedSubnets", "unshapedSubnets"]) {
    if (fields.list(key).length > 0)
      throw new CniError(UNSUPPORTED_FIELD, `${key}: found a list, which is not supported`);
  }
  const own = KEYS.some((key) => fields.raw(key) !== undefined);
  const source = own ? fields : (fields.object("runtimeConfig")?.object("bandwidth") ?? new Fields({}));
  return { ingress: parseLimit(source, "ingress"), egress: parseLimit(source, "egress") };
}

function ifbName(...parts: readonly string[]): string {
  return `${IFB_PREFIX}${sha512Hex(parts.join(""))}`.slice(0, IFB_NAME_LEN);
}

/** The reference's name, which a container's second interface on the network cannot have too. */
function ifbNames(network: string, { containerId, ifname }: Owner): readonly [string, string] {
  return [ifbName(network, containerId), ifbName(network, containerId, ifname)];
}

function needPrevResult(args: CmdArgs): Result {
  if (args.prevResult === undefined)
    throw badField("prevResult", undefined, "the result of a plugin that makes a veth, earlier in the list");
  return args.prevResult;
}

/** The host's end of the container's veth. */
async function hostEnd(backend: Backend, args: CmdArgs, result: Result): Promise<LinkInfo | undefined> {
  const inside = await backend.link(args.netns, args.ifname);
  for (const { name, sandbox } of result.interfaces) {
    const link = sandbox === undefined ? await backend.link("host", name) : undefined;
    if (link?.kind === "veth" && inside?.kind === "veth" && link.ifindex === inside.peerIfindex) return link;
  }
  return undefined;
}

async function needHostEnd(backend: Backend, args: CmdArgs, result: Result): Promise<LinkInfo> {
  const end = await hostEnd(backend, args, result);
  if (end !== undefined) return end;
  throw badField("prevResult.interfaces", undefined, `the host's end of the veth ${args.ifname}`);
}

export function planAdd(limits: Limits, end: LinkInfo, ifb: string, alias: string): readonly RtnlOp[] {
  const { ingress, egress } = limits;
  const on = { netns: "host", dev: end.name } as const;
  return [
    ...(ingress === undefined ? [] : [{ op: "qdisc.add", ...on, ...ingress } as const]),
    ...(egress === undefined
      ? []
      : ([
          { op: "link.add", netns: "host", name: ifb, kind: "ifb", mtu: end.mtu, up: true },
          { op: "link.set", netns: "host", name: ifb, alias },
          { op: "qdisc.add", netns: "host", dev: ifb, ...egress },
          { op: "qdisc.add", ...on, kind: "ingress" },
          { op: "filter.add", ...on, redirect: ifb },
        ] as const)),
  ];
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const limits = parseLimits(args.conf);
  const result = needPrevResult(args);
  if (limits.ingress === undefined && limits.egress === undefined) return result;
  const backend = await sandboxBackend(args, host);
  const end = await needHostEnd(backend, args, result);
  const [first, second] = ifbNames(args.name, args);
  const ifb = (await backend.link("host", first)) === undefined ? first : second;
  await backend.apply(planAdd(limits, end, ifb, hostAlias(args.name, args)));
  if (limits.egress === undefined) return result;
  const link = await backend.link("host", ifb);
  const { mac, mtu } = link ?? {};
  const made = { name: ifb, ...(mac === undefined ? {} : { mac }), ...(mtu === undefined ? {} : { mtu }) };
  return { ...result, interfaces: [...result.interfaces, made] };
}

/** The ifb devices of an attachment, one of the reference plugin included. */
async function ifbsOf(backend: Backend, args: CmdArgs): Promise<readonly string[]> {
  const names = ifbNames(args.name, args);
  const alias = hostAlias(args.name, args);
  const links = await Promise.all(names.map((name) => backend.link("host", name)));
  return links
    .filter((link) => link?.kind === "ifb" && (link.alias === alias || (link.alias === "" && link.name === names[0])))
    .map((link) => link?.name ?? "");
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  parseLimits(args.conf);
  const { backend, hasSandbox } = await cleanupBackend(args, host);
  if (backend === undefined) return;
  const ops: RtnlOp[] = [];
  const end = hasSandbox && args.prevResult !== undefined ? await hostEnd(backend, args, args.prevResult) : undefined;
  if (end !== undefined) {
    for (const { kind } of await backend.qdiscs("host", end.name))
      ops.push({ op: "qdisc.del", netns: "host", dev: end.name, kind });
  }
  for (const name of await ifbsOf(backend, args)) ops.push({ op: "link.del", netns: "host", name });
  if (ops.length > 0) await backend.apply(ops);
}

/** The burst comes back from the kernel as the microseconds that it lasts. */
function isLike(found: QdiscInfo | undefined, wanted: TbfSpec): boolean {
  if (found?.kind !== "tbf" || found.rate !== wanted.rate || found.limit !== wanted.limit) return false;
  return Math.abs(found.burst - wanted.burst) <= wanted.rate / 1e6 + 1;
}

async function requireTbf(backend: Backend, dev: string, wanted: TbfSpec): Promise<void> {
  const found = (await backend.qdiscs("host", dev)).find((qdisc) => qdisc.kind === "tbf");
  if (isLike(found, wanted)) return;
  const words = (tbf: QdiscInfo | TbfSpec | undefined): string =>
    tbf?.kind === "tbf" ? `rate ${tbf.rate} burst ${tbf.burst} limit ${tbf.limit} (octets)` : "nothing";
  throw new CniError(NOT_AS_ADDED, `qdisc of ${dev}: found ${words(found)}, expected ${words(wanted)}`);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const { ingress, egress } = parseLimits(args.conf);
  const result = needPrevResult(args);
  if (ingress === undefined && egress === undefined) return;
  const backend = await sandboxBackend(args, host);
  const end = await needHostEnd(backend, args, result);
  if (ingress !== undefined) await requireTbf(backend, end.name, ingress);
  if (egress === undefined) return;
  const [ifb] = await ifbsOf(backend, args);
  if (ifb === undefined) throw new CniError(NOT_AS_ADDED, `ifb device of ${args.ifname}: is not there`);
  await requireTbf(backend, ifb, egress);
  const redirected = (await backend.qdiscs("host", end.name)).some((q) => q.kind === "ingress" && q.redirect === ifb);
  if (!redirected) throw new CniError(NOT_AS_ADDED, `interface ${end.name}: what comes in is not redirected to ${ifb}`);
}

/** Of dead attachments; and half made ones, which have neither an alias nor anything that comes to them. */
async function staleIfbs(backend: Backend, args: CmdArgs): Promise<readonly string[]> {
  const ifbs = (await backend.links("host")).filter((link) => link.kind === "ifb");
  const stale = ifbs.filter((link) => isStaleAlias(link.alias, args.name, args.validAttachments));
  const bare = ifbs.filter((link) => link.alias === "" && /^bwp[0-9a-f]{12}$/.test(link.name));
  if (bare.length === 0) return stale.map((link) => link.name);
  const used = new Set((await backend.qdiscs("host")).map((q) => (q.kind === "ingress" ? q.redirect : null)));
  return [...stale, ...bare.filter((link) => !used.has(link.name))].map((link) => link.name);
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  parseLimits(args.conf);
  const backend = await gcBackend(args, host);
  if (backend === undefined) return;
  const errors: unknown[] = [];
  for (const name of await staleIfbs(backend, args)) {
    try {
      await backend.apply([{ op: "link.del", netns: "host", name }]);
    } catch (error) {
      if ((await backend.link("host", name)) !== undefined) errors.push(error);
    }
  }
  throwAll(errors);
}

export const bandwidth: Plugin = {
  name: "bandwidth",
  about: "limits the traffic of a container",
  add,
  del,
  check,
  gc,
  status: async (args, host) => {
    parseLimits(args.conf);
    await statusBackend(args, host);
  },
};
