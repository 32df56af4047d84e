/**
 * VLANs of a bridge (net/bridge/br_vlan.c): which of them a port, or the bridge itself, is a member of. A filtering bridge
 * takes the tag off a frame that comes in and remembers it (`skb.vlanTci`), keeps its database by MAC and VLAN, and puts the
 * tag on again where the frame leaves by a port that is a tagged member.
 *
 * Left out: 802.1ad, statistics, per-VLAN states, tunnels, VLANs of multicast.
 */
import type { Skb } from "../skb/skb.ts";
import { setU16, u8, u16 } from "../wire/bytes.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as vlan from "../wire/vlan.ts";

/** Both MAC addresses: what moves when a tag comes or goes. */
const ADDRESSES_LEN = 12;
const VID_MASK = 0xfff;
const DEFAULT_VID = 1;

export type VlanMember = { readonly vid: number; readonly pvid: boolean; readonly untagged: boolean };

/** The VLANs of one port. It never changes; a change makes another. */
export class VlanGroup {
  /** The VLAN of frames that come in without a tag; 0 if they are refused. */
  readonly pvid: number;
  /** Whether frames of a VLAN leave without a tag, by VLAN. */
  readonly #untagged: ReadonlyMap<number, boolean>;

  constructor(pvid: number, untagged: ReadonlyMap<number, boolean>) {
    this.pvid = pvid;
    this.#untagged = untagged;
  }

  has(vid: number): boolean {
    return this.#untagged.has(vid);
  }

  isUntagged(vid: number): boolean {
    return this.#untagged.get(vid) === true;
  }

  with({ vid, pvid, untagged }: VlanMember): VlanGroup {
    const rest = this.pvid === vid ? 0 : this.pvid;
    return new VlanGroup(pvid ? vid : rest, new Map([...this.#untagged, [vid, untagged]]));
  }

  without(vid: number): VlanGroup {
    const left = new Map(this.#untagged);
    left.delete(vid);
    return new VlanGroup(this.pvid === vid ? 0 : this.pvid, left);
  }

  members(): readonly VlanMember[] {
    return [...this.#untagged]
      .map(([vid, untagged]) => ({ vid, pvid: vid === this.pvid, untagged }))
      .sort((a, b) => a.vid - b.vid);
  }
}

/** What a bridge and a new port begin with: VLAN 1, without tags. */
export const DEFAULT_VLANS: VlanGroup = new VlanGroup(DEFAULT_VID, new Map([[DEFAULT_VID, true]]));
export const NO_VLANS: VlanGroup = new VlanGroup(0, new Map());

export function vidOf(skb: Skb): number {
  return skb.vlanTci & VID_MASK;
}

/** br_allowed_ingress: finds the frame's VLAN and takes its tag off. False if it may not come in. */
export function allowedIngress(group: VlanGroup, skb: Skb): boolean {
  let tci = 0;
  if (skb.protocol === ethernet.ETH_P_8021Q) {
    if (skb.end - skb.data < ethernet.HEADER_LEN + vlan.HEADER_LEN) return false;
    tci = vlan.tci(skb.buf, skb.data + ethernet.HEADER_LEN);
    pop(skb);
  }
  // a tag of VLAN 0 tells a priority alone
  if ((tci & VID_MASK) === 0) {
    if (group.pvid === 0) return false;
    tci |= group.pvid;
  }
  skb.vlanTci = tci;
  return group.has(tci & VID_MASK);
}

/** br_handle_vlan: the frame as it leaves by a member. */
export function leaveVlan(group: VlanGroup, skb: Skb): void {
  if (skb.vlanTci !== 0 && !group.isUntagged(vidOf(skb))) push(skb);
  skb.vlanTci = 0;
}

function pop(skb: Skb): void {
  const b = skb.buf;
  const at = skb.data;
  const type = u16(b, at + ethernet.HEADER_LEN + vlan.ETHER_TYPE);
  for (let i = ADDRESSES_LEN - 1; i >= 0; i--) b[at + vlan.HEADER_LEN + i] = u8(b, at + i);
  skb.data = at + vlan.HEADER_LEN;
  skb.mac = skb.data;
  skb.network = skb.data + ethernet.HEADER_LEN;
  skb.protocol = type;
}

function push(skb: Skb): void {
  const b = skb.buf;
  const at = skb.data - vlan.HEADER_LEN;
  for (let i = 0; i < ADDRESSES_LEN; i++) b[at + i] = u8(b, skb.data + i);
  setU16(b, at + ADDRESSES_LEN, ethernet.ETH_P_8021Q);
  setU16(b, at + ethernet.HEADER_LEN, skb.vlanTci);
  skb.data = at;
  skb.mac = at;
  skb.protocol = ethernet.ETH_P_8021Q;
}
