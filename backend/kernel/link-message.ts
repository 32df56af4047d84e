/**
 * Links in rtnetlink (linux/if_link.h, linux/rtnetlink.h): ifinfomsg with attributes, of which this reads and writes only
 * what a link of `rtnl-ops.ts` has. (The `netlink` package reads all of them, statistics too, at many times the cost.)
 *
 *     ifinfomsg  family 1 | 0 | type 2 | index 4 | flags 4 | change 4
 */
import {
  type AttrStream,
  getString,
  getU8,
  getU32,
  parseAttributes,
  putString,
  putU8,
  putU16be,
  putU32,
} from "netlink/dist/structs.js";
import type { LinkAdd, LinkAttrs, LinkInfo } from "../../dataplane/netns/rtnl-ops.ts";
import { AF_INET, formatMacOctets, macOctets, parseAddress } from "./ip-text.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

const HEADER_LEN = 16;
const IFF_UP = 1;
const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;
const IFF_LOWER_UP = 0x1_0000;
const ARPHRD_LOOPBACK = 772;
const ARPHRD_ETHER = 1;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BR_AGEING_TIME = 4;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_ISOLATED = 33;
const VETH_INFO_PEER = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_TTL = 5;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_VXLAN_UDP_CSUM = 18;
const IFLA_IPTUN_LOCAL = 2;
const IFLA_IPTUN_REMOTE = 3;
const IFLA_IPTUN_TTL = 4;

/** What the kernel takes where none is given is an IANA port; Linux setups agree on this one. */
const VXLAN_PORT = 8472;
/** The kernel counts ageing in 1/100 s, the operations in milliseconds. */
const MS_PER_TICK = 10;

/** A link as a dump shows it, its neighbours still by index. */
export type RawLink = Omit<LinkInfo, "master"> & { readonly masterIndex: number; readonly learning: boolean };

function header(out: AttrStream, index: number, attrs: Pick<LinkAttrs, "up" | "promisc" | "allmulti">): void {
  let [flags, change] = [0, 0];
  const put = (bit: number, value: boolean | undefined): void => {
    if (value !== undefined) change |= bit;
    if (value === true) flags |= bit;
  };
  put(IFF_UP, attrs.up);
  put(IFF_PROMISC, attrs.promisc);
  put(IFF_ALLMULTI, attrs.allmulti);
  const head = Buffer.alloc(HEADER_LEN);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(flags, 8);
  head.writeUInt32LE(change, 12);
  out.emit(head);
}

/** The link whose index or name it is; of several, all without statistics. */
export function writeGetLink(out: AttrStream, index: number, name?: string): void {
  header(out, index, {});
  if (name !== undefined) out.push(IFLA_IFNAME, putString(name));
  out.push(IFLA_EXT_MASK, putU32(RTEXT_FILTER_SKIP_STATS));
}

export function writeDelLink(out: AttrStream, index: number): void {
  header(out, index, {});
}

function commonAttrs(out: AttrStream, name: string, attrs: LinkAttrs, masterIndex: number | undefined): void {
  if (attrs.mac !== undefined) out.push(IFLA_ADDRESS, macOctets(attrs.mac, `link ${name}`));
  if (attrs.mtu !== undefined) out.push(IFLA_MTU, putU32(attrs.mtu));
  if (attrs.alias !== undefined) out.push(IFLA_IFALIAS, Buffer.from(attrs.alias));
  if (attrs.txQueueLen !== undefined) out.push(IFLA_TXQLEN, putU32(attrs.txQueueLen));
  if (masterIndex !== undefined) out.push(IFLA_MASTER, putU32(masterIndex));
}

/** Indices that a new link refers to, found out before. */
export type AddLinkRefs = {
  readonly masterIndex: number | undefined;
  readonly peerNetnsFd: number | undefined;
  /** vxlan: of the underlay device. */
  readonly underlayIndex: number | undefined;
};

function infoData(out: AttrStream, op: LinkAdd, refs: AddLinkRefs): void {
  switch (op.kind) {
    case "bridge":
      if (op.ageingTime !== undefined) out.push(IFLA_BR_AGEING_TIME, putU32(Math.round(op.ageingTime / MS_PER_TICK)));
      if (op.vlanFiltering !== undefined) out.push(IFLA_BR_VLAN_FILTERING, putU8(op.vlanFiltering ? 1 : 0));
      return;
    case "dummy":
    case "ifb":
      return;
    case "veth":
      out.push(VETH_INFO_PEER, (peer: AttrStream) => {
        // not up: the driver refuses that before the two ends know each other
        header(peer, 0, {});
        peer.push(IFLA_IFNAME, putString(op.peer.name));
        commonAttrs(peer, op.peer.name, op.peer, undefined);
        if (refs.peerNetnsFd !== undefined) peer.push(IFLA_NET_NS_FD, putU32(refs.peerNetnsFd));
      });
      return;
    case "vxlan": {
      const local = parseAddress(op.local, `link ${op.name}: local`);
      out.push(IFLA_VXLAN_ID, putU32(op.vni));
      out.push(local.family === AF_INET ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local.octets);
      if (refs.underlayIndex !== undefined) out.push(IFLA_VXLAN_LINK, putU32(refs.underlayIndex));
      if (op.ttl !== undefined) out.push(IFLA_VXLAN_TTL, putU8(op.ttl));
      out.push(IFLA_VXLAN_LEARNING, putU8(op.learning === false ? 0 : 1));
      out.push(IFLA_VXLAN_PORT, putU16be(op.port ?? VXLAN_PORT));
      if (op.udpCsum !== undefined) out.push(IFLA_VXLAN_UDP_CSUM, putU8(op.udpCsum ? 1 : 0));
      return;
    }
    case "ipip":
      out.push(IFLA_IPTUN_LOCAL, parseAddress(op.local, `link ${op.name}: local`).octets);
      if (op.remote !== undefined)
        out.push(IFLA_IPTUN_REMOTE, parseAddress(op.remote, `link ${op.name}: remote`).octets);
      if (op.ttl !== undefined) out.push(IFLA_IPTUN_TTL, putU8(op.ttl));
      return;
  }
}

export function writeAddLink(out: AttrStream, op: LinkAdd, refs: AddLinkRefs): void {
  header(out, 0, op);
  out.push(IFLA_IFNAME, putString(op.name));
  commonAttrs(out, op.name, op, refs.masterIndex);
  out.push(IFLA_LINKINFO, (info: AttrStream) => {
    info.push(IFLA_INFO_KIND, Buffer.from(op.kind));
    info.push(IFLA_INFO_DATA, (data: AttrStream) => infoData(data, op, refs));
  });
}

export type SetLinkRefs = {
  readonly masterIndex?: number | undefined;
  readonly rename?: string | undefined;
  readonly netnsFd?: number | undefined;
};

export function writeSetLink(out: AttrStream, index: number, name: string, attrs: LinkAttrs, refs: SetLinkRefs): void {
  header(out, index, attrs);
  commonAttrs(out, name, attrs, refs.masterIndex);
  if (refs.rename !== undefined) out.push(IFLA_IFNAME, putString(refs.rename));
  if (refs.netnsFd !== undefined) out.push(IFLA_NET_NS_FD, putU32(refs.netnsFd));
}

export type PortFlags = Pick<LinkAttrs, "hairpin" | "isolated" | "learning">;

export function hasPortFlags(attrs: PortFlags): boolean {
  return attrs.hairpin !== undefined || attrs.isolated !== undefined || attrs.learning !== undefined;
}

/** Flags of a bridge port. */
export function writePortFlags(out: AttrStream, index: number, flags: PortFlags): void {
  header(out, index, {});
  out.push(IFLA_LINKINFO, (info: AttrStream) => {
    info.push(IFLA_INFO_SLAVE_KIND, Buffer.from("bridge"));
    info.push(IFLA_INFO_SLAVE_DATA, (data: AttrStream) => {
      if (flags.hairpin !== undefined) data.push(IFLA_BRPORT_MODE, putU8(flags.hairpin ? 1 : 0));
      if (flags.isolated !== undefined) data.push(IFLA_BRPORT_ISOLATED, putU8(flags.isolated ? 1 : 0));
      if (flags.learning !== undefined) data.push(IFLA_BRPORT_LEARNING, putU8(flags.learning ? 1 : 0));
    });
  });
}

/** Of a bridge. */
export function writeVlanFiltering(out: AttrStream, index: number, on: boolean): void {
  header(out, index, {});
  out.push(IFLA_LINKINFO, (info: AttrStream) => {
    info.push(IFLA_INFO_KIND, Buffer.from("bridge"));
    info.push(IFLA_INFO_DATA, (data: AttrStream) => data.push(IFLA_BR_VLAN_FILTERING, putU8(on ? 1 : 0)));
  });
}

function kindOf(type: number, kind: string): string {
  if (kind !== "") return kind;
  if (type === ARPHRD_LOOPBACK) return "loopback";
  return type === ARPHRD_ETHER ? "nic" : "other";
}

export function parseLink(data: Buffer): RawLink {
  const flags = data.readUInt32LE(8);
  let [kind, name, mac, alias] = ["", "", "", ""];
  let [mtu, masterIndex, txQueueLen, hairpin, isolated, learning] = [0, 0, 0, false, false, true];
  let peerIfindex: number | null = null;
  let vlanFiltering: boolean | undefined;
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: value }) => {
    if (type === IFLA_IFNAME) name = getString(value);
    else if (type === IFLA_ADDRESS) mac = formatMacOctets(value);
    else if (type === IFLA_MTU) mtu = getU32(value);
    else if (type === IFLA_MASTER) masterIndex = getU32(value);
    else if (type === IFLA_TXQLEN) txQueueLen = getU32(value);
    else if (type === IFLA_LINK) peerIfindex = getU32(value);
    else if (type === IFLA_IFALIAS) alias = getString(value);
    else if (type === IFLA_LINKINFO) {
      let slave = "";
      parseAttributes(value, (info) => {
        if (info.type === IFLA_INFO_KIND) kind = getString(info.data);
        else if (info.type === IFLA_INFO_DATA && kind === "bridge") {
          parseAttributes(info.data, (bridge) => {
            if (bridge.type === IFLA_BR_VLAN_FILTERING) vlanFiltering = getU8(bridge.data) !== 0;
          });
        } else if (info.type === IFLA_INFO_SLAVE_KIND) slave = getString(info.data);
        else if (info.type === IFLA_INFO_SLAVE_DATA && slave === "bridge") {
          parseAttributes(info.data, (port) => {
            if (port.type === IFLA_BRPORT_MODE) hairpin = getU8(port.data) !== 0;
            else if (port.type === IFLA_BRPORT_ISOLATED) isolated = getU8(port.data) !== 0;
            else if (port.type === IFLA_BRPORT_LEARNING) learning = getU8(port.data) !== 0;
          });
        }
      });
    }
  });
  return {
    ifindex: data.readInt32LE(4),
    name,
    kind: kindOf(data.readUInt16LE(2), kind),
    mac,
    mtu,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    promisc: (flags & IFF_PROMISC) !== 0,
    allmulti: (flags & IFF_ALLMULTI) !== 0,
    txQueueLen,
    masterIndex,
    hairpin,
    isolated,
    learning,
    alias,
    peerIfindex: kind === "veth" ? peerIfindex : null,
    ...(vlanFiltering === undefined ? {} : { vlanFiltering }),
  };
}
