/**
 * ptp: a veth between a container and the host, routed, without a bridge (the reference plugin's options).
 *
 *     host      vethXXXXXXXX   gateway/32, and a route to the container's address
 *     sandbox   CNI_IFNAME     address; the gateway on the link, and the subnet through the gateway
 *
 * The container reaches its neighbours in the subnet through the host, as nothing else is on its link. Everything after
 * IPAM is one transaction.
 */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { bitsOf, type Cidr, formatCidr, formatIp, networkOf, parseCidr } from "../../ipam/ip.ts";
import { addresses, call, delegateRequest } from "../cni/call.ts";
import { cleanupBackend, gcBackend, hasIpv6, sandboxBackend, socketOf, statusBackend } from "../cni/data-plane.ts";
import { BAD_PLUGIN, CniError, EXISTS, NOT_AS_ADDED, throwAll } from "../cni/error.ts";
import { badField, Fields } from "../cni/fields.ts";
import type { PluginHost } from "../cni/host.ts";
import { parseDns } from "../cni/result.ts";
import type { CmdArgs, Dns, IpConfig, JsonObject, Plugin, Result } from "../cni/types.ts";
import { Undo } from "../cni/undo.ts";
import {
  masqGcOps,
  masqMissingOf,
  masqOps,
  parseRulesBackend,
  type RulesBackend,
  unmasqExactOps,
  unmasqOps,
  withRules,
} from "../netfilter/masq.ts";
import { aliasOp, removeStaleEnds } from "./host-end.ts";
import { drawNames, type Names } from "./names.ts";

const ATTEMPTS = 8;

export type PtpConf = {
  readonly ipMasq: boolean;
  readonly masqBackend: RulesBackend | undefined;
  readonly mtu: number | undefined;
  readonly ipamType: string;
  readonly dns: Dns | undefined;
};

export function parsePtpConf(conf: JsonObject): PtpConf {
  const fields = new Fields(conf);
  const ipamType = fields.object("ipam")?.text("type") || undefined;
  if (ipamType === undefined) throw badField("ipam.type", undefined, "the name of a plugin that gives addresses");
  const dns = parseDns(fields.object("dns"));
  return {
    ipMasq: fields.flag("ipMasq") ?? false,
    masqBackend: parseRulesBackend(fields, "ipMasqBackend"),
    mtu: fields.int("mtu", 0, 65535) || undefined,
    ipamType,
    dns: Object.keys(dns).length === 0 ? undefined : dns,
  };
}

type Address = { readonly cidr: Cidr; readonly gateway: string };

function addressOf(ip: IpConfig): Address {
  const cidr = parseCidr(ip.address);
  if (cidr === undefined || ip.gateway === undefined)
    throw new CniError(BAD_PLUGIN, `ipam: address ${ip.address}: has no gateway, which ptp needs`);
  return { cidr, gateway: ip.gateway };
}

function dotted(dev: string): string {
  return dev.replaceAll(".", "/");
}

/** All of ADD after IPAM, to be applied whole. */
export function planAdd(
  conf: PtpConf,
  args: CmdArgs,
  ipam: Result,
  names: Names,
  ipv6: boolean,
  rules: RulesBackend,
): readonly RtnlOp[] {
  const { netns, ifname } = args;
  const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
  const addresses = ipam.ips.map(addressOf);
  const ops: RtnlOp[] = [
    {
      op: "link.add",
      netns,
      name: ifname,
      kind: "veth",
      mac: names.containerMac,
      ...mtu,
      peer: { name: names.hostIfname, netns: "host", mac: names.hostMac, ...mtu, up: true },
    },
    aliasOp(args.name, args, names.hostIfname),
    { op: "sysctl.set", netns, key: `net.ipv4.conf.${dotted(ifname)}.arp_notify`, value: "1" },
  ];
  if (ipv6) {
    ops.push({ op: "sysctl.set", netns, key: `net.ipv6.conf.${dotted(ifname)}.accept_dad`, value: "0" });
    ops.push({
      op: "sysctl.set",
      netns: "host",
      key: `net.ipv6.conf.${dotted(names.hostIfname)}.accept_dad`,
      value: "0",
    });
  }
  for (const { cidr } of addresses) ops.push({ op: "addr.add", netns, dev: ifname, address: formatCidr(cidr) });
  ops.push({ op: "link.set", netns, name: ifname, up: true });
  for (const { cidr, gateway } of addresses) ops.push(...sandboxRoutes(netns, ifname, cidr, gateway));
  for (const route of ipam.routes) {
    const family = parseCidr(route.dst)?.ip.family;
    const via = route.gw ?? addresses.find(({ cidr }) => cidr.ip.family === family)?.gateway;
    ops.push({
      op: "route.add",
      netns,
      dst: route.dst,
      dev: ifname,
      ...(via === undefined ? {} : { via }),
      ...(route.priority === undefined ? {} : { metric: route.priority }),
      ...(route.table === undefined ? {} : { table: route.table }),
      ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
    });
  }
  for (const { cidr, gateway } of addresses) ops.push(...hostSide(names.hostIfname, cidr, gateway));
  return conf.ipMasq
    ? [
        ...ops,
        ...masqOps(
          rules,
          { network: args.name, containerId: args.containerId, ifname },
          ipam.ips.map((ip) => ip.address),
        ),
      ]
    : ops;
}

/** In the place of the route that came with the address. */
function sandboxRoutes(netns: string, dev: string, cidr: Cidr, gateway: string): readonly RtnlOp[] {
  const bits = bitsOf(cidr.ip.family);
  const subnet = formatCidr(networkOf(cidr));
  const src = formatIp(cidr.ip);
  const onLink: RtnlOp = { op: "route.add", netns, dst: `${gateway}/${bits}`, dev, scope: "link", src };
  if (cidr.len === bits) return [onLink];
  return [
    { op: "route.del", netns, dst: subnet, dev },
    onLink,
    { op: "route.add", netns, dst: subnet, dev, via: gateway, src },
  ];
}

function hostSide(dev: string, cidr: Cidr, gateway: string): readonly RtnlOp[] {
  const bits = bitsOf(cidr.ip.family);
  const key = cidr.ip.family === 4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding";
  return [
    { op: "addr.add", netns: "host", dev, address: `${gateway}/${bits}` },
    { op: "route.add", netns: "host", dst: `${formatIp(cidr.ip)}/${bits}`, dev, scope: "link" },
    { op: "sysctl.set", netns: "host", key, value: "1" },
  ];
}

async function wire(args: CmdArgs, host: PluginHost, backend: Backend, conf: PtpConf, ipam: Result): Promise<Names> {
  const ipv6 = await hasIpv6(backend);
  for (let attempt = 1; ; attempt++) {
    const names = drawNames(host, args.name);
    try {
      await withRules(conf.masqBackend, (rules) => backend.apply(planAdd(conf, args, ipam, names, ipv6, rules)));
      return names;
    } catch (error) {
      // the name of the host's end may be taken
      const taken = error instanceof NetlinkError && error.code === "EEXIST" && error.failed?.op === "link.add";
      if (!taken || attempt >= ATTEMPTS) throw error;
    }
  }
}

async function add(args: CmdArgs, host: PluginHost): Promise<Result> {
  const conf = parsePtpConf(args.conf);
  const backend = await sandboxBackend(args, host);
  const undo = new Undo((text) => host.warn(text));
  return undo.guard(async () => {
    if ((await backend.link(args.netns, args.ifname)) !== undefined)
      throw new CniError(EXISTS, `sandbox ${args.netns}: interface ${args.ifname} exists already`);
    const ipam = await addresses(conf.ipamType, args, host, undo);
    const { hostIfname } = await wire(args, host, backend, conf, ipam);
    const [outside, inside] = [await backend.link("host", hostIfname), await backend.link(args.netns, args.ifname)];
    if (outside === undefined || inside === undefined)
      throw new CniError(NOT_AS_ADDED, `interface ${args.ifname}: gone right after it was made`);
    return {
      interfaces: [
        { name: outside.name, mac: outside.mac, mtu: outside.mtu },
        { name: inside.name, mac: inside.mac, mtu: inside.mtu, sandbox: args.netns },
      ],
      ips: ipam.ips.map((ip) => ({ ...ip, interface: 1 })),
      routes: ipam.routes,
      dns: conf.dns ?? ipam.dns,
    };
  });
}

async function unwire(args: CmdArgs, backend: Backend, conf: PtpConf, hasSandbox: boolean): Promise<void> {
  const owner = { network: args.name, containerId: args.containerId, ifname: args.ifname };
  const known = args.prevResult?.ips.map((ip) => ip.address);
  for (let attempt = 1; ; attempt++) {
    const ops: RtnlOp[] = [];
    let all = known;
    if (hasSandbox && (await backend.link(args.netns, args.ifname)) !== undefined) {
      ops.push({ op: "link.del", netns: args.netns, name: args.ifname });
      all ??= (await backend.addrs(args.netns, args.ifname)).map((a) => a.address);
    }
    if (conf.ipMasq) {
      const exact = attempt === 1 && conf.masqBackend !== "nftables" ? unmasqExactOps(owner, known ?? []) : [];
      ops.push(...(exact.length > 0 ? exact : await unmasqOps(backend, owner, hasSandbox ? all : undefined)));
    }
    if (ops.length === 0) return;
    try {
      await backend.apply(ops);
      return;
    } catch (error) {
      if (attempt >= ATTEMPTS || !(error instanceof NetlinkError)) throw error;
    }
  }
}

async function del(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePtpConf(args.conf);
  if (args.netns !== "" || conf.ipMasq) {
    const { backend, hasSandbox } = await cleanupBackend(args, host);
    if (backend !== undefined) await unwire(args, backend, conf, hasSandbox);
  }
  await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
}

function different(what: string): CniError {
  return new CniError(NOT_AS_ADDED, what);
}

async function check(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePtpConf(args.conf);
  const backend = await sandboxBackend(args, host);
  await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
  const { netns, ifname } = args;
  const link = await backend.link(netns, ifname);
  if (link?.kind !== "veth") throw different(`sandbox ${netns}: interface ${ifname} is not there`);
  if (!link.up) throw different(`interface ${ifname}: is down`);
  const ips = args.prevResult?.ips ?? [];
  const addrs = (await backend.addrs(netns, ifname)).map((a) => a.address);
  for (const { address } of ips)
    if (!addrs.includes(address)) throw different(`interface ${ifname}: has no address ${address}`);
  const toHost = await backend.routes("host");
  for (const { address } of ips) {
    const cidr = parseCidr(address);
    const dst = cidr === undefined ? "" : `${formatIp(cidr.ip)}/${bitsOf(cidr.ip.family)}`;
    if (!toHost.some((route) => route.dst === dst)) throw different(`host: no route to ${dst}`);
  }
  const routes = await backend.routes(netns);
  for (const { dst } of args.prevResult?.routes ?? []) {
    const same = (other: string): boolean => other === dst || (other === "default" && dst === "0.0.0.0/0");
    if (!routes.some((route) => same(route.dst))) throw different(`sandbox ${netns}: no route to ${dst}`);
  }
  if (!conf.ipMasq) return;
  const missing = await masqMissingOf(
    backend,
    conf.masqBackend,
    { network: args.name, containerId: args.containerId, ifname },
    ips.map((ip) => ip.address),
  );
  if (missing !== undefined) throw different(missing);
}

async function gc(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePtpConf(args.conf);
  const errors: unknown[] = [];
  try {
    await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
  } catch (error) {
    errors.push(error);
  }
  if (conf.ipMasq) {
    try {
      const backend = await host.backend("", socketOf(args));
      const ops = await masqGcOps(backend, args.name, args.validAttachments);
      if (ops.length > 0) await backend.apply(ops);
    } catch (error) {
      errors.push(error);
    }
  }
  try {
    await removeStaleEnds(await gcBackend(args, host), args.name, args.validAttachments);
  } catch (error) {
    errors.push(error);
  }
  throwAll(errors);
}

async function status(args: CmdArgs, host: PluginHost): Promise<void> {
  const conf = parsePtpConf(args.conf);
  await statusBackend(args, host);
  await call(host.exec, delegateRequest(conf.ipamType, args), (text) => host.warn(text));
}

export const ptp: Plugin = {
  name: "ptp",
  about: "connects a container to the host by a routed veth pair",
  add,
  del,
  check,
  gc,
  status,
};
