/** vlan.add, vlan.del and vlan.flush: IFLA_BRIDGE_VLAN_INFO of RTM_SETLINK and RTM_DELLINK (net/bridge/br_netlink.c). */
import { Bridge, type BridgePort } from "../bridge/bridge.ts";
import { NO_VLANS, type VlanGroup } from "../bridge/vlan-filter.ts";
import type { NetDev } from "../dev/netdev.ts";
import type { Host } from "../host/host.ts";
import { VID_MAX } from "../wire/vlan.ts";
import { existing } from "./apply-link.ts";
import type { Undo } from "./link.ts";
import { NetlinkError, type VlanOp } from "./rtnl-ops.ts";

/** What has the VLANs of a device: the bridge, where it is one, else its port. */
export function vlanHolder(dev: NetDev): Bridge | BridgePort | undefined {
  if (dev.driver instanceof Bridge) return dev.driver;
  return dev.master?.driver instanceof Bridge ? dev.master.driver.port(dev) : undefined;
}

export function vlanOp(host: Host, op: VlanOp, undo: Undo[]): void {
  const dev = existing(host.netns(op.netns), op.dev);
  const holder = vlanHolder(dev);
  if (holder === undefined)
    throw new NetlinkError("EOPNOTSUPP", `link ${op.dev} is neither a bridge nor a port of one`);
  const old = holder.vlans;
  holder.vlans = changed(old, op);
  if (!(holder instanceof Bridge))
    for (const { vid } of old.members()) if (!holder.vlans.has(vid)) holder.bridge.forgetVlan(holder, vid);
  undo.push(() => {
    holder.vlans = old;
  });
}

function changed(old: VlanGroup, op: VlanOp): VlanGroup {
  if (op.op === "vlan.flush") return NO_VLANS;
  const last = op.op === "vlan.add" ? (op.vidEnd ?? op.vid) : op.vid;
  if (op.vid < 1 || last > VID_MAX || last < op.vid)
    throw new NetlinkError("EINVAL", `link ${op.dev}: VLAN ${op.vid} to ${last} is not within 1 to ${VID_MAX}`);
  if (op.op === "vlan.del") {
    if (!old.has(op.vid)) throw new NetlinkError("ENOENT", `link ${op.dev} is not in VLAN ${op.vid}`);
    return old.without(op.vid);
  }
  if (op.pvid === true && last !== op.vid)
    throw new NetlinkError("EINVAL", `link ${op.dev}: a range of VLANs cannot be the PVID`);
  let group = old;
  for (let vid = op.vid; vid <= last; vid++)
    group = group.with({ vid, pvid: op.pvid ?? false, untagged: op.untagged ?? false });
  return group;
}
