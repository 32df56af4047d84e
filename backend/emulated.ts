/**
 * A Backend on a host of the emulator, in this process: every call is done when it returns, so calls never overlap.
 * What packets do with the changes is the event loop's business; nothing here runs it.
 */
import type { Host } from "../dataplane/host/host.ts";
import { saveRules } from "../dataplane/netfilter/restore-op.ts";
import type { NetNs } from "../dataplane/netns/netns.ts";
import { applyOps } from "../dataplane/netns/rtnl-apply.ts";
import {
  dumpAddrs,
  dumpFdb,
  dumpLinks,
  dumpNeighs,
  dumpQdiscs,
  dumpRoutes,
  dumpVlans,
} from "../dataplane/netns/rtnl-dump.ts";
import type {
  AddrInfo,
  FdbInfo,
  LinkInfo,
  NeighInfo,
  NetnsRef,
  NftListOptions,
  QdiscInfo,
  RouteInfo,
  RtnlOp,
  VlanInfo,
} from "../dataplane/netns/rtnl-ops.ts";
import { nftList } from "../dataplane/nftables/nft-op.ts";
import type { Backend } from "./ops.ts";

/** The namespace as if it had this one device: a dump of it reads no others. */
function only(ns: NetNs, name: string): NetNs {
  const dev = ns.dev(name);
  const devs: NetNs["devs"] = new Map(dev === undefined ? [] : [[dev.ifindex, dev]]);
  return Object.create(ns, { devs: { value: devs } }) as NetNs;
}

export class EmulatedBackend implements Backend {
  readonly host: Host;

  constructor(host: Host) {
    this.host = host;
  }

  async apply(ops: readonly RtnlOp[]): Promise<void> {
    applyOps(this.host, ops);
  }

  async addNetns(name: string): Promise<string> {
    return this.host.addNetns(name);
  }

  async delNetns(path: string): Promise<void> {
    this.host.delNetns(path);
  }

  async hasNetns(path: string): Promise<boolean> {
    return this.host.sandboxes.has(path);
  }

  async links(netns: NetnsRef): Promise<readonly LinkInfo[]> {
    return dumpLinks(this.host.netns(netns));
  }

  async link(netns: NetnsRef, name: string): Promise<LinkInfo | undefined> {
    return dumpLinks(only(this.host.netns(netns), name))[0];
  }

  async addrs(netns: NetnsRef, dev?: string): Promise<readonly AddrInfo[]> {
    const ns = this.host.netns(netns);
    return dumpAddrs(dev === undefined ? ns : only(ns, dev));
  }

  async routes(netns: NetnsRef): Promise<readonly RouteInfo[]> {
    return dumpRoutes(this.host.netns(netns));
  }

  async neighs(netns: NetnsRef): Promise<readonly NeighInfo[]> {
    return dumpNeighs(this.host.netns(netns));
  }

  async fdb(netns: NetnsRef): Promise<readonly FdbInfo[]> {
    return dumpFdb(this.host.netns(netns));
  }

  async vlans(netns: NetnsRef, dev?: string): Promise<readonly VlanInfo[]> {
    return dumpVlans(this.host.netns(netns)).filter((vlan) => dev === undefined || vlan.dev === dev);
  }

  async qdiscs(netns: NetnsRef, dev?: string): Promise<readonly QdiscInfo[]> {
    const ns = this.host.netns(netns);
    return dumpQdiscs(dev === undefined ? ns : only(ns, dev));
  }

  async sysctl(netns: NetnsRef, key: string): Promise<string | undefined> {
    return this.host.netns(netns).sysctls.get(key);
  }

  async iptablesSave(netns: NetnsRef, family: "ipv4" | "ipv6"): Promise<string> {
    const ns = this.host.netns(netns);
    return saveRules(ns, false, family);
  }

  async nftList(netns: NetnsRef, options: NftListOptions = {}): Promise<string> {
    return nftList(this.host.netns(netns), options);
  }

  async close(): Promise<void> {}
}
