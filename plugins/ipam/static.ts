/**
 * static: the addresses that the configuration or the caller names (the reference plugin's documentation). It keeps no
 * state: runtimeConfig.ips win over args.cni.ips, those over CNI_ARGS IP (which adds to `ipam.addresses`).
 */
import { contains, formatIp, networkOf, parseCidr, parseIp } from "../../ipam/ip.ts";
import { parseCniArgs } from "../cni/cni-args.ts";
import { CniError, NOT_AS_ADDED } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import { parseDns, parseRoute } from "../cni/result.ts";
import type { CmdArgs, Dns, IpConfig, JsonObject, Plugin, Result, Route } from "../cni/types.ts";

export type StaticConf = {
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
};

function addressOf(text: string, where: string, gateway?: string): IpConfig {
  if (!text.includes("/") || parseCidr(text) === undefined)
    throw badField(where, text, "an address with its prefix length");
  return { address: text, ...(gateway === undefined ? {} : { gateway }) };
}

function parseAddress(fields: Fields): IpConfig {
  const address = addressOf(fields.needText("address", "an address with its prefix length"), fields.path("address"));
  const gateway = fields.text("gateway") || undefined;
  if (gateway === undefined) return address;
  if (parseIp(gateway)?.family !== parseCidr(address.address)?.ip.family)
    throw fields.bad("gateway", "an address of the same family");
  return { ...address, gateway };
}

/** GATEWAY of CNI_ARGS: each goes to the addresses in whose subnet it is. */
function withGateways(ips: readonly IpConfig[], text: string): readonly IpConfig[] {
  const gateways = text.split(",").filter((part) => part !== "");
  return gateways.reduce((list: readonly IpConfig[], part) => {
    const gateway = parseIp(part);
    if (gateway === undefined) throw badField("CNI_ARGS GATEWAY", part, "an address");
    return list.map((ip) => {
      const cidr = parseCidr(ip.address);
      return cidr !== undefined && contains(networkOf(cidr), gateway) ? { ...ip, gateway: formatIp(gateway) } : ip;
    });
  }, ips);
}

function wanted(source: Fields | undefined): readonly IpConfig[] {
  return (source?.texts("ips") ?? []).map((text, i) => addressOf(text, `${source?.path("ips")}[${i}]`));
}

export function parseStaticConf(conf: JsonObject, cniArgs: string): StaticConf {
  const fields = new Fields(conf);
  const ipam = fields.object("ipam");
  if (ipam === undefined) throw badField("ipam", undefined, "an object with addresses");
  const args = parseCniArgs(cniArgs);
  const named = (args.get("IP") ?? "").split(",").filter((text) => text !== "");
  const listed = [
    ...ipam.objects("addresses").map(parseAddress),
    ...named.map((text) => addressOf(text, "CNI_ARGS IP")),
  ];
  const [runtime, given] = [wanted(fields.object("runtimeConfig")), wanted(fields.object("args")?.object("cni"))];
  const chosen =
    runtime.length > 0 ? runtime : given.length > 0 ? given : withGateways(listed, args.get("GATEWAY") ?? "");
  if (chosen.length === 0) throw badField("ipam.addresses", undefined, "at least one address");
  return { ips: chosen, routes: ipam.objects("routes").map(parseRoute), dns: parseDns(ipam.object("dns")) };
}

async function add(args: CmdArgs): Promise<Result> {
  const { ips, routes, dns } = parseStaticConf(args.conf, args.args);
  return { interfaces: [], ips, routes, dns };
}

async function check(args: CmdArgs): Promise<void> {
  const { ips } = parseStaticConf(args.conf, args.args);
  const have = new Set(args.prevResult?.ips.map((ip) => ip.address));
  const missing = ips.find((ip) => !have.has(ip.address));
  if (missing !== undefined) throw new CniError(NOT_AS_ADDED, `prevResult: has no address ${missing.address}`);
}

export const staticIpam: Plugin = {
  name: "static",
  about: "the addresses that the configuration names",
  add,
  check,
  del: async () => {},
  gc: async () => {},
  // addresses may come with each call: without any in the configuration it can serve too
  status: async () => {},
};
