/**
 * firewall: lets the traffic of a container through the host's FORWARD chain, with iptables (the reference plugin's
 * options). It runs after a plugin that gave addresses and changes nothing in their result.
 *
 * Left out: the firewalld backend (refused with code 2). GC has nothing to go by, as the reference's rules name no owner.
 */
import type { Backend } from "../../backend/ops.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { type Cidr, type Family, parseCidr } from "../../ipam/ip.ts";
import { cleanupBackend, sandboxBackend, savedRules, statusBackend } from "../cni/data-plane.ts";
import { CniError, NOT_AS_ADDED, UNSUPPORTED_FIELD } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import type { CmdArgs, JsonObject, Plugin, Result } from "../cni/types.ts";
import {
  type FirewallWish,
  firewallAddText,
  firewallDelText,
  firewallMissing,
  type IngressPolicy,
  parseFilter,
} from "../netfilter/firewall-rules.ts";
import { restoreOp } from "../netfilter/masq.ts";
import { replan } from "../netfilter/replan.ts";
import type { SavedTable } from "../netfilter/rules-text.ts";

const DEFAULT_ADMIN_CHAIN = "CNI-ADMIN";
const SOURCE = "CNI plugin firewall";

type FirewallConf = { readonly adminChain: string; readonly policy: IngressPolicy };

function parsePolicy(fields: Fields): IngressPolicy {
  const text = fields.text("ingressPolicy") || "open";
  if (text === "open" || text === "same-bridge" || text === "isolated") return text;
  throw fields.bad("ingressPolicy", '"open", "same-bridge" or "isolated"');
}

function parseFirewallConf(conf: JsonObject): FirewallConf {
  const fields = new Fields(conf);
  const backend = fields.text("backend") || "iptables";
  if (backend === "firewalld")
    throw new CniError(UNSUPPORTED_FIELD, 'backend: found "firewalld", which is not supported yet');
  if (backend !== "iptables") throw fields.bad("backend", '"iptables"');
  return { adminChain: fields.text("iptablesAdminChainName") || DEFAULT_ADMIN_CHAIN, policy: parsePolicy(fields) };
}

function needPrevResult(args: CmdArgs): Result {
  if (args.prevResult === undefined)
    throw badField("prevResult", undefined, "the result of a plugin that gives addresses, earlier in the list");
  return args.prevResult;
}

function addressesOf(result: Result, family: Family): readonly Cidr[] {
  const all = result.ips.map((ip) => parseCidr(ip.address)).filter((cidr) => cidr !== undefined);
  return all.filter((cidr) => cidr.ip.family === family);
}

function bridgeOf(conf: FirewallConf, result: Result): string {
  if (conf.policy === "open") return "";
  // a bridge comes first in the result of the plugin that made it
  const bridge = result.interfaces.find((item) => item.sandbox === undefined)?.name;
  if (bridge === undefined)
    throw badField("prevResult.interfaces", undefined, `a bridge, for ingressPolicy ${conf.policy}`);
  return bridge;
}

type Wished = { readonly family: Family; readonly wish: FirewallWish };

function wishes(conf: FirewallConf, result: Result): readonly Wished[] {
  const bridge = bridgeOf(conf, result);
  return ([4, 6] as const)
    .map((family) => ({ family, wish: { ...conf, bridge, ips: addressesOf(result, family) } }))
    .filter(({ wish }) => wish.ips.length > 0);
}

async function planned(
  backend: Backend,
  conf: FirewallConf,
  families: readonly Family[],
  plan: (saved: SavedTable, family: Family) => string | undefined,
): Promise<readonly RtnlOp[]> {
  const ops: RtnlOp[] = [];
  for (const family of families) {
    const text = plan(parseFilter(await savedRules(backend, family, "filter"), conf.adminChain), family);
    if (text !== undefined) ops.push(restoreOp(family, text, SOURCE));
  }
  return ops;
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parseFirewallConf(args.conf);
  const result = needPrevResult(args);
  const wished = wishes(conf, result);
  if (wished.length === 0) return result;
  const backend = await sandboxBackend(args, host);
  const wishOf = new Map(wished.map(({ family, wish }) => [family, wish]));
  await replan(backend, () =>
    planned(backend, conf, [...wishOf.keys()], (saved, family) => {
      const wish = wishOf.get(family);
      return wish === undefined ? undefined : firewallAddText(saved, wish);
    }),
  );
  return result;
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFirewallConf(args.conf);
  const result = args.prevResult;
  if (result === undefined) return;
  const families = ([4, 6] as const).filter((family) => addressesOf(result, family).length > 0);
  if (families.length === 0) return;
  const { backend } = await cleanupBackend(args, host);
  if (backend === undefined) return;
  await replan(backend, () =>
    planned(backend, conf, families, (saved, family) => firewallDelText(saved, addressesOf(result, family))),
  );
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseFirewallConf(args.conf);
  const wished = wishes(conf, needPrevResult(args));
  if (wished.length === 0) return;
  const backend = await sandboxBackend(args, host);
  for (const { family, wish } of wished) {
    const missing = firewallMissing(parseFilter(await savedRules(backend, family, "filter"), conf.adminChain), wish);
    if (missing !== undefined) throw new CniError(NOT_AS_ADDED, missing);
  }
}

export const firewall: Plugin = {
  name: "firewall",
  about: "lets the traffic of a container through the host's firewall",
  add,
  del,
  check,
  gc: async (args) => {
    parseFirewallConf(args.conf);
  },
  status: async (args, host) => {
    parseFirewallConf(args.conf);
    await statusBackend(args, host);
  },
};
