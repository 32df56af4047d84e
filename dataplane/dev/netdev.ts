/**
 * An interface (struct net_device): what all kinds have in common. What differs is behind `Driver`, as in the kernel's
 * net_device_ops: loopback, veth, bridge, vxlan, ipip, dummy and nic are drivers.
 *
 * A packet enters by `deliver` (netif_receive_skb) and leaves by `transmit` (dev_queue_xmit). In both, `skb.data` is at the
 * link header; a device without one (tunnels in IP mode) has `linkHeaderLen` 0.
 */
import type { Neigh } from "../neigh/neigh.ts";
import type { NetNs } from "../netns/netns.ts";
import type { Tbf } from "../qdisc/tbf.ts";
import type { PacketSink } from "../sim/event-loop.ts";
import { consume, drop } from "../skb/drop.ts";
import { PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST, PACKET_OTHERHOST, type Skb } from "../skb/skb.ts";
import type { Tap } from "../skb/trace.ts";
import { i32, u8, u16 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import { type Mac, macHi, macLo } from "../wire/mac-addr.ts";

/** The NetDev seam: how a kind of interface sends. */
export interface Driver {
  /** IFLA_INFO_KIND, or "loopback" and "nic" for what has none. */
  readonly kind: string;
  /** Octets of link header that a packet must carry when it is sent: 14, or 0 for a layer-3 device. */
  readonly linkHeaderLen: number;
  /** Takes ownership of the packet. */
  xmit(dev: NetDev, skb: Skb): void;
  /** Where the wire leads, for a trace: "peer eth0 of default/a". */
  describe?(dev: NetDev): string;
  /** Administrative state changed. */
  stateChanged?(dev: NetDev): void;
  /** The interface is being removed: release what the driver holds elsewhere. */
  removed?(dev: NetDev): void;
  /** A removal was undone: take hold of it again. */
  restored?(dev: NetDev): void;
  /** Carrier; true where the kind has no such notion. */
  carrier?(dev: NetDev): boolean;
}

/** Takes frames off an interface before the protocols see them (rx_handler): a bridge port does. */
export interface RxHandler {
  receive(dev: NetDev, skb: Skb): void;
}

/** An address of an interface; `broadcast` is 0 for IPv6. */
export type IfAddr = {
  readonly address: Ipv4Addr;
  readonly prefixLen: number;
  readonly broadcast: Ipv4Addr | 0;
  readonly scope: number;
};

export class NetDev implements PacketSink {
  name: string;
  ifindex: number;
  ns: NetNs;
  readonly driver: Driver;
  readonly linkHeaderLen: number;
  mtu: number;
  up = false;
  promisc = false;
  /** No neighbour resolution: loopback and layer-3 devices (IFF_NOARP). */
  noarp: boolean;
  alias = "";
  rxHandler: RxHandler | null = null;
  /** What holds up packets that leave; null sends at once. */
  qdisc: Tbf | null = null;
  /** Whether filters may look at what comes in (the ingress qdisc). */
  ingress = false;
  /** The device by which all that comes in leaves instead, by a filter of the ingress. */
  redirect: NetDev | null = null;
  /** The bridge that this interface is a port of. */
  master: NetDev | null = null;
  addrs: IfAddr[] = [];
  /** Addresses of IPv6, as keys (ip-key.ts). */
  addrs6: IfAddr[] = [];
  /** Neighbours of this interface, by address as a signed 32-bit integer or by key. */
  readonly neighs: Map<number, Neigh> = new Map();
  taps: Tap[] | null = null;
  rxPackets = 0;
  rxBytes = 0;
  txPackets = 0;
  txBytes = 0;
  #mac: Mac;
  /** The MAC in two parts, for comparisons that stay in integers: octets 0-1, and 2-5 as a signed one. */
  macHi: number;
  macLo: number;

  constructor(ns: NetNs, name: string, driver: Driver, mac: Mac, mtu: number) {
    this.ns = ns;
    this.name = name;
    this.driver = driver;
    this.linkHeaderLen = driver.linkHeaderLen;
    this.noarp = driver.linkHeaderLen === 0;
    this.mtu = mtu;
    this.ifindex = 0;
    this.#mac = mac;
    this.macHi = macHi(mac);
    this.macLo = macLo(mac);
  }

  get mac(): Mac {
    return this.#mac;
  }

  set mac(mac: Mac) {
    this.#mac = mac;
    this.macHi = macHi(mac);
    this.macLo = macLo(mac);
  }

  get carrier(): boolean {
    return this.driver.carrier?.(this) ?? true;
  }

  /** netif_receive_skb: a frame arrived. */
  deliver(skb: Skb): void {
    const ns = this.ns;
    skb.dev = this;
    if (!this.up) {
      drop(ns, skb, DropReason.DEV_READY, skb.trace && `${this.name} is down`);
      return;
    }
    const start = skb.data;
    this.rxPackets++;
    this.rxBytes += skb.end - start;
    if (this.taps !== null) tap(this, skb, "in");
    if (this.linkHeaderLen !== 0) {
      if (skb.end - start < ethernet.HEADER_LEN) {
        drop(ns, skb, DropReason.HDR_TRUNC);
        return;
      }
      const b = skb.buf;
      skb.mac = start;
      skb.network = start + ethernet.HEADER_LEN;
      skb.protocol = ethernet.etherType(b, start);
      skb.pktType = this.#packetType(b, start);
    }
    if (skb.trace !== null) {
      skb.trace.report(ns, skb, { step: "in", dev: this.name, kind: this.driver.kind, text: "" });
    }
    if (this.redirect !== null) this.#redirect(this.redirect, skb);
    else this.receive(skb);
  }

  /** What follows on the ingress qdisc: the bridge that this is a port of, or the protocols. */
  receive(skb: Skb): void {
    if (this.rxHandler !== null) {
      this.rxHandler.receive(this, skb);
      return;
    }
    this.passUp(skb);
  }

  /** tcf_mirred_act. */
  #redirect(to: NetDev, skb: Skb): void {
    if (to.ns.devs.get(to.ifindex) !== to) {
      drop(this.ns, skb, DropReason.TC_INGRESS, skb.trace && `${this.name}: the device to redirect to is gone`);
      return;
    }
    skb.redirected = true;
    to.transmit(skb);
  }

  /** Hands the frame to the protocol that its EtherType names; what nobody takes is dropped. */
  passUp(skb: Skb): void {
    const ns = this.ns;
    if (this.linkHeaderLen !== 0) skb.data = skb.network;
    if (skb.protocol === ethernet.ETH_P_IP) ns.handlers.ipv4(ns, skb);
    else if (skb.protocol === ethernet.ETH_P_IPV6) ns.handlers.ipv6(ns, skb);
    else if (skb.protocol === ethernet.ETH_P_ARP && this.linkHeaderLen !== 0) ns.handlers.arp(ns, skb);
    else drop(ns, skb, DropReason.UNHANDLED_PROTO);
  }

  /** dev_queue_xmit: takes ownership of a packet that starts with its link header. */
  transmit(skb: Skb): void {
    if (!this.up) {
      drop(this.ns, skb, DropReason.DEV_READY, skb.trace && `${this.name} is down`);
      return;
    }
    if (this.qdisc !== null) this.qdisc.enqueue(skb);
    else this.startXmit(skb);
  }

  /** dev_hard_start_xmit: what follows on the qdisc. */
  startXmit(skb: Skb): void {
    this.txPackets++;
    this.txBytes += skb.end - skb.data;
    if (this.taps !== null) tap(this, skb, "out");
    if (skb.trace !== null) {
      const text = this.driver.describe?.(this) ?? "";
      skb.trace.report(this.ns, skb, { step: "out", dev: this.name, kind: this.driver.kind, text });
    }
    this.driver.xmit(this, skb);
  }

  #packetType(b: Uint8Array, off: number): number {
    if ((u8(b, off) & 1) !== 0) {
      return u16(b, off) === 0xffff && i32(b, off + 2) === -1 ? PACKET_BROADCAST : PACKET_MULTICAST;
    }
    return u16(b, off) === this.macHi && i32(b, off + 2) === this.macLo ? PACKET_HOST : PACKET_OTHERHOST;
  }
}

function tap(dev: NetDev, skb: Skb, direction: "in" | "out"): void {
  for (const t of dev.taps ?? []) t.frame(dev, skb, skb.data, direction);
}

/** A driver that swallows what it is given, as dummy devices do. */
export function swallow(dev: NetDev, skb: Skb): void {
  consume(dev.ns, skb);
}
