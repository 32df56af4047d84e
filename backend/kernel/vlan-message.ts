/**
 * VLANs of bridges in rtnetlink (linux/if_bridge.h): RTM_SETLINK, RTM_DELLINK and RTM_GETLINK of family AF_BRIDGE.
 *
 *     ifinfomsg              family 1 (AF_BRIDGE) | 0 | type 2 | index 4 | flags 4 | change 4
 *     IFLA_AF_SPEC           IFLA_BRIDGE_FLAGS (self: the bridge itself), IFLA_BRIDGE_VLAN_INFO …
 *     IFLA_BRIDGE_VLAN_INFO  flags 2 | VID 2; a range is two of them
 */
import { type AttrStream, parseAttributes, putU32 } from "netlink/dist/structs.js";
import type { VlanInfo, VlanOp } from "../../dataplane/netns/rtnl-ops.ts";
import { AF_BRIDGE } from "./net-message.ts";

export const RTM_SETLINK = 19;

const HEADER_LEN = 16;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_BRVLAN = 2;
const IFLA_BRIDGE_FLAGS = 0;
const BRIDGE_FLAGS_SELF = 2;
const IFLA_BRIDGE_VLAN_INFO = 2;
const VLAN_INFO_PVID = 2;
const VLAN_INFO_UNTAGGED = 4;
const VLAN_INFO_RANGE_BEGIN = 8;
const VLAN_INFO_RANGE_END = 16;

function header(out: AttrStream, index: number): void {
  const head = Buffer.alloc(HEADER_LEN);
  head.writeUInt8(AF_BRIDGE, 0);
  head.writeInt32LE(index, 4);
  out.emit(head);
}

function info(out: AttrStream, flags: number, vid: number): void {
  const value = Buffer.alloc(4);
  value.writeUInt16LE(flags, 0);
  value.writeUInt16LE(vid, 2);
  out.push(IFLA_BRIDGE_VLAN_INFO, value);
}

/** `self`: the device is the bridge, else one of its ports. */
export function writeVlan(
  out: AttrStream,
  index: number,
  self: boolean,
  op: Exclude<VlanOp, { readonly op: "vlan.flush" }>,
): void {
  const last = op.op === "vlan.add" ? (op.vidEnd ?? op.vid) : op.vid;
  const pvid = op.op === "vlan.add" && op.pvid === true ? VLAN_INFO_PVID : 0;
  const flags = pvid | (op.op === "vlan.add" && op.untagged === true ? VLAN_INFO_UNTAGGED : 0);
  header(out, index);
  out.push(IFLA_AF_SPEC, (spec: AttrStream) => {
    if (self) {
      const value = Buffer.alloc(2);
      value.writeUInt16LE(BRIDGE_FLAGS_SELF);
      spec.push(IFLA_BRIDGE_FLAGS, value);
    }
    if (last === op.vid) info(spec, flags, op.vid);
    else {
      info(spec, flags | VLAN_INFO_RANGE_BEGIN, op.vid);
      info(spec, flags | VLAN_INFO_RANGE_END, last);
    }
  });
}

export function writeGetVlans(out: AttrStream): void {
  header(out, 0);
  out.push(IFLA_EXT_MASK, putU32(RTEXT_FILTER_BRVLAN));
}

export type RawVlan = Omit<VlanInfo, "dev"> & { readonly index: number };

export function parseVlans(data: Buffer): readonly RawVlan[] {
  const index = data.readInt32LE(4);
  const vlans: RawVlan[] = [];
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: value }) => {
    if (type !== IFLA_AF_SPEC) return;
    parseAttributes(value, (part) => {
      if (part.type !== IFLA_BRIDGE_VLAN_INFO) return;
      const [flags, vid] = [part.data.readUInt16LE(0), part.data.readUInt16LE(2)];
      vlans.push({ index, vid, pvid: (flags & VLAN_INFO_PVID) !== 0, untagged: (flags & VLAN_INFO_UNTAGGED) !== 0 });
    });
  });
  return vlans;
}
