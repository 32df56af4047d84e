/** A node of the emulator: its root namespace and the sandboxes on it. */
import { NetDev } from "../dev/netdev.ts";
import { addLink, removeLink, setLinkUp } from "../netns/link.ts";
import type { NetNs } from "../netns/netns.ts";
import { NetlinkError, type NetnsRef } from "../netns/rtnl-ops.ts";
import { createNetns } from "../netns/stack.ts";
import type { Mac } from "../wire/mac-addr.ts";
import type { Underlay } from "./underlay.ts";
import type { World } from "./world.ts";

/** Where emulated namespaces appear, as `ip netns` shows the kernel's. */
const NETNS_DIR = "/var/run/netns";

export class Host {
  readonly world: World;
  readonly name: string;
  readonly root: NetNs;
  /** By path. */
  readonly sandboxes: Map<string, NetNs> = new Map();

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.root = createNetns(world, "host", name);
    const lo = this.root.dev("lo") as NetDev;
    setLinkUp(lo, true);
  }

  /** Makes an empty namespace and answers its path. Throws NetlinkError EEXIST. */
  addNetns(name: string): string {
    const path = `${NETNS_DIR}/${name}`;
    if (this.sandboxes.has(path)) throw new NetlinkError("EEXIST", `namespace ${path} exists`);
    this.sandboxes.set(path, createNetns(this.world, name, this.name));
    return path;
  }

  /** Removes a namespace with all its links; a missing one is fine. */
  delNetns(path: string): void {
    const ns = this.sandboxes.get(path);
    if (ns === undefined) return;
    for (const dev of [...ns.devs.values()]) if (dev.name !== "lo") removeLink(dev);
    this.sandboxes.delete(path);
  }

  /** Throws NetlinkError ENOENT. */
  netns(ref: NetnsRef): NetNs {
    if (ref === "host") return this.root;
    const ns = this.sandboxes.get(ref);
    if (ns === undefined) throw new NetlinkError("ENOENT", `namespace ${ref} does not exist on ${this.name}`);
    return ns;
  }

  /** Plugs a card into the underlay, up. */
  addNic(name: string, underlay: Underlay, mac: Mac, mtu: number): NetDev {
    const dev = new NetDev(this.root, name, underlay.driver(), mac, mtu);
    addLink(dev);
    underlay.plug(dev);
    setLinkUp(dev, true);
    return dev;
  }
}
