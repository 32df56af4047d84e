/** link.add, link.set and link.del: RTM_NEWLINK and RTM_DELLINK (net/core/rtnetlink.c and the drivers' newlink). */
import { Bridge } from "../bridge/bridge.ts";
import { Dummy } from "../dev/dummy.ts";
import { Ifb } from "../dev/ifb.ts";
import { type Driver, NetDev } from "../dev/netdev.ts";
import { Veth } from "../dev/veth.ts";
import type { Host } from "../host/host.ts";
import { overheadOf, Vxlan, VxlanPort } from "../tunnel/vxlan.ts";
import { HEADER_LEN as ETHERNET_LEN } from "../wire/ethernet.ts";
import { parseIp } from "../wire/ip-key.ts";
import { type Mac, parseMac } from "../wire/mac-addr.ts";
import { PORT_LINUX, VNI_MAX } from "../wire/vxlan.ts";
import { addLink, randomMac, removeLink, setLinkUp, setMaster, type Undo } from "./link.ts";
import type { NetNs } from "./netns.ts";
import { type LinkAdd, type LinkAttrs, type LinkDel, type LinkSet, NetlinkError } from "./rtnl-ops.ts";

/** IFNAMSIZ, with its closing zero. */
const NAME_LEN = 16;
const ETH_MTU = 1500;
const MIN_MTU = 68;
const MAX_MTU = 65535;

export function addLinkOp(host: Host, op: LinkAdd, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  checkName(ns, op.name);
  const mac = macOr(op.mac, ns);
  switch (op.kind) {
    case "bridge": {
      const bridge = new Bridge();
      const dev = register(ns, op.name, bridge, mac, op.mtu ?? ETH_MTU, undo);
      bridge.dev = dev;
      bridge.pinned = op.mac !== undefined;
      if (op.ageingTime !== undefined) bridge.ageingTime = op.ageingTime;
      bridge.vlanFiltering = op.vlanFiltering ?? false;
      bridge.chooseMac();
      change(dev, op, undo);
      return;
    }
    case "dummy":
      change(register(ns, op.name, new Dummy(), mac, op.mtu ?? ETH_MTU, undo), op, undo);
      return;
    case "ifb":
      change(register(ns, op.name, new Ifb(), mac, op.mtu ?? ETH_MTU, undo), op, undo);
      return;
    case "veth": {
      const peerNs = op.peer.netns === undefined ? ns : host.netns(op.peer.netns);
      if (peerNs === ns && op.peer.name === op.name) throw new NetlinkError("EEXIST", `link ${op.name} exists`);
      checkName(peerNs, op.peer.name);
      const [mine, theirs] = [new Veth(), new Veth()];
      const dev = register(ns, op.name, mine, mac, op.mtu ?? ETH_MTU, undo);
      const peer = register(peerNs, op.peer.name, theirs, macOr(op.peer.mac, peerNs), op.peer.mtu ?? ETH_MTU, undo);
      mine.peer = peer;
      theirs.peer = dev;
      change(dev, op, undo);
      change(peer, op.peer, undo);
      return;
    }
    case "vxlan":
      addVxlan(ns, op, mac, undo);
      return;
    case "ipip":
      throw new NetlinkError("EOPNOTSUPP", `link ${op.name}: kind ipip is not supported yet`);
  }
}

function addVxlan(ns: NetNs, op: LinkAdd & { kind: "vxlan" }, mac: Mac, undo: Undo[]): void {
  const local = parseIp(op.local);
  if (local === undefined) throw new NetlinkError("EINVAL", `link ${op.name}: local ${op.local} is not an IP address`);
  if (op.vni < 0 || op.vni > VNI_MAX)
    throw new NetlinkError("ERANGE", `link ${op.name}: vni ${op.vni} is out of range`);
  const underlay = op.dev === undefined ? undefined : ns.dev(op.dev);
  if (op.dev !== undefined && underlay === undefined) throw new NetlinkError("ENODEV", `link ${op.dev} does not exist`);
  const vxlan = new Vxlan(ns, {
    vni: op.vni,
    local,
    port: op.port ?? PORT_LINUX,
    learning: op.learning ?? true,
    ttl: op.ttl ?? 0,
    udpCsum: op.udpCsum ?? true,
    underlay: underlay ?? null,
  });
  // A new one that asks for more gets what there is room for; only a later change is refused.
  const most = mostOctets(vxlan);
  const mtu = Math.min(op.mtu ?? (underlay === undefined ? ETH_MTU : most), most);
  const dev = register(ns, op.name, vxlan, mac, mtu, undo);
  vxlan.dev = dev;
  if (!VxlanPort.join(ns, vxlan)) {
    throw new NetlinkError("EEXIST", `link ${op.name}: vni ${op.vni} or UDP port ${vxlan.config.port} is in use`);
  }
  undo.push(() => vxlan.removed(dev));
  change(dev, { ...op, mtu }, undo);
}

/** The largest MTU of a tunnel: what its underlay carries, less the headers (vxlan_config_apply). */
function mostOctets(vxlan: Vxlan): number {
  const { underlay, local } = vxlan.config;
  return underlay === null ? MAX_MTU : Math.max(underlay.mtu - overheadOf(local) - ETHERNET_LEN, MIN_MTU);
}

export function setLinkOp(host: Host, op: LinkSet, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  const dev = existing(ns, op.name);
  change(dev, op, undo);
  if (op.toNetns !== undefined) move(host, dev, op.toNetns, op.rename ?? dev.name, undo);
  else if (op.rename !== undefined && op.rename !== dev.name) rename(dev, op.rename, undo);
}

export function delLinkOp(host: Host, op: LinkDel, undo: Undo[]): void {
  const dev = existing(host.netns(op.netns), op.name);
  if (dev.driver.kind === "loopback" || dev.driver.kind === "nic") {
    throw new NetlinkError("EOPNOTSUPP", `link ${op.name} of kind ${dev.driver.kind} cannot be deleted`);
  }
  undo.push(removeLink(dev));
}

/** The interface of that name. Throws ENODEV. */
export function existing(ns: NetNs, name: string): NetDev {
  const dev = ns.dev(name);
  if (dev === undefined) throw new NetlinkError("ENODEV", `link ${name} does not exist in ${ns.node}/${ns.name}`);
  return dev;
}

function register(ns: NetNs, name: string, driver: Driver, mac: Mac, mtu: number, undo: Undo[]): NetDev {
  const dev = new NetDev(ns, name, driver, mac, checkMtu(name, mtu));
  undo.push(addLink(dev));
  return dev;
}

function change(dev: NetDev, attrs: LinkAttrs, undo: Undo[]): void {
  if (attrs.mtu !== undefined && attrs.mtu !== dev.mtu) {
    const old = dev.mtu;
    if (dev.driver instanceof Vxlan && attrs.mtu > mostOctets(dev.driver))
      throw new NetlinkError("EINVAL", `link ${dev.name}: mtu ${attrs.mtu} is more than its underlay has room for`);
    dev.mtu = checkMtu(dev.name, attrs.mtu);
    dev.ns.fib.changed();
    undo.push(() => {
      dev.mtu = old;
      dev.ns.fib.changed();
    });
  }
  if (attrs.mac !== undefined) setMac(dev, attrs.mac, undo);
  if (attrs.promisc !== undefined) {
    const old = dev.promisc;
    dev.promisc = attrs.promisc;
    undo.push(() => {
      dev.promisc = old;
    });
  }
  if (attrs.alias !== undefined) {
    const old = dev.alias;
    dev.alias = attrs.alias;
    undo.push(() => {
      dev.alias = old;
    });
  }
  if (attrs.master !== undefined) {
    const master = attrs.master === null ? null : existing(dev.ns, attrs.master);
    if (master !== null && !(master.driver instanceof Bridge)) {
      throw new NetlinkError("EINVAL", `link ${attrs.master} is a ${master.driver.kind}, not a bridge`);
    }
    if (master !== null && dev.driver instanceof Bridge) {
      throw new NetlinkError("ELOOP", `link ${dev.name} is a bridge, which cannot be the port of another`);
    }
    if (master !== null && dev.driver.kind === "loopback") {
      throw new NetlinkError("EINVAL", `link ${dev.name} is the loopback, which cannot be a port`);
    }
    if (master !== dev.master) undo.push(setMaster(dev, master));
  }
  if (attrs.vlanFiltering !== undefined) filterVlans(dev, attrs.vlanFiltering, undo);
  portFlags(dev, attrs, undo);
  if (attrs.up !== undefined) undo.push(setLinkUp(dev, attrs.up));
}

function filterVlans(dev: NetDev, on: boolean, undo: Undo[]): void {
  const bridge = dev.driver;
  if (!(bridge instanceof Bridge)) throw new NetlinkError("EOPNOTSUPP", `link ${dev.name} is not a bridge`);
  const old = bridge.vlanFiltering;
  bridge.vlanFiltering = on;
  undo.push(() => {
    bridge.vlanFiltering = old;
  });
}

function portFlags(dev: NetDev, attrs: LinkAttrs, undo: Undo[]): void {
  if (attrs.hairpin === undefined && attrs.isolated === undefined && attrs.learning === undefined) return;
  if (dev.driver instanceof Vxlan) return;
  const port = dev.master?.driver instanceof Bridge ? dev.master.driver.port(dev) : undefined;
  if (port === undefined) throw new NetlinkError("EINVAL", `link ${dev.name} is not a bridge port`);
  const { hairpin, isolated, learning } = port;
  port.hairpin = attrs.hairpin ?? hairpin;
  port.isolated = attrs.isolated ?? isolated;
  port.learning = attrs.learning ?? learning;
  undo.push(() => {
    port.hairpin = hairpin;
    port.isolated = isolated;
    port.learning = learning;
  });
}

function setMac(dev: NetDev, text: string, undo: Undo[]): void {
  const mac = parseMac(text);
  if (mac === undefined) throw new NetlinkError("EINVAL", `link ${dev.name}: ${text} is not a MAC address`);
  if (mac === dev.mac && !(dev.driver instanceof Bridge)) return;
  const old = dev.mac;
  const bridge = dev.driver instanceof Bridge ? dev.driver : null;
  const pinned = bridge?.pinned ?? false;
  assignMac(dev, mac);
  if (bridge !== null) bridge.pinned = true;
  bridge?.chooseMac();
  undo.push(() => {
    assignMac(dev, old);
    if (bridge !== null) bridge.pinned = pinned;
    bridge?.chooseMac();
  });
}

/** The bridge of a port, and the bridge itself, hold the MAC as a local entry. */
function assignMac(dev: NetDev, mac: Mac): void {
  const own = dev.driver instanceof Bridge ? dev.driver : null;
  own?.fdb.delete(dev.macHi, dev.macLo);
  const master = dev.master;
  if (master?.driver instanceof Bridge) {
    const port = master.driver.port(dev);
    setMaster(dev, null);
    dev.mac = mac;
    const again = master.driver.addPort(dev);
    if (port !== undefined) {
      again.hairpin = port.hairpin;
      again.isolated = port.isolated;
      again.learning = port.learning;
      again.vlans = port.vlans;
    }
    return;
  }
  dev.mac = mac;
}

function rename(dev: NetDev, name: string, undo: Undo[]): void {
  const ns = dev.ns;
  checkName(ns, name);
  const old = dev.name;
  const put = (from: string, to: string): void => {
    ns.devsByName.delete(from);
    dev.name = to;
    ns.devsByName.set(to, dev);
  };
  put(old, name);
  undo.push(() => put(name, old));
}

/** Moving takes a link down, out of its bridge, and without its addresses, as dev_change_net_namespace does. */
function move(host: Host, dev: NetDev, to: string, name: string, undo: Undo[]): void {
  const target = host.netns(to);
  if (dev.driver.kind === "loopback") throw new NetlinkError("EINVAL", `link ${dev.name} cannot leave its namespace`);
  if (target === dev.ns) {
    if (name !== dev.name) rename(dev, name, undo);
    return;
  }
  if (dev.driver instanceof Bridge) {
    throw new NetlinkError("EINVAL", `link ${dev.name} is a bridge, which cannot leave its namespace`);
  }
  if (dev.driver instanceof Vxlan) {
    throw new NetlinkError("EOPNOTSUPP", `link ${dev.name}: moving a vxlan is not supported yet`);
  }
  checkName(target, name);
  const driver = dev.driver;
  const peer = driver instanceof Veth ? driver.peer : null;
  if (driver instanceof Veth) driver.peer = null;
  const back = removeLink(dev);
  const { ns, name: oldName, ifindex } = dev;
  dev.ns = target;
  dev.name = name;
  const out = addLink(dev, ifindex);
  if (driver instanceof Veth) driver.peer = peer;
  undo.push(() => {
    out();
    dev.ns = ns;
    dev.name = oldName;
    dev.ifindex = ifindex;
    back();
    if (driver instanceof Veth) driver.peer = peer;
  });
}

function checkName(ns: NetNs, name: string): void {
  if (name.length === 0 || name.length >= NAME_LEN || /[\s/:]/.test(name) || name === "." || name === "..") {
    throw new NetlinkError(
      "EINVAL",
      `link name ${JSON.stringify(name)} is not 1 to ${NAME_LEN - 1} characters without / : or blanks`,
    );
  }
  if (ns.dev(name) !== undefined) throw new NetlinkError("EEXIST", `link ${name} exists in ${ns.node}/${ns.name}`);
}

function checkMtu(name: string, mtu: number): number {
  if (mtu < MIN_MTU || mtu > MAX_MTU)
    throw new NetlinkError("EINVAL", `link ${name}: mtu ${mtu} is not ${MIN_MTU} to ${MAX_MTU}`);
  return mtu;
}

function macOr(text: string | undefined, ns: NetNs): Mac {
  if (text === undefined) return randomMac(ns.random);
  const mac = parseMac(text);
  if (mac === undefined) throw new NetlinkError("EINVAL", `${text} is not a MAC address`);
  return mac;
}
