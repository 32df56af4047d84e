/**
 * An Ethernet bridge (net/bridge): ports, a forwarding database that learns, moves and ages, flooding, hairpin, isolation.
 * The bridge is an interface itself: frames for its own MAC or a port's go up to the host, and the host sends by it.
 *
 * Left out: spanning tree, multicast snooping (multicast is flooded), MDB.
 */
import type { Driver, NetDev, RxHandler } from "../dev/netdev.ts";
import { fragment } from "../ip/fragment.ts";
import { fragment6 } from "../ip6/fragment.ts";
import { NF_INET_FORWARD, NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import type { NetNs } from "../netns/netns.ts";
import { consume, drop } from "../skb/drop.ts";
import { PACKET_HOST, type Skb } from "../skb/skb.ts";
import { i32, u8, u16 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Mac } from "../wire/mac-addr.ts";
import { formatMac } from "../wire/mac-addr.ts";
import { bridgeForward, bridgePrerouting, bridgeRedirected, isFiltered } from "./br-netfilter.ts";
import { Fdb, FdbEntry } from "./fdb.ts";
import { allowedIngress, DEFAULT_VLANS, leaveVlan, type VlanGroup, vidOf } from "./vlan-filter.ts";

/** Milliseconds (BR_DEFAULT_AGEING_TIME). */
const AGEING_TIME = 300_000;
/** Octets that a port may carry above its MTU: the Ethernet header and one VLAN tag. */
const FRAME_OVERHEAD = ethernet.HEADER_LEN + 4;

/** In the database a VLAN stands above the first two octets of a MAC. */
const VID_SHIFT = 16;

/** The first four octets of the addresses that are reserved for bridges. */
const RESERVED_HI = 0x0180c200;

export class BridgePort implements RxHandler {
  readonly bridge: Bridge;
  readonly dev: NetDev;
  hairpin = false;
  isolated = false;
  learning = true;
  vlans: VlanGroup = DEFAULT_VLANS;

  constructor(bridge: Bridge, dev: NetDev) {
    this.bridge = bridge;
    this.dev = dev;
  }

  receive(_dev: NetDev, skb: Skb): void {
    this.bridge.receive(this, skb);
  }
}

/** Where the database sends a MAC: a port, or null for the bridge itself. */
type Target = BridgePort | null;

export class Bridge implements Driver {
  readonly kind: string = "bridge";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;
  readonly fdb: Fdb<Target> = new Fdb();
  readonly ports: BridgePort[] = [];
  ageingTime: number = AGEING_TIME;
  /** Whether frames are kept to their VLANs; if not, tags are just octets. */
  vlanFiltering = false;
  /** Of the bridge as a host of its own network. */
  vlans: VlanGroup = DEFAULT_VLANS;
  /** The MAC was set, so that it does not follow the ports'. */
  pinned = false;
  /** The interface of the bridge itself. */
  dev: NetDev | null = null;

  /** Makes an interface a port. */
  addPort(dev: NetDev): BridgePort {
    const port = new BridgePort(this, dev);
    this.ports.push(port);
    dev.rxHandler = port;
    dev.master = this.dev;
    this.fdb.set(new FdbEntry<Target>(dev.macHi, dev.macLo, null, true, 0));
    this.chooseMac();
    return port;
  }

  removePort(dev: NetDev): void {
    const at = this.ports.findIndex((p) => p.dev === dev);
    if (at < 0) return;
    const [port] = this.ports.splice(at, 1);
    dev.rxHandler = null;
    dev.master = null;
    this.fdb.keep((e) => e.target !== port && !(e.permanent && e.macHi === dev.macHi && e.macLo === dev.macLo));
    this.chooseMac();
  }

  port(dev: NetDev): BridgePort | undefined {
    return this.ports.find((p) => p.dev === dev);
  }

  /** The bridge's MAC is the lowest of its ports' unless it was set (br_stp_recalculate_bridge_id). */
  chooseMac(): void {
    const dev = this.dev;
    if (dev === null) return;
    if (!this.pinned && this.ports.length > 0) {
      let lowest = Number.POSITIVE_INFINITY;
      for (const p of this.ports) lowest = Math.min(lowest, p.dev.mac);
      this.fdb.delete(dev.macHi, dev.macLo);
      dev.mac = lowest as Mac;
    }
    this.fdb.set(new FdbEntry<Target>(dev.macHi, dev.macLo, null, true, 0));
  }

  /** Gives the bridge this MAC, with its entry in the database. */
  takeMac(mac: Mac): void {
    const dev = this.dev;
    if (dev === null || dev.mac === mac) return;
    this.fdb.delete(dev.macHi, dev.macLo);
    dev.mac = mac;
    for (const p of this.ports) this.fdb.set(new FdbEntry<Target>(p.dev.macHi, p.dev.macLo, null, true, 0));
    this.fdb.set(new FdbEntry<Target>(dev.macHi, dev.macLo, null, true, 0));
  }

  carrier(): boolean {
    return this.ports.some((p) => p.dev.up && p.dev.carrier);
  }

  stateChanged(dev: NetDev): void {
    this.dev = dev;
    this.chooseMac();
  }

  removed(): void {
    for (const p of [...this.ports]) this.removePort(p.dev);
  }

  describe(): string {
    return "";
  }

  /** br_handle_frame: a frame came in by a port. */
  receive(port: BridgePort, skb: Skb): void {
    const br = this.dev as NetDev;
    if (!br.up) {
      drop(br.ns, skb, DropReason.DEV_READY, skb.trace && `bridge ${br.name} is down`);
      return;
    }
    const b = skb.buf;
    const at = skb.data;
    if ((u8(b, at + 6) & 1) !== 0 || (u16(b, at + 6) === 0 && i32(b, at + 8) === 0)) {
      drop(br.ns, skb, DropReason.MAC_INVALID_SOURCE);
      return;
    }
    if (i32(b, at) === RESERVED_HI && u16(b, at + 4) <= 0x0f && u8(b, at + 5) !== 0) {
      this.#reserved(port, skb);
      return;
    }
    const filter = br.ns.bridgeFilter;
    if (filter !== null && !filter.pass(NF_INET_PRE_ROUTING, skb, port.dev, null)) {
      drop(br.ns, skb, DropReason.NETFILTER_DROP);
      return;
    }
    if (isFiltered(br.ns, skb)) {
      const passed = bridgePrerouting(this, port, skb);
      if (passed !== null) this.frame(port, passed);
      return;
    }
    this.frame(port, skb);
  }

  /**
   * 01:80:c2:00:00:01 to 0f are between neighbours (IEEE 802.1D table 7-10): pause frames end here, others are for the port
   * itself, where nobody takes them. 00 is the spanning tree's, and forwarded where there is none.
   */
  #reserved(port: BridgePort, skb: Skb): void {
    const br = this.dev as NetDev;
    const b = skb.buf;
    const at = skb.data;
    const pause = u8(b, at + 5) === 1;
    if (!pause && port.learning) this.#learn(br.ns, port, u16(b, at + 6), i32(b, at + 8));
    drop(br.ns, skb, pause ? DropReason.NOT_SPECIFIED : DropReason.UNHANDLED_PROTO);
  }

  /** br_handle_frame_finish: learn, then up, out by one port, or out by all. */
  frame(port: BridgePort, skb: Skb): void {
    const br = this.dev as NetDev;
    const ns = br.ns;
    if (this.vlanFiltering && !allowedIngress(port.vlans, skb)) {
      notInVlan(port.dev, skb);
      return;
    }
    const b = skb.buf;
    const at = skb.data;
    const vid = vidOf(skb);
    if (port.learning) this.#learn(ns, port, u16(b, at + 6) | (vid << VID_SHIFT), i32(b, at + 8));
    if ((u8(b, at) & 1) !== 0) {
      if (skb.trace !== null) this.#report(skb, "broadcast: to every port and the bridge itself");
      this.#flood(ns, port, ns.world.pool.copy(skb));
      this.#passUp(br, port, skb);
      return;
    }
    const entry = this.#lookup(ns, vid, u16(b, at), i32(b, at + 2));
    if (entry === null) {
      if (skb.trace !== null) this.#report(skb, `${formatMac(ethernet.dst(b, at))} is not known: flooded`);
      this.#flood(ns, port, skb);
      return;
    }
    const target = entry.target;
    if (target === null) {
      if (skb.trace !== null) this.#report(skb, `in on port ${port.dev.name}; the frame is for the bridge itself`);
      this.#passUp(br, port, skb);
      return;
    }
    if (skb.trace !== null) this.#report(skb, `${formatMac(ethernet.dst(b, at))} is behind port ${target.dev.name}`);
    if (mayLeave(target, port, vid)) this.#forward(ns, target, skb);
    else refuse(ns, target, skb);
  }

  /** br_dev_xmit: the host sends by the bridge. */
  xmit(dev: NetDev, skb: Skb): void {
    if (skb.bridgedDnat !== null) {
      bridgeRedirected(this, skb);
      return;
    }
    const ns = dev.ns;
    if (this.vlanFiltering && !allowedIngress(this.vlans, skb)) {
      notInVlan(dev, skb);
      return;
    }
    const b = skb.buf;
    const at = skb.data;
    const vid = vidOf(skb);
    if ((u8(b, at) & 1) === 0) {
      const entry = this.#lookup(ns, vid, u16(b, at), i32(b, at + 2));
      const target = entry === null ? null : entry.target;
      if (target !== null) {
        if (mayLeave(target, null, vid)) this.#send(ns, target, null, skb);
        else refuse(ns, target, skb);
        return;
      }
    }
    this.#flood(ns, null, skb);
  }

  /** By MAC and VLAN; entries that were configured, and those of the bridge and its ports, are of every VLAN of theirs. */
  #lookup(ns: NetNs, vid: number, macHi: number, macLo: number): FdbEntry<Target> | null {
    const entry = this.fdb.get(macHi | (vid << VID_SHIFT), macLo);
    if (entry === null) return vid === 0 ? null : this.#permanent(vid, macHi, macLo);
    if (entry.permanent) return entry;
    return ns.world.loop.time - entry.updated < this.ageingTime ? entry : null;
  }

  #permanent(vid: number, macHi: number, macLo: number): FdbEntry<Target> | null {
    const entry = this.fdb.get(macHi, macLo);
    if (entry === null || !entry.permanent) return null;
    if (entry.target !== null) return entry.target.vlans.has(vid) ? entry : null;
    const br = this.dev as NetDev;
    if (br.macHi === macHi && br.macLo === macLo && this.vlans.has(vid)) return entry;
    for (const port of this.ports) {
      if (port.dev.macHi === macHi && port.dev.macLo === macLo && port.vlans.has(vid)) return entry;
    }
    return null;
  }

  /** What was learned of a port in a VLAN that it leaves. */
  forgetVlan(port: BridgePort, vid: number): void {
    this.fdb.keep((e) => e.permanent || e.target !== port || e.macHi >>> VID_SHIFT !== vid);
  }

  /** `macHi` has the VLAN above the MAC's octets. */
  #learn(ns: NetNs, port: BridgePort, macHi: number, macLo: number): void {
    const entry = this.fdb.get(macHi, macLo);
    const now = ns.world.loop.time;
    if (entry === null) {
      this.#expire(now);
      this.fdb.set(new FdbEntry<Target>(macHi, macLo, port, false, now));
    } else if (!entry.permanent) {
      entry.target = port;
      entry.updated = now;
    }
  }

  /** Old entries go when new ones come: an idle bridge needs no timer. */
  #expire(now: number): void {
    if (this.fdb.size >= 1024) this.fdb.keep((e) => e.permanent || now - e.updated < this.ageingTime);
  }

  #forward(ns: NetNs, target: BridgePort, skb: Skb): void {
    if (skb.vlanTci !== 0) leaveVlan(target.vlans, skb);
    if (ns.bridgeFilter !== null && !ns.bridgeFilter.pass(NF_INET_FORWARD, skb, skb.dev, target.dev)) {
      drop(ns, skb, DropReason.NETFILTER_DROP);
      return;
    }
    if (isFiltered(ns, skb) && !bridgeForward(this, target, skb)) return;
    if (skb.end - skb.data > target.dev.mtu + ethernet.HEADER_LEN || skb.fragMaxSize !== 0) this.#long(ns, target, skb);
    else target.dev.transmit(skb);
  }

  /**
   * A frame above the port's MTU: br_netfilter cuts IPv4 packets, and again what came in pieces, others may be longer by a
   * VLAN tag.
   */
  #long(ns: NetNs, target: BridgePort, skb: Skb): void {
    const dev = target.dev;
    const filtered = isFiltered(ns, skb);
    const six = skb.protocol === ethernet.ETH_P_IPV6;
    if (filtered && (six ? skb.fragMaxSize !== 0 : !ipv4.dontFragment(skb.buf, skb.network))) {
      const header = skb.buf.slice(skb.data, skb.network);
      const size = skb.fragMaxSize === 0 ? dev.mtu : Math.min(dev.mtu, skb.fragMaxSize);
      for (const part of (six ? fragment6 : fragment)(ns, skb, size)) {
        part.data -= header.length;
        part.mac = part.data;
        part.buf.set(header, part.data);
        dev.transmit(part);
      }
    } else if (filtered || skb.end - skb.data > dev.mtu + FRAME_OVERHEAD) {
      drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `frame is longer than the MTU of port ${dev.name}`);
    } else dev.transmit(skb);
  }

  #flood(ns: NetNs, from: BridgePort | null, skb: Skb): void {
    const vid = vidOf(skb);
    let last: BridgePort | null = null;
    for (const port of this.ports) {
      if (!mayLeave(port, from, vid)) continue;
      if (last !== null) this.#send(ns, last, from, ns.world.pool.copy(skb));
      last = port;
    }
    if (last === null) consume(ns, skb);
    else this.#send(ns, last, from, skb);
  }

  #send(ns: NetNs, port: BridgePort, from: BridgePort | null, skb: Skb): void {
    if (from === null) {
      if (skb.vlanTci !== 0) leaveVlan(port.vlans, skb);
      port.dev.transmit(skb);
    } else this.#forward(ns, port, skb);
  }

  #passUp(br: NetDev, port: BridgePort, skb: Skb): void {
    if (skb.vlanTci !== 0) {
      if (!this.vlans.has(vidOf(skb)) && !br.promisc) {
        notInVlan(br, skb);
        return;
      }
      leaveVlan(this.vlans, skb);
    }
    skb.dev = br;
    skb.physIn = port.dev;
    skb.pktType = hostType(br, skb);
    br.rxPackets++;
    br.rxBytes += skb.end - skb.data;
    if (br.taps !== null) for (const t of br.taps) t.frame(br, skb, skb.data, "in");
    br.passUp(skb);
  }

  #report(skb: Skb, text: string): void {
    const br = this.dev as NetDev;
    skb.trace?.report(br.ns, skb, { step: "bridge", dev: br.name, text });
  }
}

/** What a frame for the bridge's own MAC is, whatever its port made of it: one for another port's MAC goes up, and ends there. */
function hostType(br: NetDev, skb: Skb): number {
  const own = u16(skb.buf, skb.data) === br.macHi && i32(skb.buf, skb.data + 2) === br.macLo;
  return own ? PACKET_HOST : skb.pktType;
}

/** br_allowed_ingress and br_allowed_egress: kfree_skb without a reason of its own. */
function notInVlan(dev: NetDev, skb: Skb): void {
  const vid = vidOf(skb);
  const text = vid === 0 ? "takes no frames without a tag" : `is not in VLAN ${vid}`;
  drop(dev.ns, skb, DropReason.NOT_SPECIFIED, skb.trace && `${dev.name} ${text}`);
}

/** A frame that the port found for it may not take. */
function refuse(ns: NetNs, port: BridgePort, skb: Skb): void {
  const why = port.dev.up ? "may not take it (hairpin off, isolated, or not in its VLAN)" : "is down";
  const reason = port.dev.up ? DropReason.NOT_SPECIFIED : DropReason.DEV_READY;
  drop(ns, skb, reason, skb.trace && `port ${port.dev.name} ${why}`);
}

/**
 * should_deliver: the port is up, is in the VLAN (0 where there are none), is not where the frame came from unless it is a
 * hairpin port, and may talk to that.
 */
function mayLeave(port: BridgePort, from: BridgePort | null, vid: number): boolean {
  if (!port.dev.up) return false;
  if (vid !== 0 && !port.vlans.has(vid)) return false;
  if (from === null) return true;
  if (port === from) return port.hairpin;
  return !(port.isolated && from.isolated);
}
