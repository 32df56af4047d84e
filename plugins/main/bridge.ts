/**
 * bridge: a container's veth on a bridge of the host (the reference plugin's options, CNI specification 1.1.0).
 *
 * Everything after IPAM is one transaction, so a failed ADD leaves neither a veth nor rules, and the address is given
 * back. Better than the reference: GC, CHECK of the masquerade rules, DEL without a namespace cleans rules, mtu in 1.1.0
 * results. Left out: waiting for the port to forward or for duplicate address detection (accept_dad is off).
 */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { formatCidr, parseCidr } from "../../ipam/ip.ts";
import type { Owner } from "../../ipam/lease.ts";
import { addresses, call, delegateRequest } from "../cni/call.ts";
import {
  cleanupBackend,
  gcBackend,
  hasIpv6,
  listedTable,
  sandboxBackend,
  socketOf,
  statusBackend,
} from "../cni/data-plane.ts";
import { CniError, EXISTS, NOT_AS_ADDED, throwAll, UNAVAILABLE } from "../cni/error.ts";
import type { PluginHost } from "../cni/host.ts";
import { type CmdArgs, EMPTY_RESULT, type Interface, type Plugin, type Result } from "../cni/types.ts";
import { Undo } from "../cni/undo.ts";
import { masqGcOps, masqMissingOf, nftOps, unmasqExactOps, unmasqOps, withRules } from "../netfilter/masq.ts";
import { SPOOF_TABLE, spoofDelText, spoofGcText, spoofMissing } from "../netfilter/nft-spoof.ts";
import { type BridgeConf, gatewayOf, hasVlans, parseBridgeConf } from "./bridge-conf.ts";
import { type BridgeWorld, planAdd, routesFor, withGateways } from "./bridge-plan.ts";
import { hostPrefix, removeStaleEnds } from "./host-end.ts";
import { drawNames, type Names } from "./names.ts";

const SPOOF_SOURCE = "CNI macspoofchk";
/** How often to plan anew when another call changed the bridge between reading and writing. */
const ATTEMPTS = 8;

async function isOn(backend: Backend, key: string): Promise<boolean> {
  return (await backend.sysctl("host", key)) === "1";
}

async function readWorld(backend: Backend, conf: BridgeConf, netns: string): Promise<BridgeWorld> {
  const bridge = await backend.link("host", conf.bridge);
  const dev = gatewayOf(conf);
  const gateway = dev === conf.bridge ? bridge !== undefined : (await backend.link("host", dev)) !== undefined;
  const addrs = gateway && conf.isGateway ? await backend.addrs("host", dev) : [];
  return {
    bridge,
    gateway,
    bridgeAddrs: addrs.filter((a) => a.scope !== "link").map((a) => a.address),
    ipv6: await hasIpv6(backend),
    forwards4: await isOn(backend, "net.ipv4.ip_forward"),
    forwards6: await isOn(backend, "net.ipv6.conf.all.forwarding"),
    sandboxRoutes: await backend.routes(netns),
  };
}

/** Whether a refusal may come from another call's work on the same bridge, and a new plan may do. */
function isRace(error: unknown, conf: BridgeConf, names: Names): boolean {
  if (!(error instanceof NetlinkError) || error.failed === null) return false;
  const { failed, code } = error;
  if (failed.op === "link.add")
    return (
      code === "EEXIST" &&
      (failed.name === conf.bridge ||
        failed.name === gatewayOf(conf) ||
        (failed.kind === "veth" && failed.peer.name === names.hostIfname))
    );
  if (failed.op === "addr.add") return code === "EEXIST" && failed.dev === gatewayOf(conf);
  return failed.op === "addr.del" && failed.dev === gatewayOf(conf);
}

async function requireFree({ netns, ifname }: CmdArgs, backend: Backend): Promise<void> {
  if ((await backend.link(netns, ifname)) !== undefined)
    throw new CniError(EXISTS, `sandbox ${netns}: interface ${ifname} exists already`);
}

async function wire(args: CmdArgs, host: PluginHost, backend: Backend, conf: BridgeConf, ipam: Result): Promise<Names> {
  const { netns, ifname, containerId } = args;
  for (let attempt = 1; ; attempt++) {
    if (attempt > 1) await requireFree(args, backend);
    const names = drawNames(host, conf.network);
    const world = await readWorld(backend, conf, netns);
    const place = { netns, ifname, containerId };
    try {
      await withRules(conf.masqBackend, (rules) => backend.apply(planAdd(conf, place, world, ipam, names, rules)));
      return names;
    } catch (error) {
      if (attempt >= ATTEMPTS || !isRace(error, conf, names)) throw error;
    }
  }
}

async function interfacesOf(
  args: CmdArgs,
  backend: Backend,
  conf: BridgeConf,
  hostIfname: string,
): Promise<readonly Interface[]> {
  const show = async (netns: string, name: string): Promise<Interface> => {
    const link = await backend.link(netns, name);
    if (link === undefined) throw new CniError(NOT_AS_ADDED, `interface ${name}: gone right after it was made`);
    return { name, mac: link.mac, mtu: link.mtu, ...(netns === "host" ? {} : { sandbox: netns }) };
  };
  const gateway = conf.isGateway && conf.vlan !== 0 ? [await show("host", gatewayOf(conf))] : [];
  return [
    await show("host", conf.bridge),
    await show("host", hostIfname),
    await show(args.netns, args.ifname),
    ...gateway,
  ];
}

/** Index of the container's interface in the result. */
const CONTAINER = 2;

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parseBridgeConf(args.conf, args.name, args.args);
  const backend = await sandboxBackend(args, host);
  const undo = new Undo((text) => host.warn(text));
  return undo.guard(async () => {
    // before an address is taken: the other attachment of that name may have one, which must stay
    await requireFree(args, backend);
    const ipam = conf.ipamType === undefined ? EMPTY_RESULT : await addresses(conf.ipamType, args, host, undo);
    const { hostIfname } = await wire(args, host, backend, conf, ipam);
    undo.push(() => unwire(args, host, conf, backend, true));
    const ips = withGateways(conf, ipam.ips);
    return {
      interfaces: await interfacesOf(args, backend, conf, hostIfname),
      ips: ips.map((ip) => ({ ...ip, interface: CONTAINER })),
      routes: routesFor(conf, ips, ipam.routes),
      dns: conf.dns ?? ipam.dns,
    };
  });
}

/** Removes the veth and the masquerade rules, as far as they are there. */
async function unwire(
  args: CmdArgs,
  host: PluginHost,
  conf: BridgeConf,
  backend: Backend,
  hasSandbox: boolean,
): Promise<void> {
  const { containerId, ifname } = args;
  const owner = { network: conf.network, containerId, ifname };
  for (let attempt = 1; ; attempt++) {
    const ops: RtnlOp[] = [];
    let all = args.prevResult?.ips.map((ip) => ip.address);
    let exactly = all;
    if (hasSandbox) {
      if ((await backend.link(args.netns, args.ifname)) !== undefined) {
        ops.push({ op: "link.del", netns: args.netns, name: args.ifname });
        const own = (await backend.addrs(args.netns, args.ifname)).filter((a) => a.scope !== "link");
        // others may have added to it since: the exact removal is for what ADD told
        exactly ??= own.map((a) => a.address);
        all = [...(all ?? []), ...own.map((a) => a.address)];
      }
    }
    if (conf.ipMasq) {
      // the rules are known to the letter where ADD's result is: then nothing need be read, unless that fails
      const exact = attempt === 1 && conf.masqBackend !== "nftables" ? unmasqExactOps(owner, exactly ?? []) : [];
      ops.push(...(exact.length > 0 ? exact : await unmasqOps(backend, owner, hasSandbox ? all : undefined)));
    }
    if (conf.macspoofchk)
      ops.push(...nftOps(spoofDelText(await listedTable(backend, SPOOF_TABLE), owner), SPOOF_SOURCE));
    if (ops.length === 0) return;
    try {
      await backend.apply(ops);
      return;
    } catch (error) {
      // somebody else removed it meanwhile, or the rules are not what ADD made: look again
      if (attempt >= ATTEMPTS || !(error instanceof NetlinkError)) throw error;
      if (attempt > 1) host.warn(`DEL of ${args.containerId} ${args.ifname}: once more after ${error.message}`);
    }
  }
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseBridgeConf(args.conf, args.name, "");
  if (args.netns !== "" || conf.ipMasq || conf.macspoofchk) {
    const { backend, hasSandbox } = await cleanupBackend(args, host);
    if (backend !== undefined) await unwire(args, host, conf, backend, hasSandbox);
  }
  // the address goes back last: nothing uses it any more
  if (conf.ipamType !== undefined)
    await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
}

function different(what: string): CniError {
  return new CniError(NOT_AS_ADDED, what);
}

async function checkVlans(conf: BridgeConf, backend: Backend, port: string): Promise<void> {
  const bridge = await backend.link("host", conf.bridge);
  if (bridge?.vlanFiltering !== true) throw different(`bridge ${conf.bridge}: does not filter VLANs`);
  const there = await backend.vlans("host", port);
  const pvid = conf.vlan === 0 ? 1 : conf.vlan;
  if (!there.some((vlan) => vlan.vid === pvid && vlan.pvid && vlan.untagged))
    throw different(`interface ${port}: VLAN ${pvid} is not that of frames without a tag`);
  const lost = conf.trunk.find((vid) => !there.some((vlan) => vlan.vid === vid));
  if (lost !== undefined) throw different(`interface ${port}: is not in VLAN ${lost}`);
}

async function checkLinks(args: CmdArgs, conf: BridgeConf, backend: Backend): Promise<void> {
  const outside = await backend.links("host");
  const bridge = outside.find((link) => link.name === conf.bridge);
  if (bridge?.kind !== "bridge") throw different(`bridge ${conf.bridge}: is not there`);
  const inside = await backend.link(args.netns, args.ifname);
  if (inside === undefined) throw different(`sandbox ${args.netns}: interface ${args.ifname} is not there`);
  if (inside.kind !== "veth") throw different(`interface ${args.ifname}: is of kind ${inside.kind}, expected veth`);
  if (conf.containerUp && !inside.up) throw different(`interface ${args.ifname}: is down`);
  const recorded = args.prevResult?.interfaces.find((i) => i.name === args.ifname && i.sandbox !== undefined);
  if (recorded === undefined) throw different(`prevResult: has no interface ${args.ifname} of the sandbox`);
  if (recorded.mac !== undefined && recorded.mac !== inside.mac) {
    throw different(`interface ${args.ifname}: has MAC ${inside.mac}, expected ${recorded.mac}`);
  }
  const peer = outside.find((link) => link.ifindex === inside.peerIfindex);
  if (peer === undefined) throw different(`interface ${args.ifname}: its peer is not on the host`);
  if (peer.master !== conf.bridge) throw different(`interface ${peer.name}: is no port of ${conf.bridge}`);
  if (hasVlans(conf)) await checkVlans(conf, backend, peer.name);
}

async function checkAddresses(args: CmdArgs, backend: Backend): Promise<void> {
  const prev = args.prevResult ?? EMPTY_RESULT;
  const normal = (text: string): string => {
    const cidr = parseCidr(text === "default" ? "0.0.0.0/0" : text);
    return cidr === undefined ? text : formatCidr(cidr);
  };
  const addrs = (await backend.addrs(args.netns, args.ifname)).map((a) => normal(a.address));
  for (const ip of prev.ips) {
    const on = ip.interface === undefined ? undefined : prev.interfaces[ip.interface];
    if (on !== undefined && on.name !== args.ifname) continue;
    if (!addrs.includes(normal(ip.address))) throw different(`interface ${args.ifname}: has no address ${ip.address}`);
  }
  const routes = await backend.routes(args.netns);
  for (const route of prev.routes) {
    const there = routes.some(
      (r) => normal(r.dst) === normal(route.dst) && (route.gw === undefined || r.via === route.gw),
    );
    if (!there)
      throw different(
        `sandbox ${args.netns}: no route to ${route.dst}${route.gw === undefined ? "" : ` via ${route.gw}`}`,
      );
  }
}

async function checkSpoof(args: CmdArgs, backend: Backend, owner: Owner): Promise<void> {
  const inside = await backend.link(args.netns, args.ifname);
  const port = (await backend.links("host")).find((link) => link.ifindex === inside?.peerIfindex);
  const table = await listedTable(backend, SPOOF_TABLE);
  const missing = spoofMissing(table, owner, port?.name ?? "", inside?.mac ?? "");
  if (missing !== undefined) throw different(missing);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseBridgeConf(args.conf, args.name, args.args);
  const backend = await sandboxBackend(args, host);
  if (conf.ipamType !== undefined)
    await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
  await checkLinks(args, conf, backend);
  await checkAddresses(args, backend);
  const owner = { network: args.name, containerId: args.containerId, ifname: args.ifname };
  if (conf.macspoofchk) await checkSpoof(args, backend, owner);
  if (!conf.ipMasq) return;
  const missing = await masqMissingOf(
    backend,
    conf.masqBackend,
    owner,
    (args.prevResult?.ips ?? []).map((ip) => ip.address),
  );
  if (missing !== undefined) throw different(missing);
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseBridgeConf(args.conf, args.name, "");
  const errors: unknown[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      errors.push(error);
    }
  };
  const { ipamType } = conf;
  if (ipamType !== undefined)
    await attempt(() => call(host.exec, delegateRequest(ipamType, args), (text) => host.warn(text)));
  if (conf.ipMasq) {
    await attempt(async () => {
      const backend = await host.backend("", socketOf(args));
      const ops = await masqGcOps(backend, args.name, args.validAttachments);
      if (ops.length > 0) await backend.apply(ops);
    });
  }
  if (conf.macspoofchk) {
    await attempt(async () => {
      const backend = await host.backend("", socketOf(args));
      const table = await listedTable(backend, SPOOF_TABLE);
      const ops = nftOps(spoofGcText(table, hostPrefix(args.name), args.validAttachments), SPOOF_SOURCE);
      if (ops.length > 0) await backend.apply(ops);
    });
  }
  await attempt(async () => removeStaleEnds(await gcBackend(args, host), args.name, args.validAttachments));
  throwAll(errors);
}

async function status(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parseBridgeConf(args.conf, args.name, "");
  const backend = await statusBackend(args, host);
  const taken = await backend?.link("host", conf.bridge);
  if (taken !== undefined && taken.kind !== "bridge") {
    throw new CniError(UNAVAILABLE, `bridge ${conf.bridge}: a device of kind ${taken.kind} has that name`);
  }
  if (conf.ipamType !== undefined)
    await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
}

export const bridge: Plugin = {
  name: "bridge",
  about: "connects a container to a bridge of the host",
  add,
  del,
  check,
  gc,
  status,
};
