/** What the interface plugins share about their data plane: which one a call means, and what a missing one means. */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { type NftTable, parseNftTable } from "../netfilter/nft-text.ts";
import { BAD_NETNS, CniError, NO_BACKEND, TRY_AGAIN, UNAVAILABLE } from "./error.ts";
import { Fields } from "./fields.ts";
import type { PluginHost } from "./host.ts";
import type { CmdArgs } from "./types.ts";

/** `podwire.socket` of a configuration: the node's data plane where no sandbox names it. */
export function socketOf(args: CmdArgs): string | undefined {
  return new Fields(args.conf).object("podwire")?.text("socket");
}

/** The data plane of ADD and CHECK; the sandbox must exist. */
export async function sandboxBackend(args: CmdArgs, host: PluginHost): Promise<Backend> {
  const backend = await host.backend(args.netns, socketOf(args));
  if (await backend.hasNetns(args.netns)) return backend;
  throw new CniError(BAD_NETNS, `CNI_NETNS: found "${args.netns}", expected a network namespace`);
}

export type Cleanup = { readonly backend: Backend | undefined; readonly hasSandbox: boolean };

/** The data plane of DEL: what is gone needs no cleaning, so its absence is told and no error. */
export async function cleanupBackend(args: CmdArgs, host: PluginHost): Promise<Cleanup> {
  try {
    const backend = await host.backend(args.netns, socketOf(args));
    return { backend, hasSandbox: args.netns !== "" && (await backend.hasNetns(args.netns)) };
  } catch (error) {
    if (!(error instanceof CniError) || ![NO_BACKEND, TRY_AGAIN, BAD_NETNS].includes(error.code)) throw error;
    host.warn(`${args.command} of ${args.containerId} ${args.ifname}: goes on without a data plane: ${error.message}`);
    return { backend: undefined, hasSandbox: false };
  }
}

/** The data plane for GC of links: undefined if the host names none, as there is then none to clean. */
export async function gcBackend(args: CmdArgs, host: PluginHost): Promise<Backend | undefined> {
  try {
    return await host.backend("", socketOf(args));
  } catch (error) {
    if (error instanceof CniError && error.code === NO_BACKEND) return undefined;
    throw error;
  }
}

/** The data plane for STATUS: undefined if the host names none by default, UNAVAILABLE if it does not answer. */
export async function statusBackend(args: CmdArgs, host: PluginHost): Promise<Backend | undefined> {
  try {
    return await host.backend("", socketOf(args));
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    if (error.code === NO_BACKEND) return undefined;
    if (error.code === TRY_AGAIN) throw new CniError(UNAVAILABLE, error.msg, error.details, { cause: error });
    throw error;
  }
}

/** Whether this data plane has IPv6 at all. */
export async function hasIpv6(backend: Backend): Promise<boolean> {
  return (await backend.sysctl("host", "net.ipv6.conf.all.forwarding")) !== undefined;
}

/** The host's rules of a family, of one table at least; none where the family is not there. */
export async function savedRules(backend: Backend, family: 4 | 6, table: string = "nat"): Promise<string> {
  try {
    return await backend.iptablesSave("host", family === 4 ? "ipv4" : "ipv6", table);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    // where iptables is not installed there are no rules of it
    if (error.code === "ENOENT" || (family === 6 && /^(?:EAFNOSUPPORT|EOPNOTSUPP|ENOSYS)$/.test(error.code))) return "";
    throw error;
  }
}

/** A table of the host's nftables ("FAMILY NAME"); an empty one where there is none, or no nftables. */
export async function listedTable(backend: Backend, table: string): Promise<NftTable> {
  try {
    return parseNftTable(await backend.nftList("host", { table, handles: true }));
  } catch (error) {
    if (error instanceof NetlinkError && /^(?:ENOENT|EOPNOTSUPP)$/.test(error.code)) return parseNftTable("");
    throw error;
  }
}
