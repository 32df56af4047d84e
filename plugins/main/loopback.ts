/**
 * loopback: brings a sandbox's `lo` up (CNI conventions; the reference plugin's behaviour). CNI_IFNAME is ignored: the
 * interface is always `lo`. What the kernel gives it (127.0.0.1/8, ::1/128) is read back into the result.
 */
import type { Backend } from "../../backend/ops.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { cleanupBackend, sandboxBackend } from "../cni/data-plane.ts";
import { CniError, NOT_AS_ADDED } from "../cni/error.ts";
import type { PluginHost } from "../cni/host.ts";
import type { CmdArgs, Plugin, Result } from "../cni/types.ts";

const LO = "lo";

export function planUp(netns: string, up: boolean): readonly RtnlOp[] {
  return [{ op: "link.set", netns, name: LO, up }];
}

async function resultOf(backend: Backend, netns: string): Promise<Result> {
  const lo = await backend.link(netns, LO);
  const addrs = await backend.addrs(netns, LO);
  return {
    interfaces: [{ name: LO, mac: lo?.mac ?? "00:00:00:00:00:00", sandbox: netns }],
    ips: addrs.map(({ address }) => ({ interface: 0, address })),
    routes: [],
    dns: {},
  };
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const backend = await sandboxBackend(args, host);
  await backend.apply(planUp(args.netns, true));
  return args.prevResult ?? resultOf(backend, args.netns);
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const { backend, hasSandbox } = await cleanupBackend(args, host);
  if (hasSandbox) await backend?.apply(planUp(args.netns, false));
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const backend = await sandboxBackend(args, host);
  const lo = await backend.link(args.netns, LO);
  if (lo?.up !== true) throw new CniError(NOT_AS_ADDED, `sandbox ${args.netns}: ${LO} is down`);
}

export const loopback: Plugin = {
  name: "loopback",
  about: "brings the loopback interface of a sandbox up",
  add,
  del,
  check,
  gc: async () => {},
  status: async () => {},
};
